"""What was done in a lineage: every derived object was made by one activity, by somebody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from trade_pipeline.core.lineage.graph import Direction, Edge, Kind, Lineage, Node, Relation

# What makes an object of a kind; those that are not named were there before.
_MADE_BY: dict[Kind, str] = {
    Kind.SESSION: "session",
    Kind.TRADE: "decision",
    Kind.FEATURE_ROW: "decision",
    Kind.DATASET: "dataset_build",
    Kind.MODEL: "training",
    Kind.EVALUATION: "evaluation",
    Kind.CANARY_EVALUATION: "canary_evaluation",
    Kind.MONITORING_REPORT: "monitoring",
    Kind.DEPLOYMENT: "deployment",
}


@dataclass(frozen=True, slots=True)
class Agent:
    """Who or what did something.

    Attributes:
        kind: ``software`` (the program, or a model that decided), ``automation`` (a Dagster run
            that deployed) or ``operator``: who else deployed, as it named itself.
    """

    kind: str
    name: str


@dataclass(slots=True)
class Activity:
    """Something that was done once.

    Attributes:
        kind: session, decision, dataset_build, training, evaluation, canary_evaluation, monitoring
            or deployment.
        id: of what it made; kind and id together name it.
        within: the session that it was a part of.
        used: what it read, with the edge that says so.
    """

    kind: str
    id: str
    name: str
    at: datetime
    made: dict[str, Node] = field(default_factory=dict)
    used: dict[str, tuple[Node, Edge]] = field(default_factory=dict)
    agents: list[Agent] = field(default_factory=list)
    within: Node | None = None
    facts: dict[str, Any] = field(default_factory=dict)


def merged(found: Iterable[Lineage]) -> tuple[dict[str, Node], list[Edge]]:
    """The nodes and edges of several lineages together, each once."""
    nodes: dict[str, Node] = {}
    edges: dict[tuple[str, str, Relation], Edge] = {}
    # Upwards a dataset's trades are what it holds: told first, where both ways tell of them.
    for one in sorted(found, key=lambda one: one.direction is not Direction.UP):
        for node in one.nodes.values():
            nodes.setdefault(node.key, node)
        for edge in one.edges:
            edges.setdefault((edge.derived, edge.source, edge.relation), edge)
    return nodes, list(edges.values())


def activities(nodes: dict[str, Node], edges: Iterable[Edge]) -> list[Activity]:
    """What was done to make the nodes, in the order of its times.

    But for sessions, an object whose sources are not in the lineage has no activity: nothing is
    known there of how it was made.
    """
    found: dict[str, Activity] = {}
    for node in nodes.values():
        if node.kind is Kind.SESSION:
            _activity(found, node)
    for edge in edges:
        derived, source = nodes[edge.derived], nodes[edge.source]
        if derived.kind is Kind.FEATURE_ROW:
            # The vector was made in the decision, and belongs to it.
            _activity(found, source).made[derived.key] = derived
            continue
        if derived.kind not in _MADE_BY:
            continue
        made = _activity(found, derived)
        if edge.relation is Relation.STORED_AS:
            made.made[source.key] = source
        elif source.kind is Kind.SESSION:
            made.within = source
        else:
            made.used[source.key] = (source, edge)
        if edge.relation is Relation.DECIDED_BY and derived.kind is Kind.TRADE:
            made.agents.append(Agent("software", source.name or source.id))
    return sorted(found.values(), key=lambda one: one.at)


def _activity(found: dict[str, Activity], node: Node) -> Activity:
    kind = _MADE_BY[node.kind]
    key = f"{kind}:{node.id}"
    if key not in found:
        assert node.at is not None  # everything of these kinds has a time
        name = node.name or node.id
        made = found[key] = Activity(kind, node.id, f"{kind} of {name}", node.at)
        if node.kind is not Kind.SESSION:
            # A session is what was done, and no thing.
            made.made[node.key] = node
        if (version := node.facts.get("code_version")) is not None:
            made.agents.append(Agent("software", f"trade_pipeline {version}"))
        if (operator := node.facts.get("deployed_by")) is not None:
            kind_of = "automation" if str(operator).startswith("dagster") else "operator"
            made.agents.append(Agent(kind_of, str(operator)))
        made.facts = dict(node.facts)
    return found[key]
