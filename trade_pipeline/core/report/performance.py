"""Performance figures, read back from the records: what is printed is what is stored."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import psycopg

from trade_pipeline.core.errors import BadConfig

GAS_USD = (0, 1, 15, 50)
# Upper bounds of the liquidity bands, USD on both sides of the pool at the decision.
LIQUIDITY_BANDS = (2_000, 20_000, 100_000, 500_000)


@dataclass(frozen=True, slots=True)
class _Trade:
    """A closed trade as the figures need it; money in USD."""

    closed_at: datetime | None
    reason: str
    return_pct: float
    pnl_usd: float | None
    seconds: float
    liquidity_usd: float | None
    gas_usd: float
    entry_gas_usd: float
    entry_transactions: int
    transactions: int
    paid_usd: float
    value_in_usd: float
    value_out_usd: float

    @property
    def price_return_pct(self) -> float:
        """Return between the fills' prices, without gas and fees on top."""
        return 100.0 * (self.value_out_usd / self.value_in_usd - 1.0)


def performance_metrics(
    connection: psycopg.Connection,
    session_id: str | None = None,
    *,
    include_imported: bool = False,
) -> dict[str, Any]:
    """Figures over realised outcomes (the newest revision of each).

    Args:
        session_id: one session; None: all of them.
        include_imported: with the trades of older bots among all of them.

    Returns:
        total_trades, win_rate (0..1), avg_return_pct, median_return_pct, best_return_pct,
        worst_return_pct, total_pnl_usd, avg_hours_in_market, by_reason.  Without a closed trade the
        rates are NaN: there is no figure to give.
    """
    sessions = None if session_id is None else [session_id]
    return _metrics(_read_trades(connection, sessions, include_imported))


def _metrics(trades: list[_Trade]) -> dict[str, Any]:
    returns = [t.return_pct for t in trades]
    return {
        "total_trades": len(trades),
        "win_rate": _mean(float(r > 0) for r in returns),
        "avg_return_pct": _mean(returns),
        "median_return_pct": statistics.median(returns) if returns else math.nan,
        "best_return_pct": max(returns, default=math.nan),
        "worst_return_pct": min(returns, default=math.nan),
        "total_pnl_usd": math.fsum(t.pnl_usd for t in trades if t.pnl_usd is not None),
        "avg_hours_in_market": _mean(t.seconds / 3600 for t in trades),
        "by_reason": _by_reason(trades),
    }


def session_report(connection: psycopg.Connection, session_id: str) -> dict[str, Any]:
    """The whole picture of one session; lists are ready for tables.

    Raises:
        BadConfig: no such session is stored.
    """
    return sessions_report(connection, [session_id])


def sessions_report(connection: psycopg.Connection, session_ids: Sequence[str]) -> dict[str, Any]:
    """The same of sessions that follow each other, such as those of an account, the earliest first.

    Returns:
        What `session_report` tells: ``session_id`` and ``params_ptr`` are the last one's.

    Raises:
        BadConfig: one of them is not stored, or there is none.
    """
    sessions = [_session(connection, session_id) for session_id in session_ids]
    if not sessions:
        raise BadConfig("session_ids=[]: no session to report on")
    session_ids, session = list(session_ids), sessions[-1]
    trades = _read_trades(connection, session_ids)
    metrics = _metrics(trades)
    costs, inside = _costs(connection, session_ids)
    equity, drawdown = _equity(trades)
    stops = [t for t in trades if t.reason == "stop_loss"]
    return {
        "session_id": session_ids[-1],
        "market": session["market"],
        "range": [sessions[0]["range_start"], session["range_end"]],
        "params_ptr": session["params_ptr"],
        "candidates": [
            {"decision": decision, "reason": reason, "count": count}
            for decision, reason, count in connection.execute(
                "SELECT decision, reason, count(*) FROM trade.candidates WHERE chain_id = ANY(%s) "
                "GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
                (session_ids,),
            )
        ],
        "trades": metrics["total_trades"],
        "win_rate": metrics["win_rate"],
        "mean_return_pct": metrics["avg_return_pct"],
        "median_return_pct": metrics["median_return_pct"],
        "total_pnl_usd": metrics["total_pnl_usd"],
        "by_reason": metrics["by_reason"],
        "stop_by_liquidity": _by_liquidity(stops),
        "by_liquidity": _by_liquidity(trades),
        "by_gas": _by_gas(trades),
        "costs": costs | inside,
        "equity": [[moment.isoformat(), usd] for moment, usd in equity],
        "returns": [t.return_pct for t in trades],
        "max_drawdown_usd": drawdown,
    }


