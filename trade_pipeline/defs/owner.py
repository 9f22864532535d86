"""Who answers for a run's process: the Dagster that started it, up to the command a user typed.

`trade-pipeline up` ends all that it started, even when it is killed.  `dagster dev` that is killed
leaves everything running, to be seen on no screen once another is started.  A worker that trades
watches the command above it and ends with it; its successor recovers.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Self

import psutil

from trade_pipeline.core.store.closing import Closing

log = logging.getLogger("trade_pipeline.owner")
# Set by `dagster dev` for every process that it starts.
_DEV = "DAGSTER_IS_DEV_CLI"
_HOME = "DAGSTER_HOME"
# Installed commands, and the modules that stand for them behind `python -m`.
_COMMANDS = {
    "dagster", "dagster-daemon", "dagster-webserver", "dagster_webserver",
    "trade-pipeline", "trade_pipeline", "celery",
}  # fmt: skip
_LOOK_SECONDS = 1.0
# A worker that was told to end and did not is killed after this.
_GRACE_SECONDS = 10.0


def owners() -> list[psutil.Process]:
    """The processes above this one that are Dagster's or the product's, the nearest first."""
    return list(takewhile(_is_ours, psutil.Process().parents()))


def dev_is_gone(above: Sequence[psutil.Process]) -> bool:
    """Whether `dagster dev` started this process and is not above it any more.

    Its daemon, its UI and its code servers outlive it.
    """
    return _DEV in os.environ and not any("dev" in _words(one)[:4] for one in above)


def end_orphans() -> None:
    """End what a `dagster dev` that is gone has left: else its daemon would start runs beside the
    next one's, and its UI would keep the port.
    """
    for process in psutil.process_iter():
        try:
            mine = os.getpgid(process.pid) == os.getpgrp() and _is_ours(process)
            if mine and _is_of_this_dev(process) and not any(map(_is_ours, process.parents())):
                log.warning(
                    "process %d is left of a dagster dev that is gone: it ends", process.pid
                )
                process.terminate()
        except (psutil.Error, ProcessLookupError):
            continue


def _is_of_this_dev(process: psutil.Process) -> bool:
    # What a command was started with: `dagster dev` itself sets this only for its children.
    given = process.environ()
    return _DEV in given and given.get(_HOME) == os.environ.get(_HOME)


def is_ours(words: Sequence[str]) -> bool:
    """Whether a command begins as those of Dagster and of the product do.

    Such as: python -m dagster api grpc; python bin/dagster dev; python -m trade_pipeline.cli up.
    """
    return any(Path(word).name.partition(".")[0] in _COMMANDS for word in words[:4])


def _is_ours(process: psutil.Process) -> bool:
    return is_ours(_words(process))


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def end_this_process(ended: threading.Event) -> None:
    """As the UI ends a run; what does not end by that is killed."""
    os.kill(os.getpid(), signal.SIGTERM)
    if not ended.wait(_GRACE_SECONDS):
        os.kill(os.getpid(), signal.SIGKILL)


class OwnerWatch(Closing):
    """Ends this process when the command at the top is gone, while the block lasts.

    A code server below it that dies ends nothing: the session goes on and its run still says so.

    Args:
        end: called once, with an event that is set at the end of the block.
    """

    def __init__(self, end: Callable[[threading.Event], None] = end_this_process) -> None:
        self._end = end
        above = owners()
        self._top = above[-1] if above else None
        self._without_dev = dev_is_gone(above)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="owner watch", daemon=True)

    def missing(self) -> bool:
        """Whether nobody answers for this process any more."""
        top = self._top
        if self._without_dev or top is None:
            return self._without_dev
        try:
            return not top.is_running() or top.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            if self.missing():
                log.error("the command that started this run's Dagster is gone: the run ends")
                self._end(self._ended)
                return
