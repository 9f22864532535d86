"""One moment of the database: what a dump of it holds, and what that refers to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg
from psycopg import sql

from trade_pipeline.core.backup.endpoint import Endpoint, become_owner
from trade_pipeline.core.backup.errors import BadBackup
from trade_pipeline.core.canonical import is_address
from trade_pipeline.core.ledger.lock import take_lock
from trade_pipeline.core.retention.artifacts import removing_alone
from trade_pipeline.core.store.address import connect

# What may name artifacts, with the table that has to be there: an earlier schema lacks some.
_NAMED = (
    ("artifacts", "SELECT address, size_bytes FROM trade.artifacts"),
    ("models", "SELECT artifact, NULL FROM trade.models"),
    ("sessions", "SELECT params_ptr, NULL FROM trade.sessions WHERE params_ptr IS NOT NULL"),
)
_REMOVED = "SELECT address FROM trade.artifact_states WHERE removed_at IS NOT NULL"
_TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = 'trade'::regnamespace
AND relkind IN ('r', 'p') AND NOT relispartition
AND relname <> 'ledger_columns' ORDER BY relname
"""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A moment.

    Attributes:
        id: by which pg_dump sees the same one.
        schema: number of the newest migration.
        tables: rows by table; ``chains``: see `Manifest`.
        addresses: of the artifacts that must be there, with the size where the database knows it.
        heads: SHA-256 of the heads that the database remembers, by number.
        bytes: size of the tables with their indexes.
    """

    id: str
    taken_at: datetime
    server: str
    major: int
    schema: int
    tables: Mapping[str, int]
    chains: str
    addresses: Mapping[str, int | None]
    heads: Mapping[int, bytes]
    bytes: int


@contextmanager
def snapshot_of(endpoint: Endpoint) -> Iterator[Snapshot]:
    """One moment, which lasts as long as the block; meanwhile no artifact is removed.

    Raises:
        BadBackup: the database holds nothing of this program, or what no dump brings back.
        StoreUnavailable: it cannot be reached, or another backup of it is being made.
    """
    with endpoint.connect() as connection:
        become_owner(connection)
        take_lock(connection, "trade.backup", "another backup of this database is being made")
        with removing_alone(connection):
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.read_only = True
            with connection.transaction():
                yield _look(connection)


def _look(connection: psycopg.Connection) -> Snapshot:
    row = connection.execute(
        "SELECT pg_export_snapshot(), now(), current_setting('server_version'), "
        "current_setting('server_version_num')::int / 10000, "
        "(SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class "
        "WHERE relnamespace = 'trade'::regnamespace AND relkind = 'r'), "
        "(SELECT max(version) FROM trade.migrations), "
        "EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb')"
    ).fetchone()
    assert row is not None
    name, taken_at, server, major, size, schema, timescale = row
    if timescale:
        raise BadBackup(
            "the recorded market is a hypertable of TimescaleDB, which no dump of one schema "
            "brings back: use base backups, as docs/backup.md says"
        )
    tables = [table for (table,) in connection.execute(_TABLES).fetchall()]
    return Snapshot(
        id=name,
        taken_at=taken_at,
        server=server,
        major=major,
        schema=schema,
        tables=count_rows(connection, tables),
        chains=chains_of(connection),
        addresses=_addresses(connection, set(tables)),
        heads=_remembered(connection) if "ledger_heads" in tables else {},
        bytes=size,
    )


@dataclass(frozen=True, slots=True)
class DagsterSnapshot:
    """A moment of Dagster's storage.

    Attributes:
        id: by which pg_dump sees the same one.
        major: version of the server.
        tables: rows by table, of those that grow with every run.
    """

    id: str
    major: int
    tables: Mapping[str, int]


@contextmanager
def dagster_snapshot(endpoint: Endpoint) -> Iterator[DagsterSnapshot]:
    """One moment of Dagster's storage, which lasts as long as the block.

    Raises:
        StoreUnavailable: it cannot be reached.
    """
    with connect(endpoint.dagster, "cannot reach Dagster's storage") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        assert row is not None
        major = connection.info.server_version // 10_000
        yield DagsterSnapshot(row[0], major, count_dagster(connection))


def count_dagster(connection: psycopg.Connection) -> dict[str, int]:
    """Rows of Dagster's tables that grow with every run; 0 where there is no such table."""
    counts = {}
    for table in ("runs", "event_logs"):
        counts[table] = 0
        if connection.execute("SELECT to_regclass(%s)", (table,)).fetchone() != (None,):
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
            counts[table] = (connection.execute(query).fetchone() or (0,))[0]
    return counts


def count_rows(connection: psycopg.Connection, tables: Sequence[str]) -> dict[str, int]:
    """Rows by table."""
    counts = {}
    for table in tables:
        query = sql.SQL("SELECT count(*) FROM trade.{}").format(sql.Identifier(table))
        row = connection.execute(query).fetchone()
        assert row is not None
        counts[table] = int(row[0])
    return counts


def chains_of(connection: psycopg.Connection) -> str:
    """SHA-256 over the ends of all chains, as hex digits."""
    digest = hashlib.sha256()
    with connection.cursor() as cursor:
        if cursor.execute("SELECT to_regclass('trade.chain_heads')").fetchone() != (None,):
            cursor.execute("SELECT chain_id, chain_seq, chain_hash FROM trade.chain_heads")
            for chain, seq, head in sorted(cursor.fetchall()):
                digest.update(f"{chain}\0{seq}\0{head.hex()}\n".encode())
    return digest.hexdigest()


def _addresses(connection: psycopg.Connection, tables: set[str]) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for table, query in _NAMED:
        if table in tables:
            for address, size in connection.execute(query.encode()).fetchall():
                # A manual session's may be kept elsewhere, under another kind of name.
                if is_address(address) and found.get(address) is None:
                    found[address] = size
    if "artifact_tombstones" in tables:
        for (address,) in connection.execute(_REMOVED).fetchall():
            found.pop(address, None)
    return dict(sorted(found.items()))


def _remembered(connection: psycopg.Connection) -> dict[int, bytes]:
    rows = connection.execute("SELECT number, head_hash FROM trade.ledger_heads").fetchall()
    return dict(rows)
