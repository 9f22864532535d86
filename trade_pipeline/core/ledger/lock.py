"""Locks by name that a connection holds until it lets go of them, or ends."""

from __future__ import annotations

import psycopg
from psycopg import sql

from trade_pipeline.core.errors import StoreUnavailable

# A successor waits this long for the backend of a killed holder to leave.
TIMEOUT = "30s"


def take_lock(connection: psycopg.Connection, name: str, busy: str) -> None:
    """Be the only holder of a name.

    Raises:
        StoreUnavailable: somebody else goes on holding it, in the words of ``busy``.
    """
    try:
        with connection.transaction():
            connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(sql.Literal(TIMEOUT)))
            connection.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (name,))
    except psycopg.errors.LockNotAvailable:
        raise StoreUnavailable(busy) from None


def release_lock(connection: psycopg.Connection, name: str) -> None:
    """Let go of a name."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", (name,))
