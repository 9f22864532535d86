"""The section that tells where a trade went, and where its decision came from."""

from __future__ import annotations

from collections.abc import Iterator

from trade_pipeline.core.dossier.facts import Dossier
from trade_pipeline.core.dossier.page import Block, Note, Section, Table
from trade_pipeline.core.dossier.words import moment, number, short
from trade_pipeline.core.lineage.graph import Edge, Kind, Lineage, Node, Relation
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION

_KINDS = {
    Kind.SESSION: "Session",
    Kind.MARKET: "Market",
    Kind.PARAMS: "Settings",
    Kind.TRADE: "This trade",
    Kind.TRADES: "Trades",
    Kind.FEATURE_ROW: "Feature row",
    Kind.DATASET: "Dataset",
    Kind.MODEL: "Model",
    Kind.EVALUATION: "Gates of a model",
    Kind.CANARY_EVALUATION: "Look at a canary",
    Kind.MONITORING_REPORT: "Report of the monitoring",
    Kind.DEPLOYMENT: "Deployment",
    Kind.ARTIFACT: "Stored content",
}
# What a derived object has to do with its source, said of the derived one.
_DERIVED = {
    Relation.FEATURES_OF: "holds the features that were known at the decision",
    Relation.HOLDS: "holds it",
    Relation.TRAINED_ON: "was trained on it",
    Relation.REPLACES: "was trained to replace it",
    Relation.JUDGES: "judged it",
    Relation.EVIDENCE: "took it as evidence",
    Relation.LOOKED_AT: "looked at it",
    Relation.DEPLOYS: "put it to work",
    Relation.RESTS_ON: "rests on it",
    Relation.RESTORES: "went back to it",
    Relation.MADE_UNDER: "was decided under it",
}
# The same, said of the source.
_SOURCE = {
    Relation.DECIDED_IN: "is where it was decided",
    Relation.DECIDED_BY: "decided it",
    Relation.COMPARED_WITH: "was asked beside the one that decided",
    Relation.SET_BY: "set every number of the strategy",
    Relation.TOLD_BY: "told facts about the token",
    Relation.READ: "was read",
    Relation.HOLDS: "are what it holds",
    Relation.TRAINED_ON: "is what it was trained on",
    Relation.STORED_AS: "is its file",
    Relation.REPLACES: "is what it was to replace",
}
_SPLITS = {
    "train": "the model learned from it",
    "validation": "it helped to choose the model's settings",
    "test": "the model was judged by it and never learned from it",
    "holdout": "the model was judged by it once and never learned from it",
}
_SHOWN = 40


def lineage_section(dossier: Dossier) -> Section:
    """Forward from the trade, and back from its decision."""
    intro = (
        "Forward: what learned from this trade, or was judged by it. Back: which model decided, "
        "and what that model had learned from."
    )
    blocks: list[Block] = []
    forward = _rows(dossier.down)
    if any(node.kind is Kind.DATASET for node in dossier.down.nodes.values()):
        blocks.append(_table("Where the trade went", forward))
    else:
        blocks.append(Note("No dataset holds this trade so far, so no model has learned from it."))
        if forward:
            blocks.append(_table("Where the trade went", forward))
    blocks.append(_table("Where the decision came from", _rows(dossier.up)))
    return Section("Where the trade went, and where its decision came from", intro, blocks)


def _table(title: str, rows: list[tuple[str, str, str]]) -> Table:
    shown = rows[:_SHOWN]
    if len(rows) > _SHOWN:
        shown.append(
            ("...", f"{len(rows) - _SHOWN} more", "trade-pipeline lineage trade UUID shows all")
        )
    return Table(title, ("Object", "Which", "What it has to do with it"), shown)


def _rows(found: Lineage) -> list[tuple[str, str, str]]:
    return [
        (_KINDS[node.kind], _name(node), f"{_relation(found, edge)}{_facts(node)}")
        for edge, node in _walk(found)
        if node.kind is not Kind.ARTIFACT or edge.relation is not Relation.TOLD_BY
    ]


def _walk(found: Lineage) -> Iterator[tuple[Edge, Node]]:
    """Every edge, the nearest of the trade first."""
    waiting, seen = [found.root], {found.root}
    while waiting:
        key = waiting.pop(0)
        for edge, node in found.steps(key):
            yield edge, node
            if node.key not in seen:
                seen.add(node.key)
                waiting.append(node.key)


def _name(node: Node) -> str:
    if node.kind is Kind.DEPLOYMENT:
        return f"{node.id}: {node.name}"
    if node.kind is Kind.PARAMS:
        return short(node.id)
    if node.kind in (Kind.SESSION, Kind.CANARY_EVALUATION, Kind.MARKET) and node.name:
        return f"{node.name} ({short(node.id)[:8]})" if node.name != node.id else node.id
    return node.name or short(node.id)


def _relation(found: Lineage, edge: Edge) -> str:
    up = found.direction.value == "up"
    words = (_SOURCE if up else _DERIVED).get(edge.relation, edge.relation.value)
    other = found.nodes[edge.derived if up else edge.source]
    if other.kind is not Kind.TRADE:
        words = words.replace(" it", f" {_KINDS[other.kind].lower()} {_name(other)}", 1)
    if (split := edge.facts.get("split")) is not None:
        words += f", in its part {split}: {_SPLITS.get(split, '')}"
    return words


def _facts(node: Node) -> str:
    facts = node.facts
    told = []
    if node.kind is Kind.TRADES and (parts := facts.get("by_split")):
        told.append(", ".join(f"{number(count)} {part}" for part, count in parts.items()))
    if node.kind is Kind.MODEL and "eligible" in facts:
        told.append("passed its gates" if facts["eligible"] else "has not passed its gates")
    if node.kind is Kind.MODEL and facts.get("registered") is False:
        written = node.id == HEURISTIC_VERSION
        told.append(
            "learned from nothing: its weights are written in the program" if written else
            "no registered model"
        )  # fmt: skip
    if node.kind is Kind.DEPLOYMENT:
        told.append(f"by {facts['deployed_by']}, {facts['market']}, {facts['account']}")
    if node.at is not None and node.kind in (Kind.DATASET, Kind.MODEL, Kind.DEPLOYMENT):
        told.append(moment(node.at))
    return f" ({'; '.join(told)})" if told else ""
