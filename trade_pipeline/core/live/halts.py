"""Halts of an account: the kill switch and everything else that stops its entries.

They are stored, so that they hold over restarts, and a session hears of them at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import psycopg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.requests import newest_request
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.listening import Listening

Action = Literal["halt", "flatten", "resume"]
# Who halts an account for what does not explain itself.
RECONCILIATION = "reconciliation"
# Who halts an account when a rule of the user's own fails.
OWN_RULES = "own rules"
# A notification that was missed is made up for within this time.
POLL_SECONDS = 0.25
# Whoever has not looked for so long does not know whether entries are stopped.
UNKNOWN_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Halt:
    """The newest halt event of an account."""

    halt_id: int
    action: Action
    reason: str
    by_whom: str
    recorded_at: datetime

    @property
    def stops_entries(self) -> bool:
        return self.action != "resume"


def order_halt(
    connection: psycopg.Connection, account: str, action: Action, *, reason: str, by: str
) -> int:
    """Halt, flatten or resume an account; sessions obey within a second.

    Raises:
        BadConfig: without a reason, or nobody ever traded this account.
    """
    if not reason.strip():
        raise BadConfig("reason='': say why")
    known = connection.execute(
        "SELECT 1 FROM trade.leases WHERE account = %s "
        "UNION ALL SELECT 1 FROM trade.live_requests WHERE account = %s",
        (account, account),
    ).fetchone()
    if known is None:
        raise BadConfig(
            f"account={account!r}: no such account; `live status` shows those there are"
        )
    row = connection.execute(
        "INSERT INTO trade.halts (account, action, reason, by_whom) VALUES (%s, %s, %s, %s) "
        "RETURNING halt_id",
        (account, action, reason, by),
    ).fetchone()
    assert row is not None
    return int(row[0])


def newest_halt(connection: psycopg.Connection, account: str) -> Halt | None:
    """What holds for an account now; None: nobody ever halted it."""
    row = connection.execute(
        "SELECT halt_id, action, reason, by_whom, recorded_at FROM trade.halts "
        "WHERE account = %s ORDER BY halt_id DESC LIMIT 1",
        (account,),
    ).fetchone()
    return None if row is None else Halt(*row)


class HaltWatch(Listening):
    """What holds for an account, kept fresh while the block lasts.

    While it cannot be read entries stop by themselves.

    Args:
        changed: called from another thread when there is a new event.

    Attributes:
        halt: the newest one.
        wanted: False: somebody asked for the end of this account's sessions.
    """

    def __init__(
        self, database: Database, account: str, changed: Callable[[], None] | None = None
    ) -> None:
        super().__init__(
            database, "trade_halts", f"halts {account}",
            poll_seconds=POLL_SECONDS, retry_seconds=POLL_SECONDS,
        )  # fmt: skip
        self._account = account
        self._changed = changed
        self._looked = 0.0
        self.halt: Halt | None = None
        self.wanted = True

    def refusal(self) -> str | None:
        """Why no entry is allowed now, or None."""
        if self.halt is not None and self.halt.stops_entries:
            return "halted"
        if time.monotonic() - self._looked > UNKNOWN_SECONDS:
            return "halt_unknown"
        return None

    def _read(self, connection: psycopg.Connection) -> None:
        began = time.monotonic()
        before = (self.halt, self.wanted)
        self.halt = newest_halt(connection, self._account)
        request = newest_request(connection, self._account)
        self.wanted = request is None or request.wanted
        self._looked = began
        if self._changed is not None and (self.halt, self.wanted) != before:
            self._changed()
