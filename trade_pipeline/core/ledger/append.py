"""Appends records at once: one durable statement for everything that belongs together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
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
    values = [value for record in records for value in after.link(record)]
    function, arguments = also or ("", ())
    statement = _statement(tuple(map(type, records)), function)
    head = (chain.chain_id, after.seq - 1, after.head, chain.seq - 1)
    connection.execute(statement, (*head, *values, *arguments))
    chain.seq, chain.head = after.seq, after.head


@lru_cache(maxsize=256)
def _statement(kinds: tuple[type[Record], ...], function: LiteralString) -> sql.Composed:
    """The statement for records of some kinds: the same kinds have the same, and one plan."""
    parts = []
    for number, kind in enumerate(kinds):
        columns = LEDGER_COLUMNS + kind.COLUMNS
        parts.append(
            sql.SQL("{} AS (INSERT INTO trade.{} ({}) VALUES ({}))").format(
                sql.Identifier(f"record_{number}"),
                sql.Identifier(kind.TABLE),
                sql.SQL(", ").join(map(sql.Identifier, columns)),
                sql.SQL(", ").join([sql.Placeholder()] * len(columns)),
            )
        )
    return sql.SQL(
        "WITH head AS ("
        "INSERT INTO trade.chain_heads AS h (chain_id, chain_seq, chain_hash) VALUES (%s, %s, %s) "
        "ON CONFLICT (chain_id) DO UPDATE SET chain_seq = EXCLUDED.chain_seq, "
        "chain_hash = EXCLUDED.chain_hash, updated_at = now() WHERE h.chain_seq = %s RETURNING 1"
        "), {} SELECT trade.require_moved_head(count(*)){} FROM head"
    ).format(sql.SQL(", ").join(parts), sql.SQL(f", {function}" if function else ""))
