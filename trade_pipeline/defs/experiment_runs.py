"""Runs the sessions of an experiment in parallel, each as a run of the backtest job.

On one machine the command that asks for them has processes of its own (`run_sessions`), which share
Dagster's storage with the UI and its daemon, whether these are there or not.  Elsewhere a broker's
workers or a cluster execute them (`launch_sessions`).  Either way the runs are seen as any others,
and they never stand in the queue before somebody's training.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import dagster as dg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.experiment.definition import MarketRange
from trade_pipeline.core.experiment.plan import PlannedSession
from trade_pipeline.core.ids import micros
from trade_pipeline.defs import experiment_worker
from trade_pipeline.defs.experiment_worker import JOB, Done, Task
from trade_pipeline.defs.launched_runs import LAUNCH, Launch, launch_and_wait
from trade_pipeline.defs.process_group import guarded_group
from trade_pipeline.defs.trades import DAYS

EXPERIMENT, VARIANT = "trade_pipeline/experiment", "trade_pipeline/variant"
_POLL_SECONDS = 1.0
_CANCEL_SECONDS = 12.0


@dataclass(frozen=True, slots=True)
class Failed:
    """A session that did not run to its end, or that a check refused, and why."""

    session: PlannedSession
    run_id: str
    why: str


def require_days(market: MarketRange) -> None:
    """Refuse days that are no partitions of the job.

    Raises:
        BadConfig: names the first or the last day.
    """
    last = market.end - timedelta(days=1)
    keys = DAYS.get_first_partition_key(), DAYS.get_last_partition_key()
    for name, day, told in (("start", market.start, market.start), ("end", last, market.end)):
        if not DAYS.has_partition_key(day.isoformat()):
            raise BadConfig(f"{name}={told}: sessions have days between {keys[0]} and {keys[1]}")


def end_ghosts(instance: dg.DagsterInstance, experiment: str) -> int:
    """Report runs of an experiment as failed whose command was killed; nobody may run it now.

    Those that were launched are left: they do not end with a command, and are waited for.
    """
    records = instance.get_run_records(
        dg.RunsFilter(
            job_name=JOB,
            tags={EXPERIMENT: experiment},
            statuses=[
                dg.DagsterRunStatus.NOT_STARTED,
                dg.DagsterRunStatus.STARTING,
                dg.DagsterRunStatus.STARTED,
                dg.DagsterRunStatus.CANCELING,
            ],
        )
    )
    ghosts = [one.dagster_run for one in records if LAUNCH not in one.dagster_run.tags]
    for run in ghosts:
        instance.report_run_failed(run, "The command that ran it was killed.")
    return len(ghosts)


def launch_sessions(
    instance: dg.DagsterInstance,
    experiment: str,
    sessions: Sequence[PlannedSession],
    limit: int | None,
    advance: Callable[[float], None],
) -> list[Failed]:
    """`run_sessions` by the instance's run launcher; see `launch_and_wait`."""
    launches = [_launch(experiment, one) for one in sessions]
    of = {launch.address(): one for launch, one in zip(launches, sessions, strict=True)}
    failed = launch_and_wait(instance, launches, limit=limit, advance=advance)
    return [Failed(of[one.launch.address()], one.run_id, one.why) for one in failed]


def run_sessions(
    instance: dg.DagsterInstance,
    environment: Mapping[str, str],
    experiment: str,
    sessions: Sequence[PlannedSession],
    workers: int,
    advance: Callable[[float], None],
    log: Path,
) -> list[Failed]:
    """Run sessions, at most ``workers`` at once; they are put into the experiment.

    Whatever interrupts it (a signal that raises), the runs that had begun are cancelled before it
    goes on its way.

    Args:
        environment: of the processes (`dagster_environment`).
        advance: called with how many sessions are done, parts included.
        log: where the processes write what they have to say.
    """
    waiting = deque(sessions)
    failed: list[Failed] = []
    done = 0
    with guarded_group() as group:
        pool: list[_Worker] = []
        try:
            while waiting or any(one.run for one in pool):
                while waiting and (idle := next((w for w in pool if w.run is None), None)):
                    idle.begin(experiment, waiting.popleft())
                while waiting and len(pool) < workers:
                    pool.append(_Worker(environment, group, log))
                    pool[-1].begin(experiment, waiting.popleft())
                for channel in wait([one.channel for one in pool], _POLL_SECONDS):
                    worker = next(one for one in pool if one.channel is channel)
                    ended, why = worker.hear()
                    if ended and worker.run is not None:
                        done += 1
                        if why is not None:
                            failed.append(Failed(worker.run.session, worker.run.run_id, why))
                            _report(instance, failed[-1])
                        worker.run = None
                    if worker.gone:
                        worker.channel.close()
                        pool.remove(worker)
                advance(done + sum(one.run.part for one in pool if one.run))
        except BaseException:
            _cancel(instance, pool)
            raise
        for one in pool:
            one.end()
    return failed


