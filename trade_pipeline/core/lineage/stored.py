"""Stored objects as nodes, by their exact ids; datasets and models also by their short names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg

from trade_pipeline.core.errors import BadConfig, UnknownTrade
from trade_pipeline.core.lineage.graph import Kind, Node
from trade_pipeline.core.tracking import uuid_of

ROOTS = (Kind.TRADE, Kind.DATASET, Kind.MODEL, Kind.DEPLOYMENT, Kind.SESSION)
# What to do about an id that is not there.
_LOOK: dict[Kind, str] = {
    Kind.DATASET: "`trade-pipeline datasets list` names those that are",
    Kind.MODEL: "`trade-pipeline models list` names those that are",
    Kind.DEPLOYMENT: "`trade-pipeline models history` names those that are",
    Kind.SESSION: "give its whole id, as `trade-pipeline trace` of one of its trades tells it",
}


def root_node(connection: psycopg.Connection, kind: Kind, name: str) -> Node:
    """The object that a user names.

    Args:
        name: a trade's UUID, a session's id, a deployment's number, or a dataset's or model's
            version or short name.

    Raises:
        BadConfig: the kind is not one of `ROOTS`, or none, or more than one, has this name.
        InvalidRecord: the name of a trade is no UUID.
        UnknownTrade: no candidate has this UUID.
    """
    if kind is Kind.TRADE:
        uuid = uuid_of(name)
        trade = trade_node(connection, str(uuid))
        if trade is None:
            raise UnknownTrade(uuid)
        return trade
    if kind in (Kind.DATASET, Kind.MODEL):
        return _by_name(connection, kind, name)
    if kind is Kind.DEPLOYMENT:
        if not (name.isascii() and name.isdigit() and int(name) < 1 << 63):
            raise BadConfig(f"deployment={name!r}: expected a number; {_LOOK[kind]}")
        return _one(deployment_nodes(connection, "d.deployment_id = %s", int(name)), kind, name)
    if kind is Kind.SESSION:
        return _one(session_nodes(connection, "session_id = %s", name), kind, name)
    raise BadConfig(f"kind={kind.value!r}: expected one of {', '.join(ROOTS)}")


def _by_name(connection: psycopg.Connection, kind: Kind, name: str) -> Node:
    if kind is Kind.DATASET:
        where: LiteralString = "dataset_version = %s OR short_name = %s"
        found = dataset_nodes(connection, where, name, name)
    else:
        where = "model_version = %s OR short_name = %s"
        found = model_nodes(connection, where, name, name)
    if len(found) > 1:
        raise BadConfig(
            f"{kind.value}={name!r}: several have this short name, give one of their versions: "
            + ", ".join(sorted(node.id for node in found))
        )
    return _one(found, kind, name)


def _one(found: Sequence[Node], kind: Kind, name: str) -> Node:
    if not found:
        raise BadConfig(f"{kind.value}={name!r}: none is stored; {_LOOK[kind]}")
    return found[0]


def trade_node(connection: psycopg.Connection, uuid: str) -> Node | None:
    """A trade; None: no candidate has this UUID."""
    row = connection.execute(
        "SELECT c.uuid::text, c.instrument, c.decided_at, c.session_id, c.decision, c.reason, "
        "c.confidence, c.arm, c.model_version, c.canary_version, c.stake_usd, c.params_ptr, "
        "c.created_by FROM trade.candidates c WHERE c.uuid = %s::uuid",
        (uuid,),
    ).fetchone()
    if row is None:
        return None
    names = (
        "session", "decision", "reason", "confidence", "arm", "model", "canary", "stake_usd",
        "params", "created_by",
    )  # fmt: skip
    facts = dict(zip(names, row[3:], strict=True))
    return Node(Kind.TRADE, row[0], row[1], row[2], _known(facts))


def session_nodes(connection: psycopg.Connection, where: LiteralString, *values: Any) -> list[Node]:
    """The sessions for which a condition holds."""
    names = (
        "mode", "market", "market_address", "range_start", "range_end", "seed", "params",
        "code_version",
    )  # fmt: skip
    rows = connection.execute(
        "SELECT session_id, mode || ' on ' || market, recorded_at, mode, market, market_address, "
        "range_start, range_end, seed, params_ptr, code_version FROM trade.sessions "
        f"WHERE {where} ORDER BY session_id",
        values,
    )
    return _nodes(Kind.SESSION, names, rows)


def dataset_nodes(connection: psycopg.Connection, where: LiteralString, *values: Any) -> list[Node]:
    """The datasets for which a condition holds, with what was counted when they were made."""
    names = ("market", "kind", "feature_set", "counts", "bounds", "sessions")
    rows = connection.execute(
        "SELECT dataset_version, short_name, recorded_at, market, kind, feature_set, "
        "t.content -> 'counts', t.content -> 'bounds', "
        "json_array_length(t.content -> 'session_ids') FROM trade.datasets "
        "CROSS JOIN LATERAL (SELECT datasets.content::json AS content) t "
        f"WHERE {where} ORDER BY recorded_at, dataset_version",
        values,
    )
    return _nodes(Kind.DATASET, names, rows)


def model_nodes(connection: psycopg.Connection, where: LiteralString, *values: Any) -> list[Node]:
    """The models ``m`` for which a condition holds."""
    names = (
        "market", "kind", "feature_set", "dataset", "artifact", "parent", "eligible",
        "code_version", "environment", "seed", "trials",
    )  # fmt: skip
    rows = connection.execute(
        "SELECT model_version, short_name, recorded_at, market, kind, feature_set, "
        "dataset_version, artifact, parent, EXISTS (SELECT FROM trade.eligible_models l "
        "WHERE l.model_version = m.model_version), t.content ->> 'code_version', "
        "t.content ->> 'environment', (t.content -> 'seed')::text::bigint, "
        "(t.content -> 'trials')::text::bigint FROM trade.models m "
        "CROSS JOIN LATERAL (SELECT m.content::json AS content) t "
        f"WHERE {where} ORDER BY recorded_at, chain_seq, model_version",
        values,
    )
    return _nodes(Kind.MODEL, names, rows)


def deciding_model(connection: psycopg.Connection, version: str) -> Node:
    """What decided: a stored model, or the heuristic or whatever else the decision names."""
    stored = model_nodes(connection, "m.model_version = %s", version)
    return stored[0] if stored else Node(Kind.MODEL, version, version, None, {"registered": False})


def evaluation_nodes(connection: psycopg.Connection, models: Sequence[str]) -> list[Node]:
    """The newest evaluation of each model by its gates, with every verdict."""
    rows = connection.execute(
        "SELECT DISTINCT ON (e.model_version) e.model_version, e.evaluation, e.evaluated_at, "
        "e.passed, (SELECT json_object_agg(v.gate, v.passed ORDER BY v.gate) "
        "FROM trade.gate_verdicts v WHERE v.model_version = e.model_version "
        "AND v.evaluation = e.evaluation) FROM trade.model_evaluations e "
        "WHERE e.model_version = ANY(%s) ORDER BY e.model_version, e.evaluation DESC",
        (list(models),),
    )
    return [
        Node(
            Kind.EVALUATION,
            f"{model}/{number}",
            f"evaluation {number}: {'passed' if passed else 'refused'}",
            at,
            {"model": model, "passed": passed, "gates": gates or {}},
        )
        for model, number, at, passed, gates in rows
    ]


def deployment_nodes(
    connection: psycopg.Connection, where: LiteralString, *values: Any
) -> list[Node]:
    """The deployments ``d`` for which a condition holds."""
    names = (
        "model", "stage", "slot", "market", "venue", "account", "deployed_by", "reason",
        "evaluation", "verdict", "override", "restores", "report",
    )  # fmt: skip
    rows = connection.execute(
        "SELECT d.deployment_id::text, d.stage || ' of ' || m.short_name, d.deployed_at, "
        "d.model_version, d.stage, d.slot, d.market, d.venue, d.account, d.deployed_by, d.reason, "
        "d.evaluation_id, d.verdict, d.override, d.restores, d.report_id "
        "FROM trade.deployments d JOIN trade.models m USING (model_version) "
        f"WHERE {where} ORDER BY d.deployment_id",
        values,
    )
    return _nodes(Kind.DEPLOYMENT, names, rows)


def look_nodes(connection: psycopg.Connection, where: LiteralString, *values: Any) -> list[Node]:
    """The evaluations of canaries for which a condition holds."""
    names = ("model", "canary", "decision", "looked_at", "reasons")
    rows = connection.execute(
        "SELECT evaluation_id, 'look: ' || decision, evaluated_at, model_version, canary, "
        "decision, looked_at, CASE WHEN decision <> 'extend' THEN content::json -> 'reasons' END "
        "FROM trade.canary_evaluations "
        f"WHERE {where} ORDER BY recorded_at, chain_seq, evaluation_id",
        values,
    )
    return _nodes(Kind.CANARY_EVALUATION, names, rows)


def report_nodes(connection: psycopg.Connection, where: LiteralString, *values: Any) -> list[Node]:
    """The reports of the monitoring for which a condition holds."""
    names = ("model", "deployment", "looked_at", "broken", "rolls_back")
    rows = connection.execute(
        "SELECT report_id, CASE WHEN rolls_back THEN 'report: rolls back' "
        "WHEN broken THEN 'report: broken' ELSE 'report: well' END, monitored_at, model_version, "
        "deployment, looked_at, broken, rolls_back FROM trade.monitoring_reports "
        f"WHERE {where} ORDER BY recorded_at, report_id",
        values,
    )
    return _nodes(Kind.MONITORING_REPORT, names, rows)


def artifact_nodes(connection: psycopg.Connection, addresses: Sequence[str]) -> list[Node]:
    """Content by its addresses; an address of which nothing is stored is told as such."""
    rows = connection.execute(
        "SELECT address, media_type, created_at, size_bytes, uri, expires_at "
        "FROM trade.artifacts WHERE address = ANY(%s)",
        (list(addresses),),
    ).fetchall()
    names = ("size_bytes", "uri", "expires_at")
    stored = {node.id: node for node in _nodes(Kind.ARTIFACT, names, rows)}
    missing = {"stored": False}
    return [stored.get(one, Node(Kind.ARTIFACT, one, facts=missing)) for one in addresses]


def _nodes(kind: Kind, names: Sequence[str], rows: Any) -> list[Node]:
    return [
        Node(kind, key, name, at, _known(dict(zip(names, rest, strict=True))))
        for key, name, at, *rest in rows
    ]


def _known(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}