def _session(connection: psycopg.Connection, session_id: str) -> dict[str, Any]:
    row = connection.execute(
        "SELECT content FROM trade.sessions WHERE session_id = %s", (session_id,)
    ).fetchone()
    if row is None:
        raise BadConfig(f"session_id={session_id!r}: no such session is stored")
    session: dict[str, Any] = orjson.loads(row[0])
    return session


def _read_trades(
    connection: psycopg.Connection, session_ids: list[str] | None, include_imported: bool = False
) -> list[_Trade]:
    """Closed trades in the order in which they closed; None: of all sessions."""
    rows = connection.execute(
        """
        WITH traded AS (
            SELECT uuid FROM trade.candidates
            WHERE decision = 'enter'
              AND CASE WHEN %(sessions)s::text[] IS NOT NULL THEN session_id = ANY(%(sessions)s)
                  ELSE %(imported)s OR session_id NOT IN (
                      SELECT session_id FROM trade.sessions WHERE mode = 'imported') END
        ), realised AS (
            SELECT DISTINCT ON (uuid) uuid, closed_at, termination_reason, realized_pnl_percent,
                   pnl_usd, time_in_market_seconds
            FROM trade.outcomes JOIN traded USING (uuid)
            WHERE kind = 'realised'
            ORDER BY uuid, revision DESC
        ), paid AS (
            SELECT uuid,
                   coalesce(sum(gas), 0) AS gas,
                   coalesce(sum(gas) FILTER (WHERE leg = 'entry'), 0) AS entry_gas,
                   count(gas) FILTER (WHERE leg = 'entry') AS entry_transactions,
                   count(gas) AS transactions,
                   coalesce(sum(value_usd + fees_usd) FILTER (WHERE leg = 'entry' AND filled), 0)
                   + coalesce(sum(fees_usd) FILTER (WHERE leg = 'entry' AND NOT filled), 0) AS paid,
                   coalesce(sum(value_usd) FILTER (WHERE leg = 'entry' AND filled), 0) AS value_in,
                   coalesce(sum(value_usd) FILTER (WHERE leg = 'exit' AND filled), 0) AS value_out
            FROM (
                SELECT uuid, leg, value_usd, fees_usd,
                       event IN ('filled', 'partly_filled') AS filled,
                       (content::jsonb -> 'costs_usd' ->> 'gas')::float8 AS gas
                FROM trade.executions JOIN traded USING (uuid)
            ) e
            GROUP BY uuid
        )
        SELECT r.closed_at, r.termination_reason, r.realized_pnl_percent, r.pnl_usd,
               r.time_in_market_seconds, d.liquidity_usd,
               p.gas, p.entry_gas, p.entry_transactions, p.transactions, p.paid,
               p.value_in, p.value_out
        FROM realised r
        JOIN paid p USING (uuid)
        LEFT JOIN trade.research_docs d USING (uuid)
        ORDER BY r.closed_at NULLS FIRST, r.uuid
        """,
        {"sessions": session_ids, "imported": include_imported},
    ).fetchall()
    return [_Trade(*row) for row in rows]


def _by_reason(trades: list[_Trade]) -> list[dict[str, Any]]:
    return [
        {"reason": name, **_figures(group), "pnl_usd": math.fsum(t.pnl_usd or 0.0 for t in group)}
        for name, group in _grouped(trades, lambda t: t.reason)
    ]


