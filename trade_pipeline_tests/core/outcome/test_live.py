"""Live decisions get the labels that a backtest of the same market gets, from what was recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.multirange import Int8Multirange
from psycopg.types.range import Int8Range

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.export import export_recording
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.outcome import live
from trade_pipeline.core.outcome.live import (
    label_live_sessions,
    unlabelled_accounts,
    unlabelled_days,
)
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.report import integrity
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT
from trade_pipeline_tests.core.session import stored

TRADING: dict[str, Any] = stored.CONFIG.model_dump() | {"amm": {"failure_rate": 0}}
TRADING["strategy"] = TRADING["strategy"] | {"exits": {"max_hold_hours": 2}}
FIRST = moment_of(stored.START)
WHOLE = FIRST, FIRST + timedelta(days=1)


@pytest.fixture
def store(fresh_database: Database, artifacts: ArtifactStore) -> Store:
    """Two sessions of an account, whose market was recorded."""
    store = Store(fresh_database, artifacts)
    for days in (0.25, 0.5):
        paper.run(store, ACCOUNT, days=days, trading=TRADING, cell_seconds=1, record=True)
    return store


def labels(store: Store, mode: str) -> list[Any]:
    with store.database.connect("trade_reader") as connection:
        return connection.execute(
            "SELECT c.decided_at, c.instrument, o.closed_at, o.realized_pnl_percent, "
            "o.termination_reason FROM trade.outcomes o JOIN trade.candidates c USING (uuid) "
            "JOIN trade.sessions s ON s.session_id = c.session_id "
            "WHERE o.kind = 'shadow' AND s.mode = %s ORDER BY 1, 2",
            (mode,),
        ).fetchall()


def test_live_decisions_get_the_labels_of_a_backtest_of_what_was_recorded(
    store: Store, tmp_path: Path
) -> None:
    done = label_live_sessions(store, WHOLE)
    assert len(done) == 2
    with store.database.connect("trade_reader", autocommit=True) as connection:
        tape = export_recording(connection, ACCOUNT, tmp_path / "tape")
    market = RecordedMarket(tape.folder)
    again = run_backtest(
        store.database, store.artifacts, market, seed=0, config=stored.CONFIG.parse(TRADING),
        start=moment_of(tape.start), end=moment_of(tape.end),
    )  # fmt: skip
    backtest = label_session(store.database, store.artifacts, market, again.session.session_id)
    assert sum(run.candidates for run in done) == backtest.candidates
    assert sum(run.unended for run in done) == backtest.unended > 0
    assert labels(store, "paper") == labels(store, "backtest")
    assert len(labels(store, "paper")) == backtest.labelled > 30
    assert sum(run.new + run.corrected for run in label_live_sessions(store, WHOLE)) == 0


def test_days_are_due_while_they_are_new_and_labelled_apart_they_have_the_same_labels(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    with store.database.connect() as connection:
        assert unlabelled_days(connection, now) == [FIRST.date()]
        # Nobody asks for them for ever, nor for what was not recorded.
        assert unlabelled_days(connection, now + timedelta(days=22)) == []
        connection.execute("UPDATE trade.market_recordings SET covered = '{}'")
        assert unlabelled_days(connection, now) == []
        connection.rollback()
    with store.database.connect("trade_reader", autocommit=True) as connection:
        tape = export_recording(connection, ACCOUNT, tmp_path / "tape")
    # Without a week for what cannot be sold: the market of a stretch ends before what was recorded.
    life = timedelta(hours=3)
    monkeypatch.setattr(live, "longest_life", lambda exits: life // timedelta(microseconds=1))
    middle = FIRST + timedelta(hours=5)
    with store.database.connect("trade_reader", autocommit=True) as connection:
        (early,) = unlabelled_accounts(connection, (WHOLE[0], middle))
    with live.recorded_market(store, early) as market:
        assert early.first <= moment_of(market.span()[0])
        assert moment_of(market.span()[1]) <= early.last + life < moment_of(tape.end)
    done = label_live_sessions(store, (middle, WHOLE[1]))
    assert 0 < len(labels(store, "paper")) == sum(run.new for run in done)
    assert all(made >= middle for made, *_ in labels(store, "paper"))
    done += label_live_sessions(store, (WHOLE[0], middle))
    again = run_backtest(
        store.database, store.artifacts, RecordedMarket(tape.folder), seed=0,
        config=stored.CONFIG.parse(TRADING), start=moment_of(tape.start), end=moment_of(tape.end),
    )  # fmt: skip
    label_session(
        store.database, store.artifacts, RecordedMarket(tape.folder), again.session.session_id
    )
    assert labels(store, "paper") == labels(store, "backtest")
    assert sum(run.corrected for run in done) == 0


def test_no_label_reaches_over_a_hole_and_what_was_not_recorded_has_none(store: Store) -> None:
    hole = (stored.START + 4 * 3_600_000_000, stored.START + 5 * 3_600_000_000)
    with store.database.connect() as connection:
        connection.execute(
            "UPDATE trade.market_recordings SET covered = covered - %s",
            (Int8Multirange([Int8Range(*hole)]),),
        )
    label_live_sessions(store, WHOLE)
    found = labels(store, "paper")
    first, last = map(moment_of, hole)
    assert found
    assert not [one for one in found if one[0] < first <= one[2]]
    assert [one for one in found if one[0] >= last]


def test_the_recording_of_another_account_labels_nothing(store: Store, tmp_path: Path) -> None:
    with store.database.connect("trade_reader", autocommit=True) as connection:
        (one,) = unlabelled_accounts(connection, WHOLE)
        tape = export_recording(connection, ACCOUNT, tmp_path / "tape")
    manifest = tape.folder / "recording.json"
    manifest.write_text(manifest.read_text().replace(f'"{ACCOUNT}"', '"other"'))
    with pytest.raises(BadConfig, match="give what its account recorded"):
        label_session(store.database, store.artifacts, RecordedMarket(tape.folder), one.sessions[0])


ONE = "uuid = %(uuid)s"
# What is done to a closed trade of a live session, and the check that must find it.
TAMPERED: dict[LiteralString, tuple[integrity.Check, str]] = {
    f"DELETE FROM trade.research_docs WHERE {ONE}": (
        integrity.candidates_without_research, "candidate without research"
    ),
    f"DELETE FROM trade.executions WHERE {ONE} AND leg = 'entry' AND event = 'filled'": (
        integrity.entries_without_end, "closed trade without a fill of its entry"
    ),
    f"DELETE FROM trade.outcomes WHERE {ONE}": (
        integrity.trades_without_one_outcome, "filled trade without an outcome"
    ),
    f"UPDATE trade.outcomes SET revision = 1 WHERE {ONE}": (
        integrity.trades_without_one_outcome, "missing revision"
    ),
    f"UPDATE trade.outcomes SET pnl_usd = pnl_usd + 0.01 WHERE {ONE}": (
        integrity.cash_that_does_not_add_up, "differs from its fills and costs"
    ),
    # A day later an entry that says nothing has been forgotten.
    f"WITH gone AS (DELETE FROM trade.outcomes WHERE {ONE}), progress AS ("
    "UPDATE trade.live_progress SET reached = reached + 86400000000) "
    f"DELETE FROM trade.executions WHERE {ONE} AND event = 'filled'": (
        integrity.entries_without_end, "neither filled, rejected nor cancelled"
    ),
}  # fmt: skip


def test_the_checks_find_what_is_wrong_in_live_sessions_and_leave_open_trades_alone(
    store: Store, server: EmbeddedPostgres
) -> None:
    with psycopg.connect(server.url("postgres", store.database._name)) as connection:
        connection.execute("SET session_replication_role = replica")
        row = connection.execute(
            "SELECT o.uuid, c.session_id FROM trade.outcomes o JOIN trade.candidates c "
            "USING (uuid) JOIN trade.executions e USING (uuid) "
            "WHERE o.kind = 'realised' AND e.leg = 'exit' AND e.event = 'filled' LIMIT 1"
        ).fetchone()
        assert row is not None
        uuid, session = row
        for change, (check, what) in TAMPERED.items():
            assert check(connection) == []
            with connection.transaction(force_rollback=True):
                connection.execute(change, {"uuid": uuid})
                found = {(one.session_id, what in one.what) for one in check(connection)}
                assert (session, True) in found, what
        # As if it had not been sold yet.
        gone = f"DELETE FROM trade.outcomes WHERE {ONE}"
        connection.execute(gone, {"uuid": uuid})
        unsold = f"DELETE FROM trade.executions WHERE {ONE} AND leg = 'exit'"
        connection.execute(unsold, {"uuid": uuid})
        for check, _ in TAMPERED.values():
            assert check(connection) == []
        connection.rollback()
