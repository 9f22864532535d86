"""Appends records at once: one durable statement for everything that belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from trade_pipeline.core.ledger.chain import LEDGER_COLUMNS, Chain
from trade_pipeline.core.records import Record


def read_chain(connection: psycopg.Connection, chain_id: str) -> Chain:
    """A chain as it stands in the database."""
    row = connection.execute(
        "SELECT chain_seq, chain_hash FROM trade.chain_heads WHERE chain_id = %s", (chain_id,)
    ).fetchone()
    return Chain(chain_id) if row is None else Chain(chain_id, row[0] + 1, row[1])


def append_now(
    connection: psycopg.Connection,
    chain: Chain,
    *records: Record,
    also: tuple[LiteralString, Sequence[Any]] | None = None,
) -> None:
    """Append records and move the chain's head in one statement; ``chain`` moves when it is done.

    Args:
        also: a call of a function that belongs into the same statement, and its arguments.

    Raises:
        psycopg.errors.UniqueViolation: a record's key is stored already; nothing was written.
        psycopg.errors.SerializationFailure: the chain has moved on; nothing was written.
    """
    after = Chain(chain.chain_id, chain.seq, chain.head)
    parts: list[sql.Composable] = []
    values: list[Any] = []
    for number, record in enumerate(records):
        row = after.link(record)
        parts.append(
            sql.SQL("{} AS (INSERT INTO trade.{} ({}) VALUES ({}))").format(
                sql.Identifier(f"record_{number}"),
                sql.Identifier(record.TABLE),
                sql.SQL(", ").join(map(sql.Identifier, LEDGER_COLUMNS + record.COLUMNS)),
                sql.SQL(", ").join([sql.Placeholder()] * len(row)),
            )
        )
        values.extend(row)
    statement = sql.SQL(
        "WITH head AS ("
        "INSERT INTO trade.chain_heads AS h (chain_id, chain_seq, chain_hash) VALUES (%s, %s, %s) "
        "ON CONFLICT (chain_id) DO UPDATE SET chain_seq = EXCLUDED.chain_seq, "
        "chain_hash = EXCLUDED.chain_hash, updated_at = now() WHERE h.chain_seq = %s RETURNING 1"
        "), {} SELECT trade.require_moved_head(count(*)){} FROM head"
    ).format(sql.SQL(", ").join(parts), sql.SQL("" if also is None else f", {also[0]}"))
    head = (chain.chain_id, after.seq - 1, after.head, chain.seq - 1)
    connection.execute(statement, (*head, *values, *(() if also is None else also[1])))
    chain.seq, chain.head = after.seq, after.head
