"""New records as alerts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, LiteralString

import orjson
import psycopg
from psycopg.rows import dict_row

from trade_pipeline.core.alerts.alert import Alert
from trade_pipeline.core.alerts.cursor import Waiting
from trade_pipeline.core.live.halts import RECONCILIATION

_NEW: LiteralString = (
    "JOIN unnest(%(chains)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[]) "
    "AS n (chain_id, first, last) ON x.chain_id = n.chain_id "
    "AND x.chain_seq BETWEEN n.first AND n.last "
)
# An order of a live session that is over and bought something, whole or in part.
_ENTRIES: LiteralString = (
    "SELECT x.recorded_at, s.mode, d.account, d.instrument, c.reason, c.model_version, "
    "f.tokens, f.value_usd, f.fees_usd, x.event = 'cancelled' AS partly "
    "FROM trade.executions x "
    + _NEW
    + "JOIN trade.sessions s ON s.session_id = x.chain_id AND s.mode IN ('paper', 'live') "
    "JOIN trade.live_decisions d USING (uuid) JOIN trade.candidates c USING (uuid) "
    "CROSS JOIN LATERAL (SELECT sum(e.size) AS tokens, "
    "coalesce(sum(e.value_usd), 0) AS value_usd, coalesce(sum(e.fees_usd), 0) AS fees_usd "
    "FROM trade.executions e WHERE e.uuid = x.uuid "
    "AND e.order_id = x.order_id AND e.event IN ('filled', 'partly_filled')) f "
    "WHERE x.leg = 'entry' AND x.event IN ('filled', 'cancelled') AND f.tokens > 0"
)
_EXITS: LiteralString = (
    "SELECT x.recorded_at, s.mode, d.account, d.instrument, x.termination_reason, x.pnl_usd, "
    "x.realized_pnl_percent, x.content::jsonb ->> 'written_off' = 'true' AS written_off, "
    "f.tokens, f.value_usd, f.stake_usd FROM trade.outcomes x "
    + _NEW
    + "JOIN trade.sessions s ON s.session_id = x.chain_id AND s.mode IN ('paper', 'live') "
    "JOIN trade.live_decisions d USING (uuid) "
    "CROSS JOIN LATERAL (SELECT sum(e.size) FILTER (WHERE leg = 'exit') AS tokens, "
    "coalesce(sum(e.value_usd) FILTER (WHERE leg = 'exit'), 0) AS value_usd, "
    "coalesce(sum(e.value_usd) FILTER (WHERE leg = 'entry'), 0) AS stake_usd "
    "FROM trade.executions e "
    "WHERE e.uuid = x.uuid AND e.event IN ('filled', 'partly_filled')) f "
    "WHERE x.kind = 'realised'"
)
_RECONCILIATIONS: LiteralString = (
    "SELECT x.recorded_at, x.account, x.kind, x.instrument, x.client_order_id, x.content "
    "FROM trade.reconciliations x " + _NEW + "WHERE NOT x.explained"
)
_DEPLOYMENTS: LiteralString = (
    "SELECT x.recorded_at, x.market, x.venue, x.account, x.stage, x.slot, x.reason, "
    "x.deployed_by, m.short_name FROM trade.deployments x "
    + _NEW
    + "JOIN trade.models m USING (model_version) "
    "WHERE x.stage = 'retired' OR x.restores IS NOT NULL"
)
_EVALUATIONS: LiteralString = (
    "SELECT x.recorded_at, m.short_name, m.market, (SELECT array_agg(v.content "
    "ORDER BY v.chain_seq) FROM trade.gate_verdicts v WHERE v.model_version = x.model_version "
    "AND v.evaluation = x.evaluation AND NOT v.passed) AS verdicts "
    "FROM trade.model_evaluations x "
    + _NEW
    + "JOIN trade.models m USING (model_version) WHERE NOT x.passed"
)
# What reconciliation could not explain was recorded before the halt for it, and tells of it.
_HALTS: LiteralString = (
    "SELECT h.recorded_at, h.account, action, reason, by_whom FROM trade.halts h "
    "WHERE halt_id = ANY(%(halts)s) AND NOT (action = 'halt' AND by_whom = %(by)s AND EXISTS ("
    "SELECT FROM trade.reconciliations r WHERE r.account = h.account AND NOT r.explained "
    "AND r.recorded_at <= h.recorded_at AND h.reason = btrim(format('%%s %%s %%s', r.kind, "
    "coalesce(r.instrument, ''), coalesce(r.client_order_id, '')))))"
)
# An end with when it had begun.
_INCIDENTS: LiteralString = (
    "SELECT i.recorded_at, i.subject, i.state, i.reason, (SELECT max(b.recorded_at) "
    "FROM trade.incidents b WHERE b.subject = i.subject AND b.state = 'begins' "
    "AND b.incident_id < i.incident_id) AS began_at "
    "FROM trade.incidents i WHERE incident_id = ANY(%(incidents)s)"
)
_HALTED = {
    "halt": "entries are stopped",
    "flatten": "entries are stopped and everything is sold",
    "resume": "entries are allowed again",
}


def read_alerts(connection: psycopg.Connection, waiting: Waiting) -> list[Alert]:
    """What people should know of these records, oldest first."""
    given = {
        "chains": [chain for chain, _, _ in waiting.chains],
        "firsts": [first for _, first, _ in waiting.chains],
        "lasts": [last for _, _, last in waiting.chains],
        "halts": list(waiting.halts),
        "incidents": list(waiting.incidents),
        "by": RECONCILIATION,
    }
    found: list[Alert] = []
    if waiting.halts:
        found += [_halt(row) for row in _rows(connection, _HALTS, given)]
    if waiting.incidents:
        found += [_incident(row) for row in _rows(connection, _INCIDENTS, given)]
    if waiting.chains:
        found += [_reconciliation(row) for row in _rows(connection, _RECONCILIATIONS, given)]
        found += [_rollback(row) for row in _rows(connection, _DEPLOYMENTS, given)]
        found += [_gates(row) for row in _rows(connection, _EVALUATIONS, given)]
        found += [_exit(row) for row in _rows(connection, _EXITS, given)]
        found += [_entry(row) for row in _rows(connection, _ENTRIES, given)]
    return sorted(found, key=lambda one: one.at)


def _rows(
    connection: psycopg.Connection, query: LiteralString, given: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        yield from cursor.execute(query, given)


def _where(row: Mapping[str, Any]) -> str:
    return f"account {row['account']} ({row['mode']})"


def _entry(row: Mapping[str, Any]) -> Alert:
    part = ", a part of what was ordered" if row["partly"] else ""
    return Alert(
        "entry",
        f"Bought {row['instrument']}",
        f"{_where(row)}: {row['tokens']:,.6g} tokens at {_price(row)} USD for "
        f"{row['value_usd']:,.2f} USD and {row['fees_usd']:,.2f} USD of costs{part}; "
        f"{row['reason']}, decided by {row['model_version']}",
        row["recorded_at"],
    )


def _exit(row: Mapping[str, Any]) -> Alert:
    if row["written_off"]:
        what, how = "Written off", "what was left could not be sold"
    else:
        what, how = "Sold", f"{row['tokens']:,.6g} tokens at {_price(row)} USD"
    pnl = "" if row["pnl_usd"] is None else f"{row['pnl_usd']:+,.2f} USD, "
    return Alert(
        "exit",
        f"{what} {row['instrument']}: {row['realized_pnl_percent']:+.2f} %",
        f"{_where(row)}: {row['termination_reason']}: {how}; stake {row['stake_usd']:,.2f} USD, "
        f"result {pnl}{row['realized_pnl_percent']:+.2f} %",
        row["recorded_at"],
    )


def _halt(row: Mapping[str, Any]) -> Alert:
    return Alert(
        "halt",
        f"{row['action'].capitalize()}: account {row['account']}",
        f"{_HALTED[row['action']]}: {row['reason']} (by {row['by_whom']})",
        row["recorded_at"],
    )


def _incident(row: Mapping[str, Any]) -> Alert:
    subject = row["subject"][:1].upper() + row["subject"][1:]
    if row["state"] == "begins":
        return Alert("incident", subject, row["reason"], row["recorded_at"])
    lasted = (row["recorded_at"] - row["began_at"]).total_seconds() / 60
    body = f"over after {lasted:,.0f} minutes; it was: {row['reason']}"
    return Alert("incident", f"{subject}: recovered", body, row["recorded_at"])


def _reconciliation(row: Mapping[str, Any]) -> Alert:
    facts = orjson.loads(row["content"])["facts"]
    about = " ".join(filter(None, (row["instrument"], row["client_order_id"])))
    told = ", ".join(f"{name} {value}" for name, value in facts.items())
    return Alert(
        "reconciliation",
        f"Not explained: {row['kind'].replace('_', ' ')}, account {row['account']}",
        f"{about or 'the account'}: {told or 'no more is known'}; entries stop until you resume",
        row["recorded_at"],
    )


def _rollback(row: Mapping[str, Any]) -> Alert:
    did = "was taken back" if row["stage"] == "retired" else "decides again"
    return Alert(
        "rollback",
        f"Model {row['short_name']} {did}",
        f"{row['slot']} of {row['market']}/{row['venue']}/{row['account']}: {row['reason']} "
        f"(by {row['deployed_by']})",
        row["recorded_at"],
    )


def _gates(row: Mapping[str, Any]) -> Alert:
    verdicts = [orjson.loads(content) for content in row["verdicts"] or ()]
    told = "; ".join(f"{one['gate']}: {', '.join(one['reasons']) or 'refused'}" for one in verdicts)
    return Alert(
        "gate",
        f"Model {row['short_name']} did not pass its gates",
        f"{row['market']}: {told or 'a gate is missing'}",
        row["recorded_at"],
    )


def _price(row: Mapping[str, Any]) -> str:
    tokens = row["tokens"]
    return f"{row['value_usd'] / tokens:.6g}" if tokens else "-"
