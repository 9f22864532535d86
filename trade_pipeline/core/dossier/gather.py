"""Gathers a dossier: the facts by a few indexed queries, then what explains them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
import psycopg

from trade_pipeline.core.canonical import is_address
from trade_pipeline.core.dossier.decision import explain
from trade_pipeline.core.dossier.facts import Content, Dossier, KnownFeature, ModelFacts
from trade_pipeline.core.dossier.orders import barriers_of, order_stories
from trade_pipeline.core.dossier.stored import read_records, read_run, read_sources
from trade_pipeline.core.dossier.words import short
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.registry import FEATURES, feature_set
from trade_pipeline.core.lineage.graph import Kind
from trade_pipeline.core.lineage.walk import both_lineages
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore, resolve_alias
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.training.registry import read_model


def gather(connection: psycopg.Connection, artifacts: ArtifactStore, uuid: UUID) -> Dossier:
    """Everything that is stored about a trade; its market is read by `around`.

    Raises:
        UnknownTrade: no candidate has this UUID.
    """
    records = read_records(connection, uuid)
    stored = records.contents
    candidate = stored["candidates"][0]
    research = next(iter(stored["research_docs"]), None)
    run = read_run(connection, candidate["session_id"])
    roles = _roles(candidate, research)
    params = _params(artifacts, candidate["params_ptr"])
    settings = _settings(params)
    models = _models(connection, artifacts, candidate, settings)
    vector = _vector(connection, artifacts, stored["feature_rows"])
    up, down = both_lineages(connection, Kind.TRADE, str(uuid))
    barriers = None
    if settings is not None:
        barriers = barriers_of(stored["executions"], settings.strategy.exits)
    return Dossier(
        uuid=uuid,
        candidate=candidate,
        research=research,
        executions=stored["executions"],
        outcomes=stored["outcomes"],
        features=stored["feature_rows"],
        live=next(iter(stored["live_decisions"]), None),
        intents=stored["order_intents"],
        reconciliations=stored["reconciliations"],
        run=run,
        params=params,
        settings=settings,
        sources=read_sources(connection, artifacts, roles),
        vector=vector,
        models=models,
        explanation=explain(candidate, research, run["market"], settings, vector, models),
        orders=order_stories(stored["executions"], stored["order_intents"]),
        barriers=barriers,
        ledger=records.ledger,
        up=up,
        down=down,
    )


def _roles(candidate: Content, research: Content | None) -> dict[str, str]:
    raw = () if research is None else research["raw_answers"]
    roles = {address: "raw answer" for address in raw if is_address(address)}
    return roles | {candidate["params_ptr"]: "settings"}


def _params(artifacts: ArtifactStore, address: str) -> dict[str, Any] | None:
    """The settings behind an address; None where they are not at hand."""
    try:
        found = orjson.loads(artifacts.get(address))
    except (FileNotFoundError, ArtifactDamaged, orjson.JSONDecodeError):
        return None
    return found if isinstance(found, dict) else None


def _settings(params: Mapping[str, Any] | None) -> TradingConfig | None:
    """Settings of a session; None for those of another kind or another time."""
    if params is None or "strategy" not in params:
        return None
    try:
        return TradingConfig.parse(dict(params))
    except BadConfig:
        return None


def _models(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    candidate: Content,
    settings: TradingConfig | None,
) -> dict[str, ModelFacts]:
    """The models that had a say; of one that no registry knows, its name alone."""
    compared = candidate.get("canary") or {}
    versions = [
        candidate["model_version"], compared.get("production_model"), compared.get("model"),
    ]  # fmt: skip
    found = {}
    for version in dict.fromkeys(one for one in versions if one):
        if version == HEURISTIC_VERSION:
            entry = None if settings is None else settings.strategy.signal.min_confidence
            name = f"the built-in heuristic ({version})"
            found[version] = ModelFacts(version, name, entry)
        else:
            found[version] = _model(connection, artifacts, version)
    return found


def _model(connection: psycopg.Connection, artifacts: ArtifactStore, version: str) -> ModelFacts:
    try:
        record = read_model(connection, version)
    except BadConfig:
        return ModelFacts(version, short(version))
    try:
        entry = orjson.loads(artifacts.get(record.artifact)).get("entry_confidence")
    except (FileNotFoundError, ArtifactDamaged):
        entry = None
    return ModelFacts(record.model_version, record.short_name, entry, record.dataset_version)


def _vector(
    connection: psycopg.Connection, artifacts: ArtifactStore, rows: Sequence[Content]
) -> list[KnownFeature]:
    """The newest stored vector with its definitions; without them there are only numbers."""
    if not rows:
        return []
    row = next((one for one in rows if one["feature_set"] == feature_set()), rows[-1])
    names = _definitions(connection, artifacts, row["feature_set"])
    return [
        KnownFeature(one["name"], value, one["unit"], one["definition"], one["family"])
        for one, value in zip(names, row["vector"], strict=False)
    ]


def _definitions(
    connection: psycopg.Connection, artifacts: ArtifactStore, version: str
) -> list[dict[str, Any]]:
    if version == feature_set():
        return [
            {"name": f.name, "unit": f.unit, "definition": f.definition, "family": f.family}
            for f in FEATURES
        ]
    address = resolve_alias(connection, f"feature-set:{version}")
    if address is None:
        return []
    try:
        found: list[dict[str, Any]] = orjson.loads(artifacts.get(address))
    except (FileNotFoundError, ArtifactDamaged):
        return []
    return found
