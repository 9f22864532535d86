"""The barriers of sessions from before the database kept their settings."""

from __future__ import annotations

import psycopg

from trade_pipeline.core.store.artifacts import ArtifactStore, insert_settings


def keep_settings(connection: psycopg.Connection, artifacts: ArtifactStore) -> list[str]:
    """Give the database the settings of every stored session that it does not have.

    Args:
        connection: as ``trade_writer``.

    Returns:
        Addresses whose artifacts are gone: what rugs cost their trades is not explained.
    """
    gone = []
    for (address,) in connection.execute(
        "SELECT DISTINCT params_ptr FROM trade.sessions WHERE params_ptr IS NOT NULL "
        "AND NOT EXISTS (SELECT FROM trade.settings WHERE address = params_ptr) ORDER BY 1"
    ).fetchall():
        try:
            data = artifacts.get(address)
        except FileNotFoundError:
            gone.append(str(address))
        else:
            insert_settings(connection, address, data)
    return gone
