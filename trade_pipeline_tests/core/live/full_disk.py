"""A database that says its disk is full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg


@contextmanager
def full_disk(owner: psycopg.Connection, *tables: str) -> Iterator[None]:
    """Within the block no row of these tables (of schema ``trade``) finds room.

    Args:
        owner: a superuser's connection, in autocommit mode.
    """
    owner.execute(
        "CREATE OR REPLACE FUNCTION trade.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ "
        "BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' "
        "USING ERRCODE = 'disk_full'; END $$"
    )
    for table in tables:
        owner.execute(
            f"CREATE OR REPLACE TRIGGER no_room BEFORE INSERT ON trade.{table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION trade.no_room()".encode()
        )
    try:
        yield
    finally:
        owner.execute("DROP FUNCTION trade.no_room() CASCADE")
