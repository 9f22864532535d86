"""What a stored object was made from, and what was made from it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.tree import Tree

from trade_pipeline.cli.console import err, out, print_json, text_of
from trade_pipeline.cli.inputs import Json, read_settings
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    from trade_pipeline.core.lineage.graph import Edge, Lineage, Node

# Of nodes of one kind and relation, so many are shown; the rest is counted.
_SHOWN = 12
# Facts that a line of the tree tells, where the node has them.
_TOLD = (
    "split", "trades", "by_split", "by_session", "by_decision", "by_outcome", "first", "last",
    "decision", "reason", "market", "venue", "account", "deployed_by", "override", "eligible",
    "looked_at", "registered", "stored", "size_bytes",
)  # fmt: skip
_MOST = 6
# How a relation reads from the source to the derived.
_DOWN = {
    "decided in": "decided",
    "decided by": "decided",
    "features of": "has features",
    "holds": "held by",
    "trained on": "trained",
    "replaces": "replaced by",
    "judges": "judged by",
    "evidence": "evidence for",
    "looked at": "looked at by",
    "deploys": "deployed by",
    "rests on": "proof of",
    "restores": "restored by",
    "made under": "decided",
}
# Kinds whose names do not say which one it is.
_WITH_ID = ("trade", "session", "deployment", "market", "params", "artifact")


def lineage(
    kind: Annotated[str, typer.Argument(help="trade, dataset, model, deployment or session.")],
    name: Annotated[
        str,
        typer.Argument(help="UUID, number or id; of a dataset or model its version or short name."),
    ],
    up: Annotated[bool, typer.Option("--up", help="What it was made from.")] = False,
    down: Annotated[bool, typer.Option("--down", help="What was made from it.")] = False,
    members: Annotated[bool, typer.Option(help="List the UUIDs of sets of trades.")] = False,
    prov: Annotated[
        Path | None, typer.Option(help="W3C PROV document to write, PROV-JSON.")
    ] = None,
    openlineage: Annotated[
        Path | None, typer.Option(help="OpenLineage events to write, a JSON object a line.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Backwards and forwards from any stored object; unset, both ways.

    With OPENLINEAGE_URL in the environment the events are sent there, too.
    """
    from trade_pipeline.core.lineage.graph import Direction, Kind
    from trade_pipeline.core.lineage.walk import both_lineages
    from trade_pipeline.core.lineage.walk import lineage as one_way
    from trade_pipeline.core.store.store import Store

    try:
        chosen = Kind(kind)
    except ValueError:
        raise BadConfig(
            f"kind={kind!r}: expected trade, dataset, model, deployment or session"
        ) from None
    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        if up == down:
            found = both_lineages(connection, chosen, name, members=members)
        else:
            way = Direction.UP if up else Direction.DOWN
            found = [one_way(connection, chosen, name, way, members=members)]
    _export(found, prov, openlineage)
    if as_json:
        print_json({one.direction.value: one.to_dict() for one in found})
        return
    for one in found:
        out.print(_tree(one))


def _export(found: list[Lineage], prov: Path | None, openlineage: Path | None) -> None:
    # The libraries of each are loaded only where it is asked for.
    if prov is not None:
        from trade_pipeline.core.lineage.prov_document import prov_json

        prov.write_text(prov_json(found))
        err.print(f"wrote {prov}", markup=False)
    sends = bool(os.environ.get("OPENLINEAGE_URL"))
    if openlineage is None and not sends:
        return
    from trade_pipeline.core.lineage.openlineage_events import emit, events_of, write

    events = events_of(found)
    if openlineage is not None:
        write(events, openlineage)
        err.print(f"wrote {openlineage}: {len(events)} events", markup=False)
    if sends:
        emit(events)
        err.print(f"sent {len(events)} events", markup=False)


def _tree(found: Lineage) -> Tree:
    root = found.nodes[found.root]
    up = found.direction.value == "up"
    said = "is made from" if up else "led to"
    tree = Tree(f"{_line(root, {})}\n[bold]{said}[/]")
    _grow(found, tree, root, {root.key})
    return tree


def _grow(found: Lineage, tree: Tree, node: Node, shown: set[str]) -> None:
    groups: dict[tuple[str, str], list[tuple[Edge, Node]]] = {}
    for edge, other in found.steps(node.key):
        groups.setdefault((edge.relation.value, other.kind.value), []).append((edge, other))
    for (relation, kind), steps in groups.items():
        for edge, other in steps[:_SHOWN]:
            again = other.key in shown
            said = relation if found.direction.value == "up" else _DOWN[relation]
            branch = tree.add(
                f"[dim]{said}[/] "
                + (f"{_title(other)} [dim](above)[/]" if again else _line(other, edge.facts))
            )
            if again:
                continue
            shown.add(other.key)
            for uuid in other.members or ():
                branch.add(uuid)
            _grow(found, branch, other, shown)
        if len(steps) > _SHOWN:
            tree.add(f"[dim]{len(steps) - _SHOWN:,} more of kind {kind}: --json[/]")


def _title(node: Node) -> str:
    kind, name = node.kind.value, node.name or node.id
    if kind == "trades":
        # It is named by what holds it, which stands above; its number begins its facts.
        return "[bold cyan]trades[/]"
    title = f"[bold cyan]{kind.replace('_', ' ')}[/] {escape(name)}"
    if kind in _WITH_ID and node.id != name:
        title += f" [dim]{escape(node.id)}[/]"
    return title


def _line(node: Node, of_edge: Mapping[str, Any]) -> str:
    known = {**node.facts, **of_edge}
    facts = [f"{name.replace('_', ' ')} {_value(known[name])}" for name in _TOLD if name in known]
    at = "" if node.at is None or node.kind.value == "trades" else f" {node.at:%Y-%m-%d %H:%M}"
    return _title(node) + at + ("  " + escape("; ".join(facts)) if facts else "")


def _value(value: Any) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    if not isinstance(value, dict):
        return text_of(value)
    parts = [f"{name} {text_of(number)}" for name, number in list(value.items())[:_MOST]]
    more = len(value) - len(parts)
    return ", ".join(parts) + (f", {more} more" if more else "")
