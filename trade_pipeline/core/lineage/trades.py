"""Sets of trades, summarised: a dataset of 100,000 trades is one node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, LiteralString
from uuid import UUID

import psycopg

from trade_pipeline.core.ids import moment_of, uuid7_micros
from trade_pipeline.core.lineage.graph import Kind, Node

# What came of a trade: its realised outcome, or else its shadow one, of the newest revision.  Each
# trade is looked up by its UUID: joined as a whole, every trade of the months was read beside it.
_SUMMARY: LiteralString = """
    SELECT s.split, c.session_id, c.model_version, c.decision, s.outcome, count(*),
           min(s.uuid::text), max(s.uuid::text)
    FROM (
        SELECT uuid, split, (
            SELECT o.kind || ' ' || o.termination_reason FROM trade.outcomes o
            WHERE o.uuid = h.uuid ORDER BY o.kind, o.revision DESC LIMIT 1) AS outcome
        FROM ({chosen}) h) s
    CROSS JOIN LATERAL (
        SELECT t.session_id, t.model_version, t.decision FROM trade.candidates t
        WHERE t.uuid = s.uuid LIMIT 1) c
    GROUP BY 1, 2, 3, 4, 5
"""


@dataclass(frozen=True, slots=True)
class TradeSet:
    """A set of trades.

    Attributes:
        sessions: number of trades by session, the largest first.
        models: the same by the version of the model that decided.
    """

    node: Node
    sessions: dict[str, int]
    models: dict[str, int]


def summarised(
    connection: psycopg.Connection,
    holder: str,
    chosen: LiteralString,
    values: Mapping[str, Any],
    *,
    members: bool,
) -> TradeSet:
    """Count a set of trades by what they are.

    Args:
        holder: the key of the node that has them.
        chosen: a SELECT of their ``uuid`` and ``split`` (null: they are in none), each UUID once.
        members: whether to list the UUIDs.
    """
    rows = connection.execute(_SUMMARY.format(chosen=chosen), values).fetchall()
    counts: dict[str, Counter[str]] = {
        name: Counter() for name in ("split", "session", "model", "decision", "outcome")
    }
    for *said, number, _, _ in rows:
        for name, value in zip(counts, said, strict=True):
            if value is not None:
                counts[name][value] += number
            elif name == "outcome":
                counts[name]["open"] += number
    total = sum(row[5] for row in rows)
    facts: dict[str, Any] = {"trades": total}
    if rows:
        facts["first"] = moment_of(uuid7_micros(UUID(min(row[6] for row in rows))))
        facts["last"] = moment_of(uuid7_micros(UUID(max(row[7] for row in rows))))
    for name, counted in counts.items():
        if counted:
            facts[f"by_{name}"] = dict(counted.most_common())
    listed = None
    if members:
        found = connection.execute(f"SELECT uuid::text FROM ({chosen}) s ORDER BY uuid", values)
        listed = [str(uuid) for (uuid,) in found]
    node = Node(Kind.TRADES, holder, f"{total:,} trades", facts.get("last"), facts, listed)
    return TradeSet(node, facts.get("by_session", {}), facts.get("by_model", {}))


DATASET_TRADES: LiteralString = (
    "SELECT uuid, split FROM trade.dataset_members WHERE dataset_version = %(dataset)s"
)
SESSION_TRADES: LiteralString = (
    "SELECT uuid, NULL::text AS split FROM trade.candidates WHERE session_id = %(session)s"
)
MODEL_TRADES: LiteralString = (
    "SELECT uuid, NULL::text AS split FROM trade.candidates WHERE model_version = %(model)s"
)
# What a deployment decided: its model, where it holds, recorded while it was the newest there.
DEPLOYMENT_TRADES: LiteralString = """
    SELECT c.uuid, NULL::text AS split
    FROM trade.deployments d
    JOIN trade.candidates c ON c.model_version = d.model_version AND c.arm = d.slot
    JOIN trade.sessions s ON s.session_id = c.session_id
        AND s.market = d.market AND s.mode = d.account
    WHERE d.deployment_id = %(deployment)s AND d.stage <> 'retired'
      AND c.recorded_at >= d.deployed_at
      AND c.recorded_at < coalesce((
        SELECT min(n.deployed_at) FROM trade.deployments n
        WHERE (n.market, n.venue, n.account) = (d.market, d.venue, d.account)
          AND n.deployment_id > d.deployment_id
          AND (n.slot = 'production' OR d.slot = 'canary')), 'infinity')
"""
# What a look at a canary compared: see `canary.paired.compared_since`.
_EVIDENCE: LiteralString = """
    FROM trade.canary_evaluations e
    JOIN trade.deployments d ON d.deployment_id = e.canary
    CROSS JOIN LATERAL (SELECT d.content::json -> 'evidence' -> 'terms' AS terms) t
    JOIN trade.sessions s ON s.market = d.market AND s.mode = d.account
    JOIN trade.candidates c ON c.session_id = s.session_id AND c.canary_version = e.model_version
        AND c.decided_at <= e.looked_at
        AND c.decided_at > coalesce((t.terms ->> 'starts_at')::timestamptz, '-infinity')
        AND c.content::json -> 'canary' ->> 'production_model' = t.terms ->> 'production'
"""
LOOK_TRADES: LiteralString = (
    "SELECT c.uuid, NULL::text AS split " + _EVIDENCE + " WHERE e.evaluation_id = %(look)s"
)
LOOKS_OF_SESSION: LiteralString = "SELECT e.evaluation_id" + _EVIDENCE + "WHERE s.session_id = %s"
LOOKS_OF_TRADE: LiteralString = "SELECT e.evaluation_id" + _EVIDENCE + "WHERE c.uuid = %s::uuid"
