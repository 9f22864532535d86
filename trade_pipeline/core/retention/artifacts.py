"""Raw artifacts go when their time is over.

The bytes go; the address stays, and a `Tombstone` in the ledger says since when and why.  It is
written before the bytes are removed: who is killed in between leaves the trail, and the next run
removes what the newest tombstones name.  What anything lasting refers to stays, whatever date it
was given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

from trade_pipeline.core.canonical import is_address
from trade_pipeline.core.clock import Clock, now
from trade_pipeline.core.errors import BadConfig, InvalidRecord
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.retention.records import Tombstone
from trade_pipeline.core.store.artifacts import ArtifactStore, removal_lock
from trade_pipeline.core.store.database import Database

CHAIN = "retention"
# Artifacts whose tombstones are one transaction; their bytes are gone before the next is written.
BATCH = 500

Progress = Callable[[int, int], None]

# Everything that lasts and names artifacts: settings and what they name (such as a rug model),
# experiments, datasets, models and what was said of them, and all that has a name of its own.
_NEEDED = """
SELECT params_ptr AS address FROM trade.sessions
UNION SELECT params_ptr FROM trade.candidates
      WHERE session_id IN (SELECT session_id FROM trade.sessions WHERE params_ptr IS NULL)
UNION SELECT market_address FROM trade.sessions
UNION SELECT artifact FROM trade.models
UNION SELECT address FROM trade.artifact_aliases
UNION SELECT named[1] FROM (
    SELECT content FROM trade.settings UNION ALL SELECT content FROM trade.experiments
    UNION ALL SELECT content FROM trade.datasets UNION ALL SELECT content FROM trade.models
    UNION ALL SELECT content FROM trade.model_evaluations
    UNION ALL SELECT content FROM trade.canary_evaluations
    UNION ALL SELECT content FROM trade.deployments
    UNION ALL SELECT content FROM trade.monitoring_reports
) lasting, regexp_matches(content, 'sha256:[0-9a-f]{64}', 'g') AS named
"""


@dataclass(frozen=True, slots=True)
class Removal:
    """What a run removed, or would have.

    Attributes:
        expired: artifacts whose time was over; ``bytes`` of them together.
        needed: addresses whose time was over and that something lasting refers to: they stay.
        finished: removals of a run before, which had been stopped on its way.
    """

    expired: int
    bytes: int
    needed: Sequence[str]
    finished: int
    dry_run: bool


def remove_expired(
    database: Database,
    artifacts: ArtifactStore,
    clock: Clock,
    *,
    by: str,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Removal:
    """Remove the bytes of every artifact whose time is over.

    Args:
        by: who runs it; it is stored.
        dry_run: change nothing, only tell what would go.
        progress: called with (artifacts so far, all).

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    at = now(clock)
    with database.connect(autocommit=True) as connection, removing_alone(connection):
        finished = 0 if dry_run else _finish(connection, artifacts)
        due, needed = _due(connection, at)
        total = sum(size for _, size in due)
        if not dry_run:
            for first in range(0, len(due), BATCH):
                batch = [address for address, _ in due[first : first + BATCH]]
                _remove(connection, artifacts, batch, at, by)
                if progress is not None:
                    progress(first + len(batch), len(due))
    return Removal(len(due), total, needed, finished, dry_run)


def erase(
    database: Database,
    artifacts: ArtifactStore,
    clock: Clock,
    address: str,
    *,
    reason: str,
    by: str,
) -> Tombstone:
    """Remove one artifact before its time, such as an answer that holds what it should not.

    Raises:
        InvalidRecord: that is no address, or the reason is empty.
        BadConfig: no such artifact is stored, it is gone already, or something lasting needs it.
        StoreUnavailable: the database cannot be reached.
    """
    if not is_address(address):
        raise InvalidRecord("address", address, "sha256: and 64 hex digits")
    with database.connect(autocommit=True) as connection, removing_alone(connection):
        _finish(connection, artifacts)
        row = connection.execute(
            "SELECT size_bytes, removals, removed_at, expires_at IS NULL "
            "FROM trade.artifact_states WHERE address = %s",
            (address,),
        ).fetchone()
        if row is None:
            raise BadConfig(f"address={address!r}: no such artifact is stored")
        size, removals, removed_at, lasts = row
        if removed_at is not None:
            raise BadConfig(f"address={address!r}: was removed at {removed_at.isoformat()} already")
        if (
            lasts
            or connection.execute(
                f"SELECT 1 FROM ({_NEEDED}) needed WHERE address = %s".encode(), (address,)
            ).fetchone()
        ):
            raise BadConfig(
                f"address={address!r}: it is kept for ever, or settings, a model, a dataset or a "
                "name refers to it; only raw answers can be erased"
            )
        stone = Tombstone(address, removals, now(clock), size, "erased", reason, by)
        with removal_lock(connection, [address]):
            append_bulk(connection, CHAIN, [stone])
            artifacts.remove(address)
    return stone


def _due(connection: psycopg.Connection, at: datetime) -> tuple[list[tuple[str, int]], list[str]]:
    """Addresses (with sizes) whose time is over, and those of them that are needed."""
    rows: list[tuple[str, int, bool]] = connection.execute(
        f"WITH needed AS MATERIALIZED ({_NEEDED}) "
        "SELECT address, size_bytes, EXISTS (SELECT FROM needed n WHERE n.address = s.address) "
        "FROM trade.artifact_states s WHERE expires_at <= %s AND removed_at IS NULL "
        "ORDER BY expires_at, address".encode(),
        (at,),
    ).fetchall()
    return (
        [(address, size) for address, size, needed in rows if not needed],
        [address for address, _, needed in rows if needed],
    )


def _remove(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    addresses: Sequence[str],
    at: datetime,
    by: str,
) -> None:
    with removal_lock(connection, addresses):
        # Whoever stored one again meanwhile wants it to live.
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT address, removals, size_bytes, expires_at FROM trade.artifact_states "
            "WHERE address = ANY(%s) AND expires_at <= %s AND removed_at IS NULL ORDER BY address",
            (list(addresses), at),
        ).fetchall()
        append_bulk(
            connection,
            CHAIN,
            [
                Tombstone(
                    address, removals, at, size, "expired", f"kept until {until.isoformat()}", by
                )
                for address, removals, size, until in rows
            ],
        )
        for address, *_ in rows:
            artifacts.remove(address)


def _finish(connection: psycopg.Connection, artifacts: ArtifactStore) -> int:
    """Remove what the newest tombstones name and a stopped run left; gives how many there were."""
    newest = connection.execute(
        "SELECT DISTINCT address FROM (SELECT address FROM trade.artifact_tombstones "
        "WHERE chain_id = %s ORDER BY chain_seq DESC LIMIT %s) newest ORDER BY address",
        (CHAIN, BATCH),
    ).fetchall()
    addresses = [address for (address,) in newest]
    with removal_lock(connection, addresses):
        gone = connection.execute(
            "SELECT address FROM trade.artifact_states "
            "WHERE address = ANY(%s) AND removed_at IS NOT NULL",
            (addresses,),
        ).fetchall()
        return sum(artifacts.remove(address) for (address,) in gone)


@contextmanager
def removing_alone(connection: psycopg.Connection) -> Iterator[None]:
    """Nobody else removes artifacts: each run finishes what the one before it began.

    Args:
        connection: in autocommit mode.
    """
    key = "hashtextextended('trade.retention', 0)"
    connection.execute(f"SELECT pg_advisory_lock({key})".encode())
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(f"SELECT pg_advisory_unlock({key})".encode())
