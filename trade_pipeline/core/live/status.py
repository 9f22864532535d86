"""How accounts stand: what is wanted, who trades them, what is open, what stops them."""

from __future__ import annotations

from typing import Any

import psycopg

from trade_pipeline.core.live.halts import newest_halt
from trade_pipeline.core.live.lease import holder_is_connected, read_lease
from trade_pipeline.core.live.requests import newest_request
from trade_pipeline.core.live.supervision import holder_of


def live_status(connection: psycopg.Connection) -> list[dict[str, Any]]:
    """One account a row."""
    names = connection.execute(
        "SELECT account FROM trade.leases UNION SELECT account FROM trade.live_requests ORDER BY 1"
    ).fetchall()
    return [_account(connection, name) for (name,) in names]


def _account(connection: psycopg.Connection, account: str) -> dict[str, Any]:
    lease, request = read_lease(connection, account), newest_request(connection, account)
    halt = newest_halt(connection, account)
    halted = halt is not None and halt.stops_entries
    found = connection.execute(
        "SELECT count(*), count(*) FILTER (WHERE NOT explained) FROM trade.reconciliations "
        "WHERE account = %s AND epoch = %s",
        (account, 0 if lease is None else lease.epoch),
    ).fetchone()
    assert found is not None
    told = {} if lease is None else lease.told
    return {
        "account": account,
        "mode": None if lease is None else lease.mode,
        "wanted": request is not None and request.wanted,
        "holder": holder_of(lease, holder_is_connected(connection, account)),
        "epoch": 0 if lease is None else lease.epoch,
        "heartbeat_at": None if lease is None else lease.heartbeat_at,
        "market_time": told.get("market_time"),
        "open_positions": told.get("open_positions"),
        "cash_usd": told.get("cash_usd"),
        "decisions": told.get("decisions"),
        "dropped_looks": told.get("dropped_looks"),
        "newest_event": told.get("newest_event"),
        "no_entries": told.get("no_entries"),
        "halted": f"{halt.action}: {halt.reason} ({halt.by_whom})" if halt and halted else None,
        "findings": found[0],
        "unexplained": found[1],
    }
