"""What the database holds about one trade, in a few indexed queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
import psycopg

from trade_pipeline.core.dossier.facts import Content, LedgerEntry, Source
from trade_pipeline.core.errors import UnknownTrade
from trade_pipeline.core.store.artifacts import ArtifactStore

# Every table with records under a trade's UUID, and what tells its rows apart.
_TABLES = {
    "candidates": "''",
    "research_docs": "''",
    "feature_rows": "feature_set",
    "executions": "order_id || '/' || event || '/' || sequence",
    "outcomes": "kind || '/' || revision",
    "live_decisions": "account",
    "order_intents": "client_order_id",
}
_RECORDS = " UNION ALL ".join(
    f"SELECT '{table}' AS source, {key} AS key, content, chain_id, chain_seq, content_hash, "
    f"chain_hash, recorded_at FROM trade.{table} WHERE uuid = %(uuid)s"
    for table, key in _TABLES.items()
)
_RUN = """
    SELECT s.content, s.recorded_at,
        (SELECT content FROM trade.session_ends e WHERE e.session_id = s.session_id),
        ARRAY(SELECT experiment FROM trade.experiment_sessions x
              WHERE x.session_id = s.session_id ORDER BY experiment),
        ARRAY(SELECT dagster_run_id FROM trade.session_runs r
              WHERE r.session_id = s.session_id ORDER BY recorded_at)
    FROM trade.sessions s WHERE s.session_id = %s
"""
# A reconciliation names an order or, of a balance, the instrument.
_RECONCILIATIONS = """
    SELECT content, chain_id, chain_seq, content_hash, chain_hash, recorded_at, epoch, number
    FROM trade.reconciliations
    WHERE account = %(account)s AND epoch >= %(epoch)s
      AND (client_order_id = ANY(%(orders)s)
           OR (client_order_id IS NULL AND instrument = %(instrument)s
               AND recorded_at BETWEEN %(first)s AND %(last)s))
    ORDER BY epoch, number
"""


@dataclass(frozen=True, slots=True)
class StoredRecords:
    """The contents of a trade's records by table, and where each stands in the ledger."""

    contents: Mapping[str, Sequence[Content]]
    ledger: Sequence[LedgerEntry]


def read_records(connection: psycopg.Connection, uuid: UUID) -> StoredRecords:
    """Every record under a trade's UUID, and the reconciliations of its orders.

    Raises:
        UnknownTrade: no candidate has this UUID.
    """
    rows = connection.execute(_RECORDS.encode(), {"uuid": uuid}).fetchall()
    contents: dict[str, list[Content]] = {table: [] for table in (*_TABLES, "reconciliations")}
    ledger: list[LedgerEntry] = []
    places = list(_TABLES)
    rows.sort(key=lambda row: (places.index(row[0]), row[3], row[4]))
    for table, key, content, *place in rows:
        contents[table].append(orjson.loads(content))
        ledger.append(_entry(table, key, *place))
    if not contents["candidates"]:
        raise UnknownTrade(uuid)
    if contents["live_decisions"]:
        for content, *place, epoch, number in _reconciliations(connection, contents, ledger):
            contents["reconciliations"].append(orjson.loads(content))
            ledger.append(_entry("reconciliations", f"{epoch}/{number}", *place))
    return StoredRecords(contents, ledger)


def read_run(connection: psycopg.Connection, session_id: str) -> dict[str, Any]:
    """A session's record, how it ended, its experiments and its Dagster runs."""
    row = connection.execute(_RUN, (session_id,)).fetchone()
    assert row is not None  # a candidate cannot be stored without its session
    content, recorded_at, end, experiments, runs = row
    facts: dict[str, Any] = orjson.loads(content)
    return facts | {
        "recorded_at": recorded_at,
        "ended": None if end is None else orjson.loads(end),
        "experiments": experiments,
        "dagster_runs": runs,
    }


def read_sources(
    connection: psycopg.Connection, artifacts: ArtifactStore, roles: Mapping[str, str]
) -> list[Source]:
    """Artifacts by address (with their roles), and whether their bytes are there."""
    rows = connection.execute(
        "SELECT address, created_at, expires_at, media_type, size_bytes, removed_at IS NOT NULL "
        "FROM trade.artifact_states WHERE address = ANY(%s)",
        (list(roles),),
    ).fetchall()
    recorded = {row[0]: row[1:] for row in rows}
    found = []
    for address, role in roles.items():
        if address not in recorded:
            found.append(Source(role, address, "unrecorded"))
            continue
        *facts, removed = recorded[address]
        there = not removed and artifacts.exists(address)
        state = "stored" if there else "removed" if removed else "missing"
        found.append(Source(role, address, state, *facts))
    return found


def _reconciliations(
    connection: psycopg.Connection,
    contents: Mapping[str, Sequence[Content]],
    ledger: Sequence[LedgerEntry],
) -> list[tuple[Any, ...]]:
    decision = contents["live_decisions"][0]
    orders = {one["client_order_id"] for one in contents["order_intents"]}
    orders |= {one["order_id"] for one in contents["executions"]}
    mine = [entry.recorded_at for entry in ledger]
    return connection.execute(
        _RECONCILIATIONS,
        {
            "account": decision["account"], "epoch": decision["epoch"], "orders": list(orders),
            "instrument": decision["instrument"], "first": min(mine), "last": max(mine),
        },
    ).fetchall()  # fmt: skip


def _entry(
    table: str, key: str, chain_id: str, seq: int, content: bytes, chain: bytes, at: Any
) -> LedgerEntry:
    return LedgerEntry(table, key, chain_id, seq, content.hex(), chain.hex(), at)