@dataclass(slots=True)
class _Running:
    """A session in a worker's hands."""

    session: PlannedSession
    run_id: str
    part: float = 0.0


@dataclass(slots=True)
class _Worker:
    """One process and this end of its pipe."""

    environment: Mapping[str, str]
    group: int
    log: Path
    run: _Running | None = None
    gone: bool = False
    channel: Connection = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.channel, theirs = Pipe()
        with theirs, self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", experiment_worker.__name__, str(theirs.fileno())],
                env=os.environ | dict(self.environment),
                pass_fds=(theirs.fileno(),),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                process_group=self.group,
            )

    def begin(self, experiment: str, session: PlannedSession) -> None:
        """Hand over a session."""
        self.run = _Running(session, str(uuid.uuid4()))
        # If it is gone, `hear` finds that out and tells so of the session.
        with contextlib.suppress(BrokenPipeError):
            self.channel.send(_task(self.run.run_id, experiment, session))

    def end(self) -> None:
        """Let it go when it has nothing to do; the group's end takes it if it does not."""
        self.channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(_CANCEL_SECONDS)

    def hear(self) -> tuple[bool, str | None]:
        """What it says: whether its session has ended, and why that failed."""
        try:
            said = self.channel.recv()
        except (EOFError, ConnectionResetError):
            self.gone = True
            code = self.process.wait()
            why = f"signal {-code}" if code < 0 else f"code {code}: see {self.log}"
            return True, f"its process ended by {why}"
        if isinstance(said, Done):
            return True, "; ".join(said.failures) or None
        if self.run is not None:
            self.run.part = said
        return False, None


def _task(run_id: str, experiment: str, session: PlannedSession) -> Task:
    market = session.market
    first, last = _days(market)
    return Task(
        run_id=run_id,
        config=_config(experiment, session),
        first=first,
        last=last,
        start=micros(market.first_moment),
        end=micros(market.end_moment),
        tags=_tags(experiment, session),
    )


def _launch(experiment: str, session: PlannedSession) -> Launch:
    return Launch(
        JOB,
        {"backtest_session": _config(experiment, session)},
        _days(session.market),
        _tags(experiment, session),
    )


def _config(experiment: str, session: PlannedSession) -> dict[str, Any]:
    market = session.market
    return {
        "market": market.kind,
        "data": None if market.data is None else str(market.data),
        "mentions": None if market.mentions is None else str(market.mentions),
        "seed": session.world.seed,
        "experiment": experiment,
        "config": session.config.model_dump(mode="json", exclude_defaults=True),
    }


def _days(market: MarketRange) -> tuple[date, date]:
    return market.start, market.end - timedelta(days=1)


def _tags(experiment: str, session: PlannedSession) -> dict[str, str]:
    return {EXPERIMENT: experiment, VARIANT: session.variant}


def _report(instance: dg.DagsterInstance, failed: Failed) -> None:
    """Tell Dagster of a run that could not tell itself, because its process is gone."""
    run = instance.get_run_by_id(failed.run_id)
    if run is not None and not run.is_finished:
        instance.report_run_failed(run, failed.why)


def _cancel(instance: dg.DagsterInstance, pool: Sequence[_Worker]) -> None:
    """Cancel what runs: asked first, so that its run says so itself, and ended if it does not."""
    running = [(one, one.run.run_id) for one in pool if one.run is not None]
    for worker, run_id in running:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_canceling(run)
        worker.process.terminate()
    end = time.monotonic() + _CANCEL_SECONDS
    for worker, _ in running:
        # It tells of the cancelled run and then waits for another one.
        while worker.process.poll() is None and time.monotonic() < end:
            if worker.channel.poll(0.1) and worker.hear()[0]:
                break
        worker.process.kill()
        worker.process.wait()
        worker.channel.close()
    for _, run_id in running:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_canceled(run)
