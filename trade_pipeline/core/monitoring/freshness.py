"""Whether decisions and market still come in: a stale feed is no fault of the model's."""

from __future__ import annotations

from datetime import datetime

import psycopg

from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.verdict import verdict


def freshness(
    decision: datetime | None, market: datetime | None, now: datetime, config: MonitoringConfig
) -> Guardrail:
    """The ages of what is newest, in hours of market time.

    Args:
        decision: market time of the newest decision; None: there is none.
        market: of the newest look at the market.
    """
    old: list[str] = []
    numbers: dict[str, float] = {}
    for name, newest, allowed in (
        ("decision", decision, config.max_decision_hours),
        ("market", market, config.max_market_hours),
    ):
        hours = float("inf") if newest is None else (now - newest).total_seconds() / 3600
        numbers |= {f"{name}_hours": hours, f"{name}_allowed": allowed}
        if not hours <= allowed:
            told = "is not there" if newest is None else f"is {hours:.1f} hours old"
            old.append(f"the newest {name} {told}, allowed {allowed:g}")
    return verdict("freshness", not old, "; ".join(old), numbers)


def newest_market(connection: psycopg.Connection, scope: Scope) -> datetime | None:
    """Market time of the newest look at a market in a scope, whether it gave a candidate or not."""
    row = connection.execute(
        "SELECT max(m) FROM (SELECT max(slot) AS m FROM trade.scans JOIN trade.sessions s "
        "USING (session_id) WHERE (s.market, s.mode) = (%(market)s, %(account)s) UNION ALL "
        "SELECT max(decided_at) FROM trade.candidates JOIN trade.sessions s "
        "USING (session_id) WHERE (s.market, s.mode) = (%(market)s, %(account)s)) newest",
        {"market": scope.market, "account": scope.account},
    ).fetchone()
    return None if row is None else row[0]
