"""Walks from a stored object up to its sources, or down to what came of it."""

from __future__ import annotations

import psycopg

from trade_pipeline.core.lineage.down import Downward
from trade_pipeline.core.lineage.graph import Direction, Kind, Lineage, Node
from trade_pipeline.core.lineage.stored import root_node
from trade_pipeline.core.lineage.up import Upward


def lineage(
    connection: psycopg.Connection,
    kind: Kind,
    name: str,
    direction: Direction,
    *,
    members: bool = False,
) -> Lineage:
    """What an object was made from, or what was made from it.

    Args:
        connection: as ``trade_reader``.
        kind, name: see `stored.root_node`.
        members: whether sets of trades list their UUIDs.

    Raises:
        BadConfig, InvalidRecord, UnknownTrade: see `stored.root_node`.
    """
    return _walked(connection, root_node(connection, kind, name), direction, members)


def both_lineages(
    connection: psycopg.Connection, kind: Kind, name: str, *, members: bool = False
) -> list[Lineage]:
    """What an object was made from, and what was made from it; see `lineage`."""
    root = root_node(connection, kind, name)
    return [_walked(connection, root, direction, members) for direction in Direction]


def _walked(
    connection: psycopg.Connection, root: Node, direction: Direction, members: bool
) -> Lineage:
    found = Lineage(root, direction)
    step = Upward if direction is Direction.UP else Downward
    step(connection, found, members=members).walk(root)
    return found
