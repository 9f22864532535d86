"""The job as a user launches it, on the real store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from trade_pipeline.core.report import integrity
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs.checks import record_integrity
from trade_pipeline.defs.instance import JobRun, run_backtest_job
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.settings import Settings

DAYS = {"first": date(2026, 1, 5), "last": date(2026, 1, 7)}
SMALL = {"simulator": {"burn_in_days": 4}}


def run_job(home: Path, instance: dg.DagsterInstance, **changed: Any) -> JobRun:
    chosen: dict[str, Any] = {**DAYS, "config": SMALL, "seed": 5} | changed
    return run_backtest_job(Settings(home=home, _env_file=None), instance=instance, **chosen)


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture(scope="module")
def ran(home: Path, store: Store, instance: dg.DagsterInstance) -> JobRun:
    """The first run of these days."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADE_PIPELINE_HOME", str(home))
        return run_job(home, instance)


@pytest.fixture(scope="module")
def session_id(ran: JobRun) -> str:
    assert ran.session_id is not None
    return ran.session_id


def count(store: Store, table: str) -> int:
    with store.database.connect("trade_reader") as connection:
        row = connection.execute(f"SELECT count(*) FROM trade.{table}").fetchone()
        assert row is not None
        return int(row[0])


@contextmanager
def tampering(home: Path) -> Iterator[psycopg.Connection]:
    """A superuser with the triggers off; what it does is undone afterwards."""
    server = EmbeddedPostgres(home / "postgres")
    with server, psycopg.connect(server.url("postgres")) as connection:
        connection.execute("SET session_replication_role = replica")
        yield connection
        connection.rollback()


def test_a_run_stores_a_session_and_passes_its_checks(
    ran: JobRun, session_id: str, store: Store, instance: dg.DagsterInstance
) -> None:
    assert ran.failures == ()
    materialised = {
        event.asset_key.to_user_string(): event
        for event in instance.all_logs(ran.run_id)
        if event.dagster_event and event.dagster_event.is_step_materialization
        for event in [event.dagster_event]
        if event.asset_key
    }
    assert set(materialised) == {
        "research_documents",
        "trade_candidates",
        "trade_executions",
        "trade_outcomes",
        "performance_report",
        "performance_attribution",
    }
    report = materialised["performance_report"].step_materialization_data.materialization.metadata
    assert "data:image/png;base64" in str(report["equity"].value)
    days = materialised["trade_candidates"].step_materialization_data.materialization.metadata
    assert "2026-01-06" in str(days["days"].value)
    checked = instance.get_event_records(
        dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    )
    assert len(checked) == 10
    with store.database.connect("trade_reader") as connection:
        runs = connection.execute(
            "SELECT dagster_run_id FROM trade.session_runs WHERE session_id = %s", (session_id,)
        ).fetchall()
        assert runs == [(ran.run_id,)]


def test_running_the_same_days_again_adds_no_record(
    home: Path, session_id: str, store: Store, instance: dg.DagsterInstance
) -> None:
    before = {t: count(store, t) for t in ("sessions", "candidates", "executions", "outcomes")}
    again = run_job(home, instance)
    assert again.session_id == session_id
    assert before == {t: count(store, t) for t in before}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"config": {"strategy": {"exits": {"stop_los": 0.2}}}}, "strategy.exits.stop_los"),
        ({"market": "uniswap-v2", "data": Path("/nowhere")}, "/nowhere/tape.parquet"),
        ({"market": "uniswap-v2"}, "data=None"),
    ],
)
def test_a_wrong_input_fails_the_run_and_says_what_is_wrong(
    home: Path, store: Store, instance: dg.DagsterInstance, changed: dict[str, Any], message: str
) -> None:
    before = count(store, "sessions")
    run = run_job(home, instance, **changed)
    assert not run.success
    assert message in run.failures[0]
    assert count(store, "sessions") == before


