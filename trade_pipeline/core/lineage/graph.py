"""The graph of what was made from what: typed nodes, and edges from the derived to its source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    """What a node stands for.  ``TRADES`` is a set of trades, summarised."""

    SESSION = "session"
    MARKET = "market"
    PARAMS = "params"
    TRADE = "trade"
    TRADES = "trades"
    FEATURE_ROW = "feature_row"
    DATASET = "dataset"
    MODEL = "model"
    EVALUATION = "evaluation"
    CANARY_EVALUATION = "canary_evaluation"
    MONITORING_REPORT = "monitoring_report"
    DEPLOYMENT = "deployment"
    ARTIFACT = "artifact"


class Relation(StrEnum):
    """What a derived object has to do with its source, read from the derived to the source."""

    DECIDED_IN = "decided in"
    DECIDED_BY = "decided by"
    COMPARED_WITH = "compared with"
    SET_BY = "set by"
    TOLD_BY = "told by"
    READ = "read"
    FEATURES_OF = "features of"
    HOLDS = "holds"
    TRAINED_ON = "trained on"
    STORED_AS = "stored as"
    REPLACES = "replaces"
    JUDGES = "judges"
    EVIDENCE = "evidence"
    LOOKED_AT = "looked at"
    DEPLOYS = "deploys"
    RESTS_ON = "rests on"
    RESTORES = "restores"
    MADE_UNDER = "made under"


class Direction(StrEnum):
    """``UP``: to what an object was made from.  ``DOWN``: to what was made from it."""

    UP = "up"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class Node:
    """One stored object.

    Attributes:
        id: exactly as it is stored; of a set of trades, the key of what holds it.
        name: what people call it, where that is something else.
        at: when it happened or was made: decisions on the session's clock, the rest by the clock.
        facts: plain values by name, enough to know it by.
        members: UUIDs of a set of trades; None: not asked for.
    """

    kind: Kind
    id: str
    name: str | None = None
    at: datetime | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    members: Sequence[str] | None = None

    @property
    def key(self) -> str:
        """Names the node in its graph."""
        return f"{self.kind}:{self.id}"


@dataclass(frozen=True, slots=True)
class Edge:
    """``derived`` and ``source`` are keys of nodes.

    Attributes:
        facts: of the relation itself, such as the split in which a dataset holds a trade.
    """

    derived: str
    source: str
    relation: Relation
    facts: Mapping[str, Any] = field(default_factory=dict)


class Lineage:
    """What was made from what, around one object.

    Attributes:
        root: the key of the object.
        direction: of the walk from it.
        nodes: by key, in the order in which they were found.
        edges: each once, likewise.
    """

    def __init__(self, root: Node, direction: Direction) -> None:
        self.root = root.key
        self.direction = direction
        self.nodes: dict[str, Node] = {}
        self.edges: list[Edge] = []
        self._drawn: set[tuple[str, str, Relation]] = set()
        self.add(root)

    def add(self, node: Node) -> None:
        """Add a node, once."""
        self.nodes.setdefault(node.key, node)

    def link(self, derived: Node, source: Node, relation: Relation, **facts: Any) -> None:
        """Add an edge with both of its nodes, once."""
        key = (derived.key, source.key, relation)
        if key not in self._drawn:
            self._drawn.add(key)
            self.edges.append(Edge(*key, facts))
        self.add(derived)
        self.add(source)

    def of(self, kind: Kind) -> list[Node]:
        """Every node of a kind."""
        return [node for node in self.nodes.values() if node.kind is kind]

    def steps(self, key: str) -> Iterator[tuple[Edge, Node]]:
        """The edges that lead on from a node, away from the root, with the node behind each."""
        up = self.direction is Direction.UP
        for edge in self.edges:
            if (edge.derived if up else edge.source) == key:
                yield edge, self.nodes[edge.source if up else edge.derived]

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "root": self.root,
            "direction": self.direction.value,
            "nodes": [
                {
                    "key": node.key,
                    "kind": node.kind.value,
                    "id": node.id,
                    "name": node.name,
                    "at": node.at,
                    "facts": dict(node.facts),
                }
                | ({} if node.members is None else {"members": list(node.members)})
                for node in self.nodes.values()
            ],
            "edges": [
                {
                    "derived": edge.derived,
                    "source": edge.source,
                    "relation": edge.relation.value,
                    "facts": dict(edge.facts),
                }
                for edge in self.edges
            ],
        }
