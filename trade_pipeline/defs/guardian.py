"""Ends a process group when the process that holds the other end of its standard input is gone.

`serve` starts it first, as the leader of the group that all of Dagster's processes then join, run
workers included.  Its input ends when `serve` closes it or dies, by whatever signal; then the group
gets SIGTERM, a moment to end its runs, and SIGKILL.  It imports nothing of the project, so that it
starts at once.
"""

from __future__ import annotations

import os
import signal
import sys
import time

_POLL_SECONDS = 0.1


def guard(grace_seconds: float) -> None:
    """Wait for the end of the input, then end everything in this process group, itself last."""
    for wanted in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(wanted, signal.SIG_IGN)
    os.write(1, b"ready\n")
    while os.read(0, 1024):
        pass
    os.killpg(0, signal.SIGTERM)
    end = time.monotonic() + grace_seconds
    while _others() and time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
    os.killpg(0, signal.SIGKILL)


def _others() -> bool:
    """Whether somebody else in this process group lives; where that cannot be seen, yes."""
    group, me = os.getpgrp(), os.getpid()
    try:
        names = os.listdir("/proc")
    except FileNotFoundError:
        return True
    for name in names:
        if name.isdigit() and int(name) != me:
            try:
                with open(f"/proc/{name}/stat", "rb") as file:
                    state, _, other = file.read().rpartition(b") ")[2].split()[:3]
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(other) == group and state != b"Z":
                return True
    return False


if __name__ == "__main__":
    guard(float(sys.argv[1]))
