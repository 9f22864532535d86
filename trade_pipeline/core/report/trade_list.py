"""The newest trades: under which UUID, when they were bought and sold, why, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import psycopg
from psycopg.rows import class_row

# Why a trade has not ended yet, or never began.
OPEN, NOT_BOUGHT = "open", "not bought"

_TRADES = """
SELECT c.uuid, c.session_id, c.instrument, c.decided_at,
       coalesce(i.first_fill, o.closed_at - make_interval(secs => o.time_in_market_seconds))
           AS bought_at,
       o.closed_at AS sold_at,
       coalesce(o.termination_reason,
                CASE WHEN i.first_fill IS NULL AND i.ended THEN 'not bought' ELSE 'open' END)
           AS reason,
       o.realized_pnl_percent AS result_percent, o.pnl_usd AS result_usd
FROM trade.candidates c
LEFT JOIN LATERAL (
    SELECT * FROM trade.outcomes o WHERE o.uuid = c.uuid AND o.kind = 'realised'
    ORDER BY revision DESC LIMIT 1
) o ON true
LEFT JOIN LATERAL (
    SELECT min(occurred_at) FILTER (WHERE event IN ('filled', 'partly_filled')) AS first_fill,
           coalesce(bool_or(event IN ('cancelled', 'rejected')), false) AS ended
    FROM trade.executions e WHERE e.uuid = c.uuid AND e.leg = 'entry'
) i ON true
WHERE c.decision = 'enter'
  AND (%(session)s::text IS NULL OR c.session_id = %(session)s)
  AND (%(instrument)s::text IS NULL OR c.instrument = %(instrument)s)
  AND (%(account)s::text IS NULL OR EXISTS (
      SELECT FROM trade.live_decisions d WHERE d.uuid = c.uuid AND d.account = %(account)s))
ORDER BY c.uuid DESC
LIMIT %(last)s
"""


@dataclass(frozen=True, slots=True)
class ListedTrade:
    """A trade in one row.

    Attributes:
        bought_at: None: nothing of it is filled.
        reason: why it ended, or `OPEN`, or `NOT_BOUGHT`.
        result_percent, result_usd: after all costs; None while it is open.
    """

    uuid: UUID
    session_id: str
    instrument: str
    decided_at: datetime
    bought_at: datetime | None
    sold_at: datetime | None
    reason: str
    result_percent: float | None
    result_usd: float | None


def newest_trades(
    connection: psycopg.Connection,
    last: int,
    *,
    session: str | None = None,
    account: str | None = None,
    instrument: str | None = None,
) -> list[ListedTrade]:
    """The trades that were decided last, the newest first."""
    with connection.cursor(row_factory=class_row(ListedTrade)) as cursor:
        given = {"session": session, "account": account, "instrument": instrument, "last": last}
        return cursor.execute(_TRADES.encode(), given).fetchall()