def _by_liquidity(trades: list[_Trade]) -> list[dict[str, Any]]:
    order = [liquidity_band(bound - 1.0) for bound in LIQUIDITY_BANDS]
    order += [liquidity_band(math.inf), liquidity_band(None)]
    groups = dict(_grouped(trades, lambda t: liquidity_band(t.liquidity_usd)))
    return [{"band": band, **_figures(groups[band])} for band in order if band in groups]


def liquidity_band(liquidity_usd: float | None) -> str:
    """The name of the band that a liquidity at the decision is in."""
    if liquidity_usd is None:
        return "unknown"
    low = 0
    for high in LIQUIDITY_BANDS:
        if liquidity_usd < high:
            return f"{low:,}-{high:,} USD"
        low = high
    return f"over {low:,} USD"


def _by_gas(trades: list[_Trade]) -> list[dict[str, Any]]:
    """The same trades at other prices of gas; empty where a market has no gas."""
    if not any(t.transactions for t in trades):
        return []
    found = []
    for gas in GAS_USD:
        pnl = [(t.pnl_usd or 0.0) + t.gas_usd - gas * t.transactions for t in trades]
        paid = [t.paid_usd - t.entry_gas_usd + gas * t.entry_transactions for t in trades]
        returns = [100.0 * p / cost for p, cost in zip(pnl, paid, strict=True) if cost > 0]
        found.append(
            {
                "gas_usd": gas,
                "win_rate": _mean(float(r > 0) for r in returns),
                "mean_return_pct": _mean(returns),
                "median_return_pct": statistics.median(returns) if returns else math.nan,
                "total_pnl_usd": math.fsum(pnl),
            }
        )
    return found


def _costs(
    connection: psycopg.Connection, session_ids: list[str]
) -> tuple[dict[str, float], dict[str, float]]:
    """USD by kind: what was paid on top, and what the prices contained."""
    found: list[dict[str, float]] = []
    for name in ("costs_usd", "inside_usd"):
        sums: defaultdict[str, list[float]] = defaultdict(list)
        for kind, usd in connection.execute(
            "SELECT key, value::float8 "
            "FROM trade.executions, jsonb_each_text(content::jsonb -> %s) "
            "WHERE uuid IN (SELECT uuid FROM trade.candidates WHERE session_id = ANY(%s)) "
            "ORDER BY chain_id, chain_seq",
            (name, session_ids),
        ):
            sums[kind].append(usd)
        found.append({kind: math.fsum(values) for kind, values in sorted(sums.items())})
    return found[0], found[1]


def _equity(trades: list[_Trade]) -> tuple[list[tuple[datetime, float]], float]:
    """Cumulated profit and loss by closing time, USD, and its deepest fall from a peak."""
    curve: list[tuple[datetime, float]] = []
    total = peak = deepest = 0.0
    for trade in trades:
        if trade.closed_at is None or trade.pnl_usd is None:
            continue
        total += trade.pnl_usd
        peak = max(peak, total)
        deepest = max(deepest, peak - total)
        curve.append((trade.closed_at.astimezone(UTC), total))
    return curve, deepest


def _figures(trades: list[_Trade]) -> dict[str, Any]:
    returns = [t.return_pct for t in trades]
    return {
        "trades": len(returns),
        "mean_return_pct": _mean(returns),
        "median_return_pct": statistics.median(returns) if returns else math.nan,
        "mean_price_return_pct": _mean(t.price_return_pct for t in trades if t.value_in_usd > 0),
    }


def _grouped(trades: list[_Trade], key: Any) -> list[tuple[str, list[_Trade]]]:
    groups: defaultdict[str, list[_Trade]] = defaultdict(list)
    for trade in trades:
        groups[key(trade)].append(trade)
    return sorted(groups.items())


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return math.fsum(found) / len(found) if found else math.nan
