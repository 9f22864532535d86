"""Databases of earlier schemas with rows in every table, written by SQL of that time."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.canonical import address_of, canonical_bytes, sha256
from trade_pipeline.core.ledger.chain import GENESIS, LEDGER_COLUMNS
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.records import Record
from trade_pipeline.core.store.address import as_role
from trade_pipeline.core.store.head_files import HeadFiles
from trade_pipeline.core.store.migrations import migrate, migrations_folder, read_migrations
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.ledger.every_kind import learning_records, session_records

SESSION = "s0"
SETTINGS = b"{}"
# Which schema's program was the first to write a table that an earlier schema had made.
FIRST_WRITTEN = {"models": 10, "deployments": 11, "canary_evaluations": 11, "market_series": 16}
# Not filled: what says of the rest which it is.
BOOKS = ("migrations", "ledger_columns", "chain_heads", "ledger_heads")
HEADS_SINCE = 23

_UUID = samples.candidate(0, SESSION).uuid
# What rows of different tables mean by one name, so that they refer to each other.
_NAMED: dict[tuple[str, str], Any] = {
    ("account", "text"): "paper",
    ("channel", "text"): "tests",
    ("session_id", "text"): SESSION,
    ("chain_id", "text"): SESSION,
    ("chain_seq", "int8"): 0,
    ("address", "text"): address_of(SETTINGS),
    ("content", "text"): SETTINGS.decode(),
    ("client_order_id", "text"): f"o-{SESSION}",
    ("names", "_text"): ["a"],
    ("told", "_float8"): [1.5],
}
_BY_TYPE: dict[str, Any] = {
    "text": "a", "int4": 1, "int8": 1, "float8": 1.5, "bool": True, "uuid": _UUID,
    "timestamptz": samples.START, "bytea": bytes(32), "_text": [], "_float8": [],
    "jsonb": "{}", "int8multirange": "{[1,2)}",
}  # fmt: skip

_COLUMNS = """
SELECT a.attname, t.typname, a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
WHERE a.attrelid = ('trade.' || quote_ident(%s))::regclass AND a.attnum > 0
  AND NOT a.attisdropped AND a.attgenerated = '' ORDER BY a.attnum
"""
_CHECKS = """
SELECT pg_get_constraintdef(oid) FROM pg_constraint
WHERE conrelid = ('trade.' || quote_ident(%s))::regclass AND contype = 'c'
"""


def folder_of(version: int, into: Path) -> Path:
    """A folder of migrations that ends with a version."""
    into.mkdir()
    for migration in read_migrations(migrations_folder())[:version]:
        (into / migration.name).write_text(migration.sql)
    return into


def fill(url: str, version: int) -> None:
    """Put rows into every table of a database of a version.

    Args:
        url: of the superuser.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        # What rows need of each other is there; the order in which they come is not asked for.
        connection.execute("SET session_replication_role = replica")
        month = samples.START + timedelta(days=1)
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (samples.START, month))
        current = {name: set(columns) for name, columns in _current().items()}
        links: dict[str, tuple[int, bytes]] = {}
        tables = {table for table in samples.count_rows(connection) if _is_filled(table, version)}
        for chain, record in _records():
            if record.TABLE in tables:
                columns = _columns(connection, record.TABLE)
                values = _row(record, columns, current[record.TABLE])
                seq, head = links.get(chain, (-1, GENESIS))
                content = values.pop("content")
                head = sha256(head + record.TABLE.encode() + sha256(content))
                links[chain] = (seq + 1, head)
                ledger = (chain, seq + 1, content.decode(), sha256(content), head)
                _insert(
                    connection,
                    record.TABLE,
                    dict(zip(LEDGER_COLUMNS, ledger, strict=True)) | values,
                )
        for chain, (seq, head) in links.items():
            connection.execute(
                "INSERT INTO trade.chain_heads (chain_id, chain_seq, chain_hash) "
                "VALUES (%s, %s, %s)",
                (chain, seq, head),
            )
        for table in sorted(tables):
            columns = _columns(connection, table)
            if "chain_hash" not in columns:
                _insert(connection, table, _generic(connection, table, columns))


def _is_filled(table: str, version: int) -> bool:
    return table not in BOOKS and version >= FIRST_WRITTEN.get(table, 0)


def _records() -> Iterator[tuple[str, Record]]:
    for record in session_records(SESSION, 0):
        yield SESSION, record
    for record in learning_records(SESSION):
        yield "learning", record


def _current() -> dict[str, tuple[str, ...]]:
    return {record.TABLE: record.COLUMNS for _, record in _records()}


def _columns(connection: psycopg.Connection, table: str) -> dict[str, tuple[str, bool]]:
    """Type of each column of a table, and whether it must be given."""
    rows = connection.execute(_COLUMNS, (table,)).fetchall()
    return {name: (kind, needed) for name, kind, needed in rows}


def _row(record: Record, columns: dict[str, tuple[str, bool]], current: set[str]) -> dict[str, Any]:
    """A record as it was written before some of its columns were."""
    given = dict(zip(record.COLUMNS, record.row(), strict=True))
    content = orjson.loads(canonical_bytes(record))
    for later in current - set(columns):
        content.pop(later, None)
    values = {name: value for name, value in given.items() if name in columns}
    for name, (kind, needed) in columns.items():
        if needed and name not in values and name not in LEDGER_COLUMNS:
            raise AssertionError(f"{record.TABLE}.{name} ({kind}) is no longer in the record")
    return values | {"content": canonical_bytes(content)}


def _generic(
    connection: psycopg.Connection, table: str, columns: dict[str, tuple[str, bool]]
) -> dict[str, Any]:
    """A row that the table's checks accept."""
    checks = " ".join(row[0] for row in connection.execute(_CHECKS, (table,)).fetchall())
    values = {}
    for name, (kind, needed) in columns.items():
        allowed = re.search(rf"\(+{name} = ANY \(+ARRAY\['(\w+)'", checks)
        if allowed is not None:
            values[name] = allowed[1]
        elif (name, kind) in _NAMED:
            values[name] = _NAMED[name, kind]
        elif needed:
            values[name] = _BY_TYPE[kind]
    return values


def _insert(connection: psycopg.Connection, table: str, values: dict[str, Any]) -> None:
    connection.execute(
        sql.SQL("INSERT INTO trade.{} ({}) VALUES ({})").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        ),
        list(values.values()),
    )


def rows_of(url: str) -> dict[str, list[dict[str, Any]]]:
    """Every row of every table, by the names of its columns."""
    with psycopg.connect(url) as connection:
        return {
            table: [
                orjson.loads(row)
                for (row,) in connection.execute(
                    f"SELECT to_jsonb(t)::text FROM trade.{table} t ORDER BY 1".encode()
                ).fetchall()
            ]
            for table in samples.count_rows(connection)
            if table not in ("migrations", "ledger_columns")
        }


def build(url: str, version: int, folder: Path, heads: HeadFiles) -> None:
    """Make a database as a program of an earlier version left it, and its heads."""
    migrate(url, folder_of(version, folder))
    fill(url, version)
    if version >= HEADS_SINCE:
        with psycopg.connect(as_role(url, "trade_writer"), autocommit=True) as connection:
            write_heads(connection, heads)
