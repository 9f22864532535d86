"""Every earlier schema with rows in all of its tables becomes the current one and loses nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.report.performance import performance_metrics
from trade_pipeline.core.session.stored import read_session
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.migrations import migrate, migrations_folder, read_migrations
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.backup.kept import store_in
from trade_pipeline_tests.core.ledger.every_kind import TRADES
from trade_pipeline_tests.core.store.earlier import HEADS_SINCE, SESSION, build, rows_of

KNOWN = read_migrations(migrations_folder())
# Before the third there are roles and functions, and no table.
FIRST = 3


@pytest.mark.parametrize("version", [m.version for m in KNOWN[FIRST - 1 : -1]])
def test_an_earlier_store_is_upgraded_with_all_of_its_rows(
    server: EmbeddedPostgres, tmp_path: Path, version: int
) -> None:
    with store_in(server, tmp_path / "store") as kept:
        build(kept.url, version, tmp_path / "sql", kept.artifacts.heads)
        before = rows_of(kept.url)
        filled = {table for table, rows in before.items() if rows}
        assert {"sessions", "candidates", "executions", "outcomes", "artifacts"} <= filled
        assert migrate(kept.url) == [m.name for m in KNOWN[version:]]
        after = rows_of(kept.url)
        for table, rows in before.items():
            assert common(rows, after[table]) == common(after[table], rows), table
        report = verify_url(kept.url, kept.artifacts.heads)
        assert report.intact, report.verdict
        assert (report.unanchored == 0) == (version >= HEADS_SINCE)
        chained = [rows for rows in before.values() if rows and "content_hash" in rows[0]]
        assert report.records == sum(map(len, chained)) > 0
        read_by_the_current_code(kept.url, kept.artifacts)


def common(rows: Sequence[dict[str, Any]], others: Sequence[dict[str, Any]]) -> list[str]:
    """Rows without the columns that the others lack, in an order."""
    shared = set(rows[0]) & set(others[0]) if rows and others else set()
    return sorted(str(sorted((name, row[name]) for name in shared)) for row in rows)


def read_by_the_current_code(url: str, artifacts: ArtifactStore) -> None:
    with (
        Database.at(url) as database,
        TradeTrackingSystem(store=Store(database, artifacts)) as tracker,
        database.connect("trade_writer", autocommit=True) as connection,
    ):
        for number in range(TRADES):
            trade = tracker.get_complete_trade_record(samples.candidate(number, SESSION).uuid)
            assert len(trade["executions"]) == (0 if number % 3 == 2 else 2)
        assert read_session(connection, SESSION).session_id == SESSION
        assert performance_metrics(connection)["total_trades"] == 4
        # And the ledger goes on.
        tracker.create_candidate("PEPE/USDT", "v1", 0.75, samples.ADDRESS, "test")
        assert write_heads(connection, artifacts.heads)
    report = verify_url(url, artifacts.heads)
    assert (report.intact, report.unanchored) == (True, 0), report.verdict


def test_every_table_of_the_current_schema_is_among_those_that_are_filled(
    server: EmbeddedPostgres, tmp_path: Path
) -> None:
    with store_in(server, tmp_path / "store") as kept:
        build(kept.url, len(KNOWN), tmp_path / "sql", kept.artifacts.heads)
        assert [table for table, rows in rows_of(kept.url).items() if not rows] == []
