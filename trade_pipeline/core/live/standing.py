"""How everything stands, as one document: accounts, positions, results, models, halts, incidents.

Read from what is stored, so that it is the same for whoever looks, from wherever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.incidents.incident import open_incidents
from trade_pipeline.core.live.status import live_status
from trade_pipeline.core.store.room import refuses_writes

# How many of the newest decisions and halts are told.
NEWEST = 8
# Entries without an end: a position, or an order that is on its way.  A token's newest known price
# is that of its last decision or of its own fills.
_POSITIONS: LiteralString = """
SELECT i.uuid::text AS uuid, i.instrument, c.arm, f.opened_at, i.stake_usd AS ordered_usd,
    f.tokens, f.value_in AS stake_usd, f.value_in / nullif(f.bought, 0) AS entry_price,
    f.value_out AS sold_usd, g.fees AS costs_usd, p.price AS newest_price, p.known_at AS price_at,
    (SELECT x.content::jsonb ->> 'reason' FROM trade.order_intents x
     WHERE x.uuid = i.uuid AND x.leg = 'exit' ORDER BY x.attempt DESC LIMIT 1) AS closing
FROM trade.order_intents i JOIN trade.candidates c USING (uuid)
CROSS JOIN LATERAL (
    SELECT coalesce(sum(e.size) FILTER (WHERE e.leg = 'entry'), 0) AS bought,
        coalesce(sum(CASE e.leg WHEN 'entry' THEN e.size ELSE -e.size END), 0) AS tokens,
        coalesce(sum(e.value_usd) FILTER (WHERE e.leg = 'entry'), 0) AS value_in,
        coalesce(sum(e.value_usd) FILTER (WHERE e.leg = 'exit'), 0) AS value_out,
        min(e.occurred_at) AS opened_at
    FROM trade.executions e WHERE e.uuid = i.uuid AND e.event IN ('filled', 'partly_filled')) f
-- Orders that failed cost something, too.
CROSS JOIN LATERAL (SELECT coalesce(sum(e.fees_usd), 0) AS fees
    FROM trade.executions e WHERE e.uuid = i.uuid) g
LEFT JOIN LATERAL (
    SELECT * FROM (
        (SELECT r.price_usd AS price, r.known_at FROM trade.live_decisions d
         JOIN trade.research_docs r USING (uuid)
         WHERE d.account = i.account AND d.instrument = i.instrument AND r.price_usd IS NOT NULL
         ORDER BY d.slot DESC LIMIT 1)
        UNION ALL
        SELECT e.price, e.occurred_at FROM trade.executions e
        WHERE e.uuid = i.uuid AND e.event IN ('filled', 'partly_filled')) known
    ORDER BY known_at DESC NULLS LAST LIMIT 1) p ON true
WHERE i.account = %(account)s AND i.leg = 'entry'
    AND NOT EXISTS (SELECT FROM trade.outcomes o WHERE o.uuid = i.uuid AND o.kind = 'realised')
    AND (f.bought > 0 OR NOT EXISTS (
        SELECT FROM trade.executions e WHERE e.uuid = i.uuid AND e.leg = 'entry'
        AND e.event IN ('cancelled', 'rejected')))
ORDER BY i.submitted_at, i.uuid
"""
_CLOSED: LiteralString = """
SELECT count(*) AS trades, coalesce(sum(pnl_usd), 0) AS pnl_usd FROM (
    SELECT DISTINCT ON (o.uuid) o.uuid, o.pnl_usd FROM trade.outcomes o
    JOIN trade.order_intents i ON i.uuid = o.uuid AND i.leg = 'entry' AND i.attempt = 0
    WHERE i.account = %(account)s AND o.kind = 'realised'
        AND o.closed_at >= %(since)s AND o.closed_at < %(until)s
    ORDER BY o.uuid, o.revision DESC) newest
