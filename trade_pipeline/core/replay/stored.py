"""The stored records of a session, in the order of its chain."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, timedelta
from operator import attrgetter
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.ids import uuid7_floor
from trade_pipeline.core.ledger.journal import TABLES
from trade_pipeline.core.records import Record, Session

# Rows of a table that are fetched at once.
_FETCHED = 2_000


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as its row holds it.

    Attributes:
        columns: the values of ``kind.COLUMNS``.
    """

    kind: type[Record]
    seq: int
    content: str
    content_hash: bytes
    columns: tuple[Any, ...]

    @property
    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = orjson.loads(self.content)
        return document

    def column(self, name: str) -> Any:
        """The value of a column; None where the table has no such."""
        names = self.kind.COLUMNS
        return self.columns[names.index(name)] if name in names else None

    @property
    def hash_holds(self) -> bool:
        return sha256(self.content.encode()) == self.content_hash


def session_records(
    connection: psycopg.Connection, session: Session, until: int | None = None
) -> Iterator[StoredRecord]:
    """Every record of a session's chain in its order, in one pass and in bounded memory.

    Args:
        connection: in a transaction, which stays open meanwhile.
        until: the last place in the chain to read; None: all.
    """
    tables = (_rows(connection, kind, session, until) for kind in TABLES)
    return heapq.merge(*tables, key=attrgetter("seq"))


def _rows(
    connection: psycopg.Connection, kind: type[Record], session: Session, until: int | None
) -> Iterator[StoredRecord]:
    where, values = "chain_id = %s", [session.session_id]
    named: list[Any] = values
    if until is not None:
        where += " AND chain_seq <= %s"
        named.append(until)
    if "uuid" in kind.COLUMNS and session.range_start and session.range_end:
        # Of the partitions only those of the session's time.
        where += " AND uuid >= %s AND uuid < %s"
        last = session.range_end + timedelta(days=1)
        named += [uuid7_floor(session.range_start), uuid7_floor(last)]
    query = sql.SQL(
        "SELECT chain_seq, content, content_hash, {} FROM trade.{} WHERE {} ORDER BY chain_seq"
    ).format(
        sql.SQL(", ").join(map(sql.Identifier, kind.COLUMNS)),
        sql.Identifier(kind.TABLE),
        sql.SQL(where),
    )
    with connection.cursor(f"replay_{kind.TABLE}", binary=True) as cursor:
        cursor.itersize = _FETCHED
        cursor.execute(query, named)
        for seq, content, content_hash, *columns in cursor:
            yield StoredRecord(kind, seq, content, content_hash, tuple(columns))


def trade_records(connection: psycopg.Connection, uuid: UUID) -> list[StoredRecord]:
    """Everything that sessions stored under a trade's UUID, in the order of the trade."""
    found = []
    for kind in TABLES:
        if "uuid" not in kind.COLUMNS:
            continue
        query = sql.SQL(
            "SELECT chain_seq, content, content_hash, {} FROM trade.{} WHERE uuid = %s{} "
            "ORDER BY recorded_at, chain_seq"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, kind.COLUMNS)),
            sql.Identifier(kind.TABLE),
            # Shadows are the labeller's, from other inputs.
            sql.SQL(" AND kind = 'realised'" if kind.TABLE == "outcomes" else ""),
        )
        with connection.cursor(binary=True) as cursor:
            for seq, content, content_hash, *columns in cursor.execute(query, (uuid,)):
                found.append(StoredRecord(kind, seq, content, content_hash, tuple(columns)))
    return found


def in_utc(session: Session) -> Session:
    """A session's record as it was written, whatever the connection's time zone is."""
    first, last = session.range_start, session.range_end
    return replace(
        session,
        range_start=None if first is None else first.astimezone(UTC),
        range_end=None if last is None else last.astimezone(UTC),
    )
