"""A live session's journal: what belongs together becomes durable in one statement.

The same statement moves the account's progress, and fails when the lease is held by somebody else:
a session that was overtaken writes nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson
import psycopg

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.live.lease import LeaseLost
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.records import Record
from trade_pipeline.core.store.room import refusal_reported

_AHEAD = timedelta(days=3)


class LiveJournal:
    """Collects records, and makes them durable at once.

    Args:
        connection: in autocommit mode, as ``trade_writer``, used by nobody else.
        chain_id: the session's id.
        account, epoch: of the lease.
    """

    def __init__(
        self, connection: psycopg.Connection, chain_id: str, account: str, epoch: int
    ) -> None:
        self._connection = connection
        self._chain = read_chain(connection, chain_id)
        self._account, self._epoch = account, epoch
        self._pending: list[Record] = []
        self._partitions_until: datetime | None = None

    @property
    def pending(self) -> Sequence[Record]:
        """Records that are not durable yet."""
        return self._pending

    def append(self, record: Record) -> None:
        """Add a record; it is durable after the next `commit`."""
        self._pending.append(record)

    def commit(self, at: int, reached: int, state: Mapping[str, Any]) -> list[OrderIntent]:
        """Make what was appended durable; gives the orders that may be sent now.

        Args:
            at: the market's time.
            reached: up to where the market need not be read again; ``state``: what to go on with.

        Raises:
            LeaseLost: somebody else holds the lease; nothing was written.
            WritesRefused: the database takes no writes; all of it is pending still.
        """
        records = self._pending
        if not records:
            return []
        try:
            with refusal_reported():
                self._ensure_partitions(moment_of(at))
                append_now(
                    self._connection,
                    self._chain,
                    *records,
                    also=(
                        "trade.move_progress(%s, %s, %s, %s)",
                        (self._account, self._epoch, reached, orjson.dumps(state).decode()),
                    ),
                )
        except psycopg.errors.ObjectNotInPrerequisiteState as refused:
            raise LeaseLost(str(refused).partition("\n")[0]) from None
        self._pending = []
        return [one for one in records if isinstance(one, OrderIntent)]

    def finish(self, at: int, reached: int, state: Mapping[str, Any]) -> None:
        """`commit` at a session's end: the progress moves also where nothing was appended.

        Raises:
            LeaseLost, WritesRefused: see there.
        """
        if self._pending:
            self.commit(at, reached, state)
            return
        try:
            with refusal_reported():
                self._connection.execute(
                    "SELECT trade.move_progress(%s, %s, %s, %s)",
                    (self._account, self._epoch, reached, orjson.dumps(state).decode()),
                )
        except psycopg.errors.ObjectNotInPrerequisiteState as refused:
            raise LeaseLost(str(refused).partition("\n")[0]) from None

    def _ensure_partitions(self, at: datetime) -> None:
        if self._partitions_until is None or at >= self._partitions_until:
            until = at + _AHEAD
            self._connection.execute("SELECT trade.ensure_partitions(%s, %s)", (at, until))
            self._partitions_until = until