"""
_DECISIONS: LiteralString = """
SELECT c.decided_at, d.instrument, c.decision, c.reason, c.confidence, c.stake_usd, c.model_version
FROM trade.live_decisions d JOIN trade.candidates c USING (uuid)
WHERE d.account = %(account)s ORDER BY d.uuid DESC LIMIT %(newest)s
"""
_HALTS: LiteralString = """
SELECT account, action, reason, by_whom, recorded_at FROM trade.halts
WHERE %(account)s::text IS NULL OR account = %(account)s ORDER BY halt_id DESC LIMIT %(newest)s
"""
_MODELS: LiteralString = """
SELECT d.slot, d.market, d.venue, d.account, m.short_name AS model, d.deployed_at
FROM trade.deployed d JOIN trade.models m USING (model_version)
ORDER BY d.slot DESC, d.market, d.venue, d.account
"""


def standing(
    connection: psycopg.Connection, now: datetime, account: str | None = None
) -> dict[str, Any]:
    """How accounts, models, halts and incidents stand, and whether the database takes writes.

    Money is in USD.  The day of "today" is UTC's, of the market that an account trades: a replayed
    one has its own.

    Args:
        account: the only one to tell of.

    Raises:
        BadConfig: there is no such account.
    """
    rows = live_status(connection)
    if account is not None:
        rows = [row for row in rows if row["account"] == account]
        if not rows:
            raise BadConfig(
                f"account={account!r}: no such account; `live status` shows those there are"
            )
    some = {"account": account, "newest": NEWEST}
    return {
        "at": now,
        "accounts": [_account(connection, row, now) for row in rows],
        "models": _rows(connection, _MODELS, {}),
        "halts": _rows(connection, _HALTS, some),
        "incidents": [asdict(one) for one in open_incidents(connection)],
        "refuses_writes": refuses_writes(connection),
    }


def _account(
    connection: psycopg.Connection, status: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    heartbeat, market_time = status["heartbeat_at"], _market_time(connection, status)
    day = (market_time or now).astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    names = {
        "account": status["account"], "since": day, "until": day + timedelta(days=1),
        "newest": NEWEST,
    }  # fmt: skip
    positions = [_position(row) for row in _rows(connection, _POSITIONS, names)]
    [closed] = _rows(connection, _CLOSED, names)
    known = [one["unrealised_usd"] for one in positions if one["unrealised_usd"] is not None]
    return {
        **status,
        "market_time": market_time,
        "heartbeat_age_seconds": None if heartbeat is None else (now - heartbeat).total_seconds(),
        "day": day.date().isoformat(),
        "closed_today": closed["trades"],
        "realised_today_usd": closed["pnl_usd"],
        "unrealised_usd": sum(known),
        # So that nobody takes a sum over some for one over all.
        "positions_without_price": len(positions) - len(known),
        "positions": positions,
        "newest_decisions": _rows(connection, _DECISIONS, names),
    }


def _market_time(connection: psycopg.Connection, status: Mapping[str, Any]) -> datetime | None:
    """Where an account's market is: as its holder told, or as its newest records say."""
    told = status["market_time"]
    row = connection.execute(
        "SELECT reached FROM trade.live_progress WHERE account = %s", (status["account"],)
    ).fetchone()
    known = [] if row is None else [moment_of(row[0])]
    if told is not None:
        known.append(datetime.fromisoformat(told))
    return max(known, default=None)


def _position(row: Mapping[str, Any]) -> dict[str, Any]:
    """A position's row and what it would be worth at the newest known price, before its sale's
    costs."""
    price, tokens, stake = row["newest_price"], row["tokens"], row["stake_usd"]
    unrealised = None
    if price is not None and stake > 0:
        unrealised = tokens * price + row["sold_usd"] - stake - row["costs_usd"]
    return {
        **row,
        "unrealised_usd": unrealised,
        "unrealised_percent": None if unrealised is None else 100.0 * unrealised / stake,
    }


def _rows(
    connection: psycopg.Connection, query: LiteralString, given: Mapping[str, Any]
) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, given).fetchall()
