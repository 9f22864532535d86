"""Who trades an account now, and what has to be done about it.

A session is judged by its lease and the lock of its process, never by what Dagster says of its run:
a run whose worker died unseen stays started for good, and one that was stopped looks alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trade_pipeline.core.live.lease import LeaseRow

# A run that has no lease after this long will not get it.
START_SECONDS = 60.0
# One that has no process after this long was lost on its way: live sessions wait for nobody.
WAIT_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run that has not ended, as Dagster tells it.

    Attributes:
        waiting: it is queued or its process is being started.
        seconds: since it was created, or since it started.
    """

    run_id: str
    waiting: bool
    seconds: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do: start a session or not, and which runs are only ghosts."""

    start: bool
    ghosts: tuple[str, ...]
    why: str


def holder_of(lease: LeaseRow | None, connected: bool) -> str | None:
    """Who holds a lease: one that has expired, or whose process is gone, is held by nobody."""
    return lease.holder if lease is not None and lease.alive and connected else None


def judge(
    wanted: bool,
    lease: LeaseRow | None,
    connected: bool,
    runs: Sequence[SeenRun],
    *,
    active: bool = False,
) -> Verdict:
    """What to do about an account.

    Args:
        connected: whether the lock of the lease's holder is held.
        runs: those of the account that have not ended.
        active: whether the holder is seen at work, though its lease has expired: while the database
            takes no writes nobody can renew one, and nobody take one either.
    """
    holder = holder_of(lease, connected)
    if active and lease is not None:
        holder = lease.holder
    last = None if lease is None else lease.holder
    ghosts, coming = [], []
    for run in runs:
        if run.run_id == holder:
            continue
        had_it = run.run_id == last
        patience = WAIT_SECONDS if run.waiting else START_SECONDS
        if run.seconds > patience or (had_it and not run.waiting):
            ghosts.append(run.run_id)
        else:
            coming.append(run.run_id)
    if holder is not None:
        return Verdict(False, tuple(ghosts), f"{holder} holds the lease")
    if not wanted:
        return Verdict(False, tuple(ghosts), "nobody wants a session")
    if coming:
        return Verdict(False, tuple(ghosts), f"run {coming[0]} is starting")
    return Verdict(True, tuple(ghosts), "nobody holds the lease")
