"""The raw answers behind snapshots: whether they are still there, and whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import psycopg

from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.store.artifacts import (
    ArtifactDamaged,
    ArtifactRemoved,
    ArtifactStore,
    read_artifact,
)


def raw_answers_note(
    connection: psycopg.Connection, artifacts: ArtifactStore, addresses: Sequence[str]
) -> str | None:
    """What became of raw answers, in words; None where there are none."""
    if not addresses:
        return None
    states: Counter[str] = Counter()
    for address in set(addresses):
        try:
            read_artifact(connection, artifacts, address)
        except ArtifactRemoved:
            states["removed"] += 1
        except FileNotFoundError:
            states["missing"] += 1
        except InvalidRecord:
            states["without an address"] += 1
        except ArtifactDamaged:
            states["damaged"] += 1
        else:
            states["whole"] += 1
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    taken = "" if set(states) == {"whole"} else "; what they said was taken from the snapshots"
    return f"raw answers behind the snapshots: {told}{taken}"
