"""Whether the artifacts that records name are there: their address is their hash."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from trade_pipeline.core.canonical import is_address
from trade_pipeline.core.ledger.report import Problem
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore

# What names artifacts; a manual session's candidates may name what is kept elsewhere.
_NAMED = """
SELECT address FROM trade.artifacts
UNION SELECT artifact FROM trade.models
UNION SELECT params_ptr FROM trade.sessions WHERE params_ptr IS NOT NULL
UNION SELECT jsonb_array_elements_text(content::jsonb -> 'raw_answers') FROM trade.research_docs
      WHERE jsonb_typeof(content::jsonb -> 'raw_answers') = 'array'
ORDER BY 1
"""


def check_artifacts(
    connection: psycopg.Connection,
    artifacts: ArtifactStore,
    progress: Callable[[int, int], None] | None = None,
) -> list[Problem]:
    """The artifacts that are missing or changed; one that was removed by the rules has a tombstone.

    Args:
        progress: is called with the artifacts that are read, and all.
    """
    addresses = [address for (address,) in connection.execute(_NAMED).fetchall()]
    removed: set[str] = set()
    if connection.execute("SELECT to_regclass('trade.artifact_tombstones')").fetchone() != (None,):
        rows = connection.execute("SELECT address FROM trade.artifact_tombstones").fetchall()
        removed = {address for (address,) in rows}
    problems = []
    for done, address in enumerate(addresses, 1):
        problem = _wrong(artifacts, address, address in removed)
        if problem is not None:
            problems.append(Problem("artifact", problem, "artifacts", address))
        if progress is not None:
            progress(done, len(addresses))
    return problems


def _wrong(artifacts: ArtifactStore, address: str, removed: bool) -> str | None:
    if not is_address(address):
        return "is no address of an artifact"
    try:
        artifacts.get(address)
    except FileNotFoundError:
        return None if removed else f"is missing from {artifacts.uri(address)}"
    except ArtifactDamaged:
        return f"the bytes at {artifacts.uri(address)} have another hash"
    return None
