"""A process group of its own, which ends with this process however that ends, and its ending."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from trade_pipeline.defs import guardian

_GRACE_SECONDS = 15.0


class Told(BaseException):
    """A signal told this process to end."""


@contextmanager
def guarded_group() -> Iterator[int]:
    """The number of a group for processes to join; after the block all of them have ended.

    Its leader is a `guardian`, which sees the end of this process even where that is killed.
    """
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", guardian.__file__, str(_GRACE_SECONDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    assert keeper.stdin is not None
    assert keeper.stdout is not None
    try:
        keeper.stdout.readline()
        yield keeper.pid
    finally:
        keeper.stdin.close()
        keeper.wait()
        keeper.stdout.close()


@contextmanager
def signals_end_it() -> Iterator[None]:
    """SIGTERM, SIGINT and SIGHUP raise `Told` once; a second one does not disturb the ending."""
    wanted = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    def told(number: int, frame: FrameType | None) -> None:
        for one in wanted:
            signal.signal(one, signal.SIG_IGN)
        raise Told

    before = {one: signal.signal(one, told) for one in wanted}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
