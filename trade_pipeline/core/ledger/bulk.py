"""Many records of a chain in one transaction: a COPY for each table and one move of the head."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import psycopg
from psycopg import sql

from trade_pipeline.core.errors import ReplayMismatch
from trade_pipeline.core.ids import moment_of, uuid7_micros
from trade_pipeline.core.ledger.append import read_chain
from trade_pipeline.core.ledger.chain import LEDGER_COLUMNS
from trade_pipeline.core.records import Record


def append_bulk(connection: psycopg.Connection, chain_id: str, records: Sequence[Record]) -> int:
    """Append records of any kinds in their order; returns how many.

    Tables are written in the order in which their first record appears, so records that others
    reference must appear before them.  Months that have no partition yet get one.

    Raises:
        psycopg.errors.UniqueViolation: a record's key is stored already; nothing was written.
        ReplayMismatch: a writer that takes no lock moved the chain meanwhile; likewise.
    """
    if not records:
        return 0
    times = [uuid7_micros(uuid) for r in records if (uuid := getattr(r, "uuid", None)) is not None]
    if times:
        with connection.transaction():
            connection.execute(
                "SELECT trade.ensure_partitions(%s, %s)",
                (moment_of(min(times)), moment_of(max(times))),
            )
    with connection.transaction(), connection.cursor() as cursor:
        lock_chain(connection, chain_id)
        chain = read_chain(connection, chain_id)
        stored_seq = chain.seq - 1
        rows: dict[type[Record], list[tuple[Any, ...]]] = {}
        for record in records:
            rows.setdefault(type(record), []).append(chain.link(record))
        for kind, values in rows.items():
            copy_rows(cursor, kind, values)
        move_head(cursor, stored_seq, chain_id, chain.seq - 1, chain.head)
    return len(records)


def lock_chain(connection: psycopg.Connection, chain_id: str) -> None:
    """Be the only writer of a chain until the transaction ends."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (chain_id,))


def copy_rows(cursor: psycopg.Cursor, kind: type[Record], rows: Iterable[tuple[Any, ...]]) -> None:
    """COPY linked records of one kind into their table."""
    statement = sql.SQL("COPY trade.{} ({}) FROM STDIN").format(
        sql.Identifier(kind.TABLE),
        sql.SQL(", ").join(map(sql.Identifier, LEDGER_COLUMNS + kind.COLUMNS)),
    )
    with cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)


def move_head(
    cursor: psycopg.Cursor, stored_seq: int, chain_id: str, seq: int, chain_hash: bytes
) -> None:
    """Move a chain's head from ``stored_seq`` (-1: there is none) to a new newest record.

    Raises:
        ReplayMismatch: the head is not where it was.
    """
    if stored_seq < 0:
        cursor.execute(
            "INSERT INTO trade.chain_heads (chain_id, chain_seq, chain_hash) "
            "VALUES (%s, %s, %s) ON CONFLICT (chain_id) DO NOTHING",
            (chain_id, seq, chain_hash),
        )
    else:
        cursor.execute(
            "UPDATE trade.chain_heads SET chain_seq = %s, chain_hash = %s, updated_at = now() "
            "WHERE chain_id = %s AND chain_seq = %s",
            (seq, chain_hash, chain_id, stored_seq),
        )
    if cursor.rowcount != 1:
        raise ReplayMismatch(f"chain {chain_id} was written by somebody else meanwhile")