# What is done to a store that held together, and the question that must find it.
TAMPERED = {
    "DELETE FROM trade.research_docs WHERE uuid = %(uuid)s": (
        integrity.candidates_without_research,
        "candidate without research",
    ),
    "DELETE FROM trade.executions WHERE uuid = %(uuid)s AND leg = 'entry' AND event = 'filled'": (
        integrity.entries_without_end,
        "entry that is neither filled, rejected nor cancelled",
    ),
    "DELETE FROM trade.executions WHERE uuid = %(uuid)s AND leg = 'exit'": (
        integrity.entries_without_end,
        "without a fill of its exit",
    ),
    "DELETE FROM trade.outcomes WHERE uuid = %(uuid)s": (
        integrity.trades_without_one_outcome,
        "filled trade without an outcome",
    ),
    "UPDATE trade.outcomes SET revision = 1 WHERE uuid = %(uuid)s": (
        integrity.trades_without_one_outcome,
        "missing revision",
    ),
    "UPDATE trade.outcomes SET pnl_usd = pnl_usd + 0.01 WHERE uuid = %(uuid)s": (
        integrity.cash_that_does_not_add_up,
        "differs from its fills and costs",
    ),
    "UPDATE trade.executions SET fees_usd = 7 WHERE uuid = %(uuid)s AND leg = 'exit' "
    "AND event = 'filled'": (
        integrity.cash_that_does_not_add_up,
        "differs from its fills and costs",
    ),
    "UPDATE trade.research_docs SET known_at = known_at + interval '1 hour' "
    "WHERE uuid = %(uuid)s": (
        integrity.records_from_the_future,
        "known only after the decision",
    ),
    "UPDATE trade.outcomes SET closed_at = closed_at - interval '9 days' WHERE uuid = %(uuid)s": (
        integrity.records_from_the_future,
        "outcome before the decision",
    ),
}


@pytest.mark.parametrize("change", TAMPERED)
def test_what_does_not_hold_together_is_found_with_its_session_and_day(
    home: Path, session_id: str, change: str
) -> None:
    question, what = TAMPERED[change]
    with tampering(home) as connection:
        assert question(connection) == []
        trade = connection.execute(
            "SELECT uuid, (c.decided_at AT TIME ZONE 'UTC')::date FROM trade.outcomes "
            "JOIN trade.candidates c USING (uuid) JOIN trade.executions e USING (uuid) "
            "WHERE c.session_id = %s AND e.leg = 'exit' AND e.event = 'filled' LIMIT 1",
            (session_id,),
        ).fetchone()
        assert trade is not None
        uuid, day = trade
        connection.execute(change, {"uuid": uuid})  # type: ignore[call-overload]
        found = question(connection)
        assert {(v.session_id, v.day) for v in found} == {(session_id, day)}
        assert any(what in v.what for v in found)


def test_an_older_session_that_fails_is_not_hidden_by_a_newer_one_that_passes(
    home: Path, store: Store, instance: dg.DagsterInstance
) -> None:
    older = run_job(home, instance, seed=21)
    server = EmbeddedPostgres(home / "postgres")
    with server, psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE trade.outcomes SET pnl_usd = pnl_usd + 1 WHERE chain_id = %s",
            (older.session_id,),
        )
        newer = run_job(home, instance, seed=22)
        connection.execute(
            "UPDATE trade.outcomes SET pnl_usd = pnl_usd - 1 WHERE chain_id = %s",
            (older.session_id,),
        )
    failed = [
        check.asset_check_evaluation
        for record in instance.get_event_records(
            dg.EventRecordsFilter(dg.DagsterEventType.ASSET_CHECK_EVALUATION)
        )
        if record.event_log_entry.run_id == newer.run_id
        and (check := record.event_log_entry)
        and not check.asset_check_evaluation.passed
    ]
    assert not newer.success
    assert [check.check_name for check in failed] == ["cash_adds_up"]
    assert str(older.session_id) in str(failed[0].description)
    assert run_job(home, instance, seed=22).success


def test_a_session_that_was_stopped_on_its_way_fails_nobody(home: Path, session_id: str) -> None:
    with tampering(home) as connection:
        connection.execute("DELETE FROM trade.session_ends WHERE session_id = %s", (session_id,))
        connection.execute("DELETE FROM trade.outcomes WHERE chain_id = %s", (session_id,))
        assert integrity.unfinished_sessions(connection) == [session_id]
        assert integrity.trades_without_one_outcome(connection) == []


def test_one_check_can_be_asked_without_a_session(
    home: Path, store: Store, instance: dg.DagsterInstance
) -> None:
    key = dg.AssetCheckKey(dg.AssetKey("trade_outcomes"), "cash_adds_up")
    asked = dg.materialize(
        [record_integrity],
        selection=dg.AssetSelection.checks(key),
        instance=instance,
        resources={"store": TradeStore()},
    )
    assert [
        (found.asset_check_key, found.passed) for found in asked.get_asset_check_evaluations()
    ] == [(key, True)]
