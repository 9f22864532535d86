"""Days as Dagster runs them: features, labels and replays by the day, on one machine or on many."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trade_pipeline.core.dataset.feature_build import build_features, joined
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.session.stored import market_of, read_session, settings_of
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs.features import BUILDS
from trade_pipeline.defs.instance import JobRun, run_backtest_job, run_job
from trade_pipeline.defs.replays import FACTS
from trade_pipeline.defs.trades import days_apart
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.replay.tampering import forge
from trade_pipeline_tests.core.replay.test_backtest import assigned

FIRST, LAST = date(2026, 2, 2), date(2026, 2, 4)
SMALL = {
    "simulator": {"burn_in_days": 3, "pools_per_day": 15},
    "strategy": {"universe": {"min_volume_24h_usd": 20_000}},
}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture(scope="module")
def session_id(home: Path, store: Store, instance: dg.DagsterInstance) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADE_PIPELINE_HOME", str(home))
        run = run_backtest_job(
            Settings(home=home, _env_file=None), instance=instance, first=FIRST, last=LAST,
            seed=5, config=SMALL,
        )  # fmt: skip
    assert run.failures == ()
    assert run.session_id is not None
    return run.session_id


def on_day(
    instance: dg.DagsterInstance, job: str, asset: str, config: dict[str, Any], day: date
) -> JobRun:
    return run_job(instance, job, {asset: config}, days=(day, day))


def test_runs_of_single_days_make_what_one_build_makes(
    store: Store, instance: dg.DagsterInstance, session_id: str
) -> None:
    only = {"session": session_id}
    days = (LAST, FIRST, date(2026, 2, 3))
    made, labelled = {}, 0
    for day in days:
        run = on_day(instance, "features_job", "trade_features", only, day)
        assert run.failures == ()
        made[day] = run.materialized["trade_features"]
        run = on_day(instance, "labelling_job", "shadow_outcomes", only, day)
        assert run.failures == ()
        labelled += run.materialized["shadow_outcomes"]["new"]
    with store.database.connect("trade_reader") as connection:
        session = read_session(connection, session_id)
    feed = market_of(session, settings_of(store.artifacts, session), None)
    whole = build_features(store.database, store.artifacts, feed, session_id)
    days_facts = [one for day in sorted(made) for one in made[day][BUILDS]]
    assert joined(store, session_id, days_facts)["table"] == whole.table
    labels = label_session(store.database, store.artifacts, feed, session_id)
    assert (labels.new, labels.corrected, labels.labelled) == (0, 0, labelled)
    assert labelled > 0


def test_a_range_in_one_run_does_all_of_its_days(
    instance: dg.DagsterInstance, session_id: str
) -> None:
    only = {"session": session_id}
    run = run_job(instance, "features_job", {"trade_features": only}, days=(FIRST, LAST))
    assert run.failures == ()
    (one,) = run.materialized["trade_features"][BUILDS]
    days = [
        on_day(instance, "features_job", "trade_features", only, day)
        for day in (FIRST, date(2026, 2, 3), LAST)
    ]
    rows = [day.materialized["trade_features"]["dagster/row_count"] for day in days]
    assert one["rows"] == sum(rows) > max(rows)


def test_a_day_without_a_decision_of_the_session_is_refused_by_its_name(
    instance: dg.DagsterInstance, session_id: str
) -> None:
    run = on_day(
        instance, "features_job", "trade_features", {"session": session_id}, date(2026, 3, 1)
    )
    assert len(run.failures) == 1
    assert f"session={session_id!r}: no session between 2026-03-01" in run.failures[0]


def test_a_session_is_replayed_with_the_day_on_which_it_begins_and_on_no_other(
    instance: dg.DagsterInstance, session_id: str
) -> None:
    sessions = {}
    for day in (FIRST, LAST):
        run = on_day(instance, "replay_job", "replayed_records", {"session": session_id}, day)
        assert run.failures == ()
        sessions[day] = [
            (one["session_id"], one["identical"] == one["trades"] > 0)
            for one in run.materialized["replayed_records"][FACTS]["sessions"]
        ]
    assert sessions == {FIRST: [(session_id, True)], LAST: []}


def test_a_record_that_comes_out_different_fails_the_replays_check_and_is_named(
    home: Path, store: Store, instance: dg.DagsterInstance, session_id: str
) -> None:
    with store.database.connect("trade_reader") as connection:
        row = connection.execute(
            "SELECT uuid, chain_seq, confidence FROM trade.candidates WHERE chain_id = %s "
            "ORDER BY chain_seq LIMIT 1",
            (session_id,),
        ).fetchone()
    assert row is not None
    uuid, seq, confidence = row
    with EmbeddedPostgres(home / "postgres") as server:
        forge(server, store, "candidates", seq, assigned("confidence", 0.875), chain=session_id)
        try:
            run = on_day(instance, "replay_job", "replayed_records", {}, FIRST)
        finally:
            forge(
                server, store, "candidates", seq, assigned("confidence", confidence),
                chain=session_id,
            )  # fmt: skip
    told = f"trade {uuid}: candidates: confidence: stored 0.875, computed {confidence!r}"
    assert [one.endswith(told) for one in run.failures] == [True]
    assert run.failures[0].startswith("decides_the_same_again: ")
    # The facts are there for whoever asked for the run.
    assert run.materialized["replayed_records"][FACTS]["differs"] is True


def test_a_day_of_many_makes_no_dataset(instance: dg.DagsterInstance, session_id: str) -> None:
    result = defs.resolve_job_def("learning_job").execute_in_process(
        instance=instance,
        run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        partition_key=FIRST.isoformat(),
        tags={"dagster/backfill": "some"},
        raise_on_error=False,
    )
    assert result.success
    made = {
        event.asset_key.to_user_string()
        for event in result.get_asset_materialization_events()
        if event.asset_key is not None
    }
    assert made == {"shadow_outcomes", "trade_features"}
    assert {
        check.asset_key.to_user_string() for check in result.get_asset_check_evaluations()
    } == made


def test_a_range_is_a_run_a_day_with_workers_and_one_run_without() -> None:
    alone, spread = dg.BackfillPolicy.single_run(), dg.BackfillPolicy.multi_run(1)
    assert days_apart({}) == days_apart({"TRADE_PIPELINE_BROKER_URL": ""}) == alone
    for name in ("TRADE_PIPELINE_BROKER_URL", "TRADE_PIPELINE_DAGSTER_YAML"):
        assert days_apart({name: "anything"}) == spread
    graph = defs.resolve_asset_graph()
    for name in ("trade_features", "shadow_outcomes", "replayed_records"):
        assert graph.get(dg.AssetKey(name)).backfill_policy == alone
