"""The lease of an account: one holder, an epoch that grows, and a deadline that the holder obeys.

What may be written or sent is decided by the row in the database.  The advisory lock only tells
early that a holder's process is gone: one that was stopped keeps its lock, and then the row's
expiry decides.

While the database refuses every write, nobody can renew or take a lease.  Its holder keeps it as
long as the row, read again and again, names its epoch, by the very connection that holds the lock,
which whoever takes the lease ends.  A standby proves nothing: its primary may be elsewhere.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import LiteralString, Self

import orjson
import psycopg

from trade_pipeline.core.errors import StoreUnavailable, TradePipelineError
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.room import WritesRefused, refusal_reported

SECONDS = 10.0
HEARTBEAT_SECONDS = 2.0
# While the database takes no writes the lease is looked at so often, and each look is good for so
# long.
_LOOK_SECONDS = 0.25
_LOOK_HOLDS_SECONDS = 2.0
_LOCK_KIND = 2
# Which lock is that of an account's holder: the kind and the account are its parameters.
_HOLDS: LiteralString = (
    "locktype = 'advisory' AND classid = %s "
    "AND objid::bigint = hashtext(%s)::bigint & 4294967295 AND objsubid = 2 AND granted "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)
# A holder asks several times a second.
_ACTIVE_SECONDS = 5.0


class LeaseLost(TradePipelineError):
    """Somebody else trades the account now, or nobody may."""


class LeaseHeld(TradePipelineError):
    """Another session holds the lease."""


@dataclass(frozen=True, slots=True)
class LeaseRow:
    """A lease as everybody sees it; ``alive``: it has not expired by the database's clock."""

    account: str
    epoch: int
    holder: str
    mode: str
    taken_at: datetime
    heartbeat_at: datetime
    alive: bool
    told: dict[str, object]


