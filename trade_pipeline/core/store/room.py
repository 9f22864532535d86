"""Room for what is written: free space of the disks of this machine, and whether writes are taken.

A database elsewhere says nothing of its disks; that it refuses writes, it says by an SQLSTATE.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.store.store import Store

_LOOK_SECONDS = 1.0
# Nothing of what was asked is done, and the connection goes on.
_REFUSALS = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.DiskFull)


class WritesRefused(StoreUnavailable):
    """The database is there and takes no writes: it is read-only, or its disk is full."""


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of this machine that something of the store is on.

    Attributes:
        holds: ``database`` or ``artifacts``.
        free: bytes that this account may still write.
    """

    holds: str
    path: Path
    free: int

    def lacks(self, least: int) -> str | None:
        """Why it is too full for some bytes, or None."""
        if self.free >= least:
            return None
        return (
            f"the disk of the {self.holds} ({self.path}) has {self.free / 1e6:,.0f} MB left, "
            f"least {least / 1e6:,.0f}"
        )


def disks_of(store: Store) -> list[Disk]:
    """The disks of this machine that the store writes to."""
    folders = {"database": store.database.folder, "artifacts": store.artifacts.folder}
    return [
        Disk(holds, folder, shutil.disk_usage(_there(folder)).free)
        for holds, folder in folders.items()
        if folder is not None
    ]


@contextmanager
def refusal_reported() -> Iterator[None]:
    """Raises WritesRefused where the database refuses a write within the block."""
    try:
        yield
    except _REFUSALS as refused:
        raise WritesRefused(_told(refused)) from None


def refuses_writes(connection: psycopg.Connection) -> str | None:
    """Why a database takes no writes, as far as it says so to a reader; None: it takes them.

    That its disk is full, it says only to who writes.
    """
    row = connection.execute(
        "SELECT pg_is_in_recovery(), current_setting('default_transaction_read_only') = 'on'"
    ).fetchone()
    assert row is not None
    standby, read_only = row
    if standby:
        return "the database is a standby and takes no writes"
    return "the database is read-only (default_transaction_read_only is on)" if read_only else None


def _told(refused: psycopg.Error) -> str:
    full = isinstance(refused, psycopg.errors.DiskFull)
    what = "its disk is full" if full else "it is read-only"
    return f"the database takes no writes, {what}: {str(refused).partition(chr(10))[0]}"


def _there(folder: Path) -> Path:
    """A folder, or the one above that is there: it may not have been made so far."""
    while not folder.exists():
        folder = folder.parent
    return folder


class Room:
    """Whether the disks of this machine have the room that is wanted, looked at once a second.

    Args:
        least: bytes that must be free on each; 0: nobody looks.
    """

    def __init__(self, store: Store, least: int) -> None:
        self._store, self._least = store, least
        self._looked = float("-inf")
        self._lacks: str | None = None

    def lacks(self) -> str | None:
        """Which disk is too full and by how much, or None."""
        now = time.monotonic()
        if self._least and now - self._looked >= _LOOK_SECONDS:
            self._looked = now
            found = (disk.lacks(self._least) for disk in disks_of(self._store))
            self._lacks = next((why for why in found if why is not None), None)
        return self._lacks
