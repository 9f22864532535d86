"""Old months of recorded markets move into the artifact store, and tapes hold them all the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import psycopg
import pytest

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.records import LiveDecision
from trade_pipeline.core.live.series_writer import SeriesWriter
from trade_pipeline.core.market import archive
from trade_pipeline.core.market.archive import archive_series
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.export import export_recording
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.live.test_recording import minute
from trade_pipeline_tests.core.session import stored

MARCH = datetime(2022, 3, 1, tzinfo=UTC)
# Minutes of January, February and March.
MINUTES = (0, 7, 31 * 1_440 + 3, 78 * 1_440 + 1)


@pytest.fixture
def store(fresh_database: Database, artifacts: ArtifactStore) -> Store:
    """A recording of an account from January to March."""
    with (
        Lease(fresh_database, "paper", holder="test", mode="paper") as lease,
        SeriesWriter(fresh_database, "paper", lease.epoch, stored.market()) as writer,
    ):
        for number in MINUTES:
            writer.put(minute(number))
    return Store(fresh_database, artifacts)


def tape(store: Store, folder: Path) -> str:
    with store.database.connect("trade_reader", autocommit=True) as connection:
        done = export_recording(
            connection, "paper", folder, artifacts=store.artifacts,
            start=stored.START, end=stored.START + 90 * DAY,
        )  # fmt: skip
    market = RecordedMarket(done.folder)
    assert sum(map(len, market.batches(0, 1 << 62))) == 10 * len(MINUTES)
    return market.content_address()


def stored_rows(store: Store) -> int:
    with store.database.connect("trade_reader") as connection:
        row = connection.execute("SELECT count(*) FROM trade.market_series").fetchone()
    assert row is not None
    return int(row[0])


def test_months_that_were_over_leave_the_database_and_a_tape_is_as_it_was(
    store: Store, tmp_path: Path
) -> None:
    whole = tape(store, tmp_path / "before")
    told = archive_series(store.database, store.artifacts, MARCH, dry_run=True)
    assert [(one.month.month, one.rows, one.kept) for one in told] == [
        (1, 20, "dry run"), (2, 10, "dry run")
    ]  # fmt: skip
    assert stored_rows(store) == 40
    done = archive_series(store.database, store.artifacts, MARCH)
    assert [(one.month.month, one.rows, one.kept) for one in done] == [(1, 20, None), (2, 10, None)]
    assert stored_rows(store) == 10
    assert tape(store, tmp_path / "after") == whole
    assert archive_series(store.database, store.artifacts, MARCH) == []
    with (
        store.database.connect("trade_reader", autocommit=True) as connection,
        pytest.raises(BadConfig, match=r"market_series/paper/simulated/202201/0 is archived at"),
    ):
        export_recording(connection, "paper", tmp_path / "none", start=stored.START)


def test_who_is_killed_before_the_rows_are_dropped_loses_and_doubles_nothing(
    store: Store, tmp_path: Path
) -> None:
    whole = tape(store, tmp_path / "before")
    read = archive._read
    with (
        mock.patch.object(archive, "_read", side_effect=KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
    ):
        archive_series(store.database, store.artifacts, MARCH)
    assert stored_rows(store) == 40
    assert tape(store, tmp_path / "between") == whole
    with (
        mock.patch.object(archive, "_read", lambda *given: read(*given)[:-1]),
        pytest.raises(BadMarketData, match="does not hold the 20 rows"),
    ):
        archive_series(store.database, store.artifacts, MARCH)
    assert stored_rows(store) == 40
    archive_series(store.database, store.artifacts, MARCH)
    assert stored_rows(store) == 10
    assert tape(store, tmp_path / "after") == whole


def test_rows_that_were_added_since_they_were_read_keep_their_month(store: Store) -> None:
    with (
        store.database.connect("trade_admin", autocommit=True) as admin,
        pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="20 rows, 19 are"),
    ):
        admin.execute("SELECT trade.drop_series_month('2022-01-01Z', 19)")
    assert stored_rows(store) == 40


def test_what_the_next_session_of_an_account_reads_stays(store: Store) -> None:
    done = archive_series(store.database, store.artifacts, MARCH.replace(month=4))
    assert [one.kept is None for one in done] == [True, True, False]
    assert "the next session of account paper reads it" in str(done[-1].kept)
    assert stored_rows(store) == 10


def test_a_month_stays_as_long_as_a_position_is_open_that_was_decided_on_before_its_end(
    store: Store,
) -> None:
    with (
        store.database.connect(autocommit=True) as connection,
        Lease(store.database, "paper", holder="test", mode="paper") as lease,
    ):
        journal = LiveJournal(connection, "s", "paper", lease.epoch)
        at = datetime(2022, 1, 20, tzinfo=UTC)
        uuid = trade_uuid("live:paper", "PEPE/USDT", 0, micros(at))
        held = samples.candidate(uuid=uuid, decided_at=at)
        connection.execute("SELECT trade.ensure_partitions('2022-01-01Z', '2022-06-01Z')")
        bought = samples.fill(held.uuid, occurred_at=at)
        made = [samples.session(mode="paper"), held, samples.research(held.uuid), bought]
        decision = LiveDecision("paper", lease.epoch, held.instrument, 0, held.uuid)
        for record in (*made, decision):
            journal.append(record)
        journal.commit(stored.START, stored.START + 90 * DAY, {})
        done = archive_series(store.database, store.artifacts, MARCH)
        assert [one.kept is None for one in done] == [False, False]
        assert "a position is open since 2022-01-20" in str(done[0].kept)
        assert stored_rows(store) == 40
        sold = samples.sale(held.uuid, occurred_at=at + timedelta(days=60))
        closed = samples.outcome(held.uuid, closed_at=sold.occurred_at)
        for record in (sold, closed):
            journal.append(record)
        journal.commit(stored.START, stored.START + 90 * DAY, {})
    archive_series(store.database, store.artifacts, MARCH)
    assert stored_rows(store) == 10