class Lease:
    """Holds the lease of an account while the block lasts; a thread renews it.

    Args:
        holder: who it is, such as a Dagster run's id.
        seconds: until it expires without a heartbeat.

    Attributes:
        epoch: of this holder.
        told: what the next heartbeats tell; replaced, never changed in place.
        lost: why the lease is lost, or None.
        refused: why it cannot be renewed though it is held: the database takes no writes; or None.

    Raises:
        LeaseHeld: another session holds it and is not known to be gone.
        StoreUnavailable: the database cannot be reached.
    """

    def __init__(
        self,
        database: Database,
        account: str,
        *,
        holder: str,
        mode: str,
        seconds: float = SECONDS,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._database = database
        self.account = account
        self.epoch = 0
        self.told: dict[str, object] = {}
        self._holder, self._mode = holder, mode
        self._seconds, self._heartbeat = seconds, heartbeat_seconds
        self._deadline = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"lease {account}", daemon=True)
        self._connection: psycopg.Connection | None = None
        self.lost: str | None = None
        self.refused: str | None = None

    def require(self) -> None:
        """Go on only while the lease is certainly held, by this process's own clock.

        The clock goes on while the process is stopped, so that one that wakes up late does nothing.

        Raises:
            LeaseLost: see there.
        """
        if self.lost is not None:
            raise LeaseLost(f"account={self.account!r}: {self.lost}")
        if time.monotonic() >= self._deadline:
            raise LeaseLost(
                f"account={self.account!r}: epoch {self.epoch} was not renewed within "
                f"{self._seconds:g} s"
            )

    def __enter__(self) -> Self:
        connection = self._database.connect(autocommit=True)
        try:
            with refusal_reported():
                self._take(connection)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()
        assert self._connection is not None
        with contextlib.suppress(psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction):
            # A connection that is gone has let go of the lock, and one that cannot write does so
            # now; the lease runs out.
            self._connection.execute(
                "UPDATE trade.leases SET expires_at = clock_timestamp() "
                "WHERE account = %s AND epoch = %s",
                (self.account, self.epoch),
            )
        self._connection.close()

    def _take(self, connection: psycopg.Connection) -> None:
        # A lock that is free shows that the last holder's connection has ended.
        gone = bool(_one(connection, "SELECT pg_try_advisory_lock(%s, hashtext(%s))",
                         _LOCK_KIND, self.account))  # fmt: skip
        before = read_lease(connection, self.account)
        began = time.monotonic()
        epoch = _one(
            connection,
            "SELECT trade.take_lease(%s, %s, %s, %s, %s)",
            self.account, self._holder, self._mode, self._seconds, gone,
        )  # fmt: skip
        if epoch is None:
            held = before.holder if before else "somebody"
            raise LeaseHeld(f"account={self.account!r}: {held} holds its lease")
        assert isinstance(epoch, int)
        self.epoch, self._deadline = epoch, began + self._seconds
        if not gone:
            self._end_backend(connection)

    def _end_backend(self, connection: psycopg.Connection) -> None:
        """End the database session of a holder that was stopped, and have its lock."""
        # A login may end its own sessions; the role that it became may not, where they differ.
        connection.execute("SET ROLE NONE")
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            f"WHERE {_HOLDS} AND pid <> pg_backend_pid()",
            (_LOCK_KIND, self.account),
        )
        connection.execute("SET ROLE trade_writer")
        connection.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (_LOCK_KIND, self.account))

    def _run(self) -> None:
        while not self._ended.wait(self._heartbeat if self.refused is None else _LOOK_SECONDS):
            self.renew()
            if self.lost is not None:
                return

    def renew(self) -> None:
        """Renew the lease now; ``lost`` tells when that cannot be done any more."""
        try:
            try:
                with refusal_reported():
                    self._renew()
            except WritesRefused as refused:
                self._look(refused)
        except psycopg.Error as error:
            # While the database only stays away, the deadline ends the session.
            if self._connection is not None and self._connection.closed:
                self.lost = f"the connection that held the lease has ended ({error})"

    def _renew(self) -> None:
        assert self._connection is not None
        began = time.monotonic()
        done = self._connection.execute(
            "UPDATE trade.leases SET heartbeat_at = clock_timestamp(), told = %s, "
            "expires_at = clock_timestamp() + make_interval(secs => %s) "
            "WHERE account = %s AND epoch = %s",
            (orjson.dumps(self.told).decode(), self._seconds, self.account, self.epoch),
        )
        if done.rowcount != 1:
            self.lost = f"epoch {self.epoch} was taken over"
        else:
            self._deadline = began + self._seconds
            self.refused = None

    def _look(self, refused: WritesRefused) -> None:
        """Hold the lease by what the database tells, since it takes nothing."""
        assert self._connection is not None
        began = time.monotonic()
        row = self._connection.execute(
            "SELECT epoch, pg_is_in_recovery() FROM trade.leases WHERE account = %s",
            (self.account,),
        ).fetchone()
        self.refused = str(refused)
        if row is None or row[0] != self.epoch:
            self.lost = f"epoch {self.epoch} was taken over"
        elif not row[1]:
            self._deadline = max(self._deadline, began + _LOOK_HOLDS_SECONDS)


def read_lease(connection: psycopg.Connection, account: str) -> LeaseRow | None:
    """An account's lease; None: it was never held."""
    row = connection.execute(
        "SELECT account, epoch, holder, mode, taken_at, heartbeat_at, "
        "expires_at > clock_timestamp(), told FROM trade.leases WHERE account = %s",
        (account,),
    ).fetchone()
    if row is None:
        return None
    account, epoch, holder, mode, taken_at, heartbeat_at, alive, told = row
    return LeaseRow(account, epoch, holder, mode, taken_at, heartbeat_at, alive, orjson.loads(told))


def holder_is_connected(connection: psycopg.Connection, account: str) -> bool:
    """Whether the lock of an account's holder is held: a dead process holds none."""
    query = f"SELECT EXISTS (SELECT FROM pg_locks WHERE {_HOLDS})"
    return bool(_one(connection, query, _LOCK_KIND, account))


def holder_is_active(connection: psycopg.Connection, account: str) -> bool:
    """Whether the connection with the lock of an account's holder was used in the last seconds.

    So it is with a session whose lease cannot be renewed because a disk is full, and not with a
    process that was stopped.  False as well where ``connection`` may not see what others do: it
    must be of the login that the sessions have.
    """
    query = (
        f"SELECT EXISTS (SELECT FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE {_HOLDS} "
        "AND state_change > clock_timestamp() - make_interval(secs => %s))"
    )
    return bool(_one(connection, query, _LOCK_KIND, account, _ACTIVE_SECONDS))


def _one(connection: psycopg.Connection, query: LiteralString, *values: object) -> object:
    row = connection.execute(query.encode(), values).fetchone()
    if row is None:
        raise StoreUnavailable("the database gave no answer")
    answer: object = row[0]
    return answer
