from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.core.backup.kept import Kept, store_in


@pytest.fixture
def store(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Kept]:
    """A migrated store with one session and two artifacts."""
    with store_in(server, tmp_path / "store", "trade_pipeline") as kept:
        kept.write("s0", b"settings", b"an answer")
        yield kept


@pytest.fixture
def empty(server: EmbeddedPostgres, tmp_path: Path) -> Iterator[Kept]:
    """A place without anything in it, not even tables."""
    with store_in(server, tmp_path / "empty") as kept:
        yield kept
