"""A process that runs sessions of an experiment, one after another, each as a run of the backtest
job: ``python -m trade_pipeline.defs.experiment_worker FD``, where FD is its end of a pipe.

It reads `Task`s, and answers with a `float` (the part of the session that is done) or a `Done`.  It
ends when the other end of the pipe is closed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from multiprocessing.connection import Connection
from typing import Any

JOB = "backtest_job"
_TELL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Task:
    """A session as a run of the job.

    Attributes:
        run_id: the run's, which so is known whatever becomes of this process.
        config: of the session's assets.
        first, last: its days, both included; start and end are the same in microseconds.
    """

    run_id: str
    config: Mapping[str, Any]
    first: date
    last: date
    start: int
    end: int
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Done:
    """How a run ended.

    Attributes:
        failures: why it failed; empty when it succeeded.
        session_id: None when it failed before the session was stored.
    """

    failures: tuple[str, ...]
    session_id: str | None


def work(channel: Connection) -> None:
    """Run what comes through the pipe until its other end is closed."""
    # Slow to import; the parent prepares the next session meanwhile.
    import dagster as dg

    from trade_pipeline.defs.instance import run_job

    with dg.DagsterInstance.get() as instance:
        while True:
            try:
                task: Task = channel.recv()
            except EOFError:
                return
            run = run_job(
                instance,
                JOB,
                {"backtest_session": task.config},
                days=(task.first, task.last),
                progress=_Teller(channel, task),
                run_id=task.run_id,
                tags=task.tags,
            )
            channel.send(Done(run.failures, run.session_id))


class _Teller:
    """Tells how far a session is, not more often than somebody looks."""

    def __init__(self, channel: Connection, task: Task) -> None:
        self._channel = channel
        self._start, self._length = task.start, task.end - task.start
        self._next = 0.0

    def __call__(self, events: int, at: int) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _TELL_SECONDS
            self._channel.send(min(1.0, max(0.0, (at - self._start) / self._length)))


if __name__ == "__main__":
    # The pickled names are those of the module, not of __main__.
    from trade_pipeline.defs import experiment_worker

    experiment_worker.work(Connection(int(sys.argv[1])))
