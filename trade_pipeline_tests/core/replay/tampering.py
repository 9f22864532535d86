"""What a superuser can do to stored records, with the hashes of what he changed made right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store


def superuser(server: EmbeddedPostgres, store: Store) -> psycopg.Connection:
    """A superuser's connection with every trigger switched off."""
    with store.database.connect("trade_reader") as connection:
        name = connection.info.dbname
    opened = psycopg.connect(server.url("postgres", name), autocommit=True)
    opened.execute("SET session_replication_role = replica")
    return opened


def forge(
    server: EmbeddedPostgres,
    store: Store,
    table: str,
    seq: int,
    change: Callable[[dict[str, Any]], None] | None = None,
    *,
    chain: str | None = None,
    **columns: Any,
) -> None:
    """Change the content and columns of the record at a place of a chain (None: the only one)."""
    with superuser(server, store) as connection:
        which = sql.SQL("chain_seq = {} AND chain_id = coalesce({}, chain_id)").format(
            seq, sql.Literal(chain)
        )
        if change is not None:
            row = connection.execute(
                sql.SQL("SELECT content FROM trade.{} WHERE {}").format(
                    sql.Identifier(table), which
                )
            ).fetchone()
            assert row is not None
            content = orjson.loads(row[0])
            change(content)
            forged = canonical_bytes(content)
            columns |= {"content": forged.decode(), "content_hash": sha256(forged)}
        sets = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(name), sql.Literal(value))
            for name, value in columns.items()
        )
        connection.execute(
            sql.SQL("UPDATE trade.{} SET {} WHERE {}").format(sql.Identifier(table), sets, which)
        )


def remove(server: EmbeddedPostgres, store: Store, table: str, seq: int) -> None:
    """Take the record at a place of its chain away."""
    with superuser(server, store) as connection:
        connection.execute(
            sql.SQL("DELETE FROM trade.{} WHERE chain_seq = {}").format(sql.Identifier(table), seq)
        )
