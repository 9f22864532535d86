"""A lineage as a W3C PROV document."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from urllib.parse import quote

import orjson
from prov.identifier import Namespace
from prov.model import PROV, ProvDocument

from trade_pipeline.core.lineage.activities import Activity, Agent, activities, merged
from trade_pipeline.core.lineage.graph import Edge, Kind, Lineage, Node, Relation

NAMESPACE = "urn:trade-pipeline:"
_TP = Namespace("tp", NAMESPACE)


def prov_document(found: Iterable[Lineage]) -> ProvDocument:
    """Entities, activities and agents of lineages, as one document.

    Objects are entities; a session is an activity, within which its decisions were made.  Sets of
    trades are collections, with their members where these were asked for.
    """
    nodes, edges = merged(found)
    document = ProvDocument()
    document.add_namespace(_TP)
    entities = {
        key: document.entity(_entity(node), _attributes(node))
        for key, node in nodes.items()
        if node.kind is not Kind.SESSION
    }
    for node in nodes.values():
        for uuid in node.members or ():
            member = Node(Kind.TRADE, uuid)
            if member.key not in entities:
                entities[member.key] = document.entity(_entity(member), _attributes(member))
            document.hadMember(_entity(node), _entity(member))
    done = activities(nodes, edges)
    for one in done:
        _add_activity(document, one)
    agents = {agent for one in done for agent in one.agents}
    for agent in sorted(agents, key=lambda agent: (agent.kind, agent.name)):
        kind = _TP["operator"] if agent.kind == "operator" else PROV["SoftwareAgent"]
        document.agent(_agent(agent), {"prov:type": kind, "prov:label": agent.name})
    for one in done:
        _relate(document, one)
    for edge in edges:
        _derive(document, nodes, edge)
    return document


def prov_json(found: Iterable[Lineage]) -> str:
    """The same as PROV-JSON."""
    return str(prov_document(found).serialize(format="json", indent=2))


def _add_activity(document: ProvDocument, one: Activity) -> None:
    start, end = one.facts.get("range_start"), one.facts.get("range_end")
    # A session's range is market time, and no time at which it ran.
    told: dict[str, Any] = {"prov:type": _TP[one.kind], "prov:label": one.name}
    for name, value in (("tp:range_start", start), ("tp:range_end", end)):
        if value is not None:
            told[name] = value.isoformat()
    document.activity(_name(one.kind, one.id), None, one.at, told)


def _relate(document: ProvDocument, one: Activity) -> None:
    activity = _name(one.kind, one.id)
    for node in one.made.values():
        document.wasGeneratedBy(_entity(node), activity, one.at)
    for node, edge in one.used.values():
        role = {"prov:role": edge.relation.value}
        document.used(activity, _entity(node), None, None, role)
    for agent in dict.fromkeys(one.agents):
        document.wasAssociatedWith(activity, _agent(agent))
    if one.within is not None:
        document.wasInformedBy(activity, _name("session", one.within.id))


def _derive(document: ProvDocument, nodes: dict[str, Node], edge: Edge) -> None:
    derived, source = nodes[edge.derived], nodes[edge.source]
    if derived.kind is Kind.TRADES and source.kind is Kind.SESSION:
        document.wasInfluencedBy(_entity(derived), _name("session", source.id), None, _told(edge))
    # A model that replaces another is not made from it.
    if Kind.SESSION in (derived.kind, source.kind) or edge.relation is Relation.REPLACES:
        return
    if derived.kind is Kind.DATASET and source.kind is Kind.TRADE:
        document.hadMember(_entity(derived), _entity(source))
    if edge.relation is Relation.STORED_AS:
        # The file and the model are the same thing, told of in two ways.
        document.alternateOf(_entity(derived), _entity(source))
        return
    document.wasDerivedFrom(_entity(derived), _entity(source), None, None, None, None, _told(edge))


def _told(edge: Edge) -> dict[str, Any]:
    facts = {f"tp:{name}": _plain(value) for name, value in edge.facts.items()}
    return {"prov:label": edge.relation.value} | facts


def _attributes(node: Node) -> dict[str, Any]:
    kind: Any = PROV["Collection"] if node.kind is Kind.TRADES else _TP[node.kind.value]
    told: dict[str, Any] = {"prov:type": kind, "tp:id": node.id}
    if node.name is not None:
        told["prov:label"] = node.name
    if node.at is not None:
        told["tp:at"] = node.at.isoformat()
    return told | {f"tp:{name}": _plain(value) for name, value in node.facts.items()}


def _plain(value: Any) -> Any:
    """A value as PROV knows them: what is nested as JSON, a time as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, (dict, list)):
        options = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS
        return orjson.dumps(value, option=options).decode()
    return value


def _entity(node: Node) -> str:
    return _name(node.kind.value, node.id)


def _agent(agent: Agent) -> str:
    return _name(agent.kind, agent.name)


def _name(kind: str, key: str) -> str:
    # What is no letter or digit would have to be escaped in PROV-N.
    return f"tp:{kind}/{quote(key, safe='')}"
