"""The training job as a user launches it: a model, gates that block, and no way around them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest

from trade_pipeline.core.canary.pipeline import SafeMLPipeline
from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.engineer import FeatureEngineer
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.store.artifacts import ArtifactDamaged
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.gates import GATES
from trade_pipeline.core.training.judgement import make_eligible
from trade_pipeline.core.training.registry import NotEligible, read_model
from trade_pipeline.definitions import defs
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.retraining import retraining_schedule, retraining_sensor
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.defs.launch import QUIET, failure_of, materialise

TRAINING = {"training": {"trials": 2, "folds": 3}}


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as opened:
        yield opened


@pytest.fixture(scope="module")
def dataset(store: Store) -> str:
    feed = stored.market(days=12)
    run = stored.run(store.database, store.artifacts, feed=feed, days=12)
    label_session(store.database, store.artifacts, feed, run.session.session_id)
    engineer = FeatureEngineer(store=store)
    frame = engineer.extract_all_features(sessions=[run.session.session_id])
    made = engineer.prepare_ml_dataset(frame, DatasetConfig(name="trained", embargo_hours=1))
    engineer.store_dataset(made)
    return made.version


@pytest.fixture(scope="module")
def trained(home: Path, dataset: str, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADE_PIPELINE_HOME", str(home))
        return defs.resolve_job_def("training_job").execute_in_process(
            instance=instance,
            run_config={
                "ops": {"candidate_model": {"config": TRAINING | {"dataset": dataset}}},
                "loggers": QUIET,
            },
            raise_on_error=False,
        )


def version_of(store: Store) -> str:
    with SafeMLPipeline(store=store) as pipeline:
        newest: dict[str, Any] = pipeline.get_model_performance_summary()["models"][0]
    return str(newest["version_id"])


def test_a_gate_that_refuses_ends_the_job_before_the_model_is_eligible(
    trained: dg.ExecuteInProcessResult,
) -> None:
    assert not trained.success
    checks = {one.check_name: one for one in trained.get_asset_check_evaluations()}
    assert set(checks) == set(GATES)
    assert not checks["enough_data"].passed
    assert not checks["leak_guards"].passed
    assert checks["fresh_holdout"].passed
    assert checks["enough_data"].description == "12 days, needs 30"
    made = {
        event.asset_key.to_user_string()
        for event in trained.get_asset_materialization_events()
        if event.asset_key is not None
    }
    assert made == {"candidate_model", "model_evaluation"}


def test_every_gate_shows_numbers_and_the_pictures_are_there(
    trained: dg.ExecuteInProcessResult,
) -> None:
    pictures = {
        one.check_name
        for one in trained.get_asset_check_evaluations()
        if "data:image/png" in str(one.metadata)
    }
    assert pictures == {"calibration", "predictive_power", "fold_stability", "sanity"}
    (model,) = [
        event.step_materialization_data.materialization.metadata
        for event in trained.get_asset_materialization_events()
        if event.asset_key == dg.AssetKey("candidate_model")
    ]
    assert "intended use" in str(model["model_card"].value)
    assert "data:image/png" in str(model["learning_curve"].value)


@pytest.mark.usefixtures("trained")
def test_materialising_only_the_end_is_refused_with_the_gates_that_refuse(
    instance: dg.DagsterInstance,
) -> None:
    result = materialise(instance, "eligible_model")
    assert not result.success
    assert "enough_data" in failure_of(result)


@pytest.mark.usefixtures("trained")
def test_selecting_without_checks_is_refused(instance: dg.DagsterInstance) -> None:
    result = materialise(instance, "model_evaluation", "eligible_model")
    assert not result.success
    assert "enough_data" in failure_of(result)


@pytest.mark.usefixtures("trained")
def test_python_is_refused_with_every_reason(store: Store) -> None:
    with pytest.raises(NotEligible, match=r"enough_data.*leak_guards"):
        make_eligible(store, version_of(store))


@pytest.mark.usefixtures("trained")
def test_the_writer_is_refused_by_the_database(store: Store) -> None:
    with store.database.connect() as connection, pytest.raises(psycopg.Error):
        connection.execute(
            "INSERT INTO trade.eligible_models SELECT chain_id, chain_seq + 1000, content, "
            "content_hash, chain_hash, recorded_at, model_version, evaluation, true "
            "FROM trade.model_evaluations ORDER BY recorded_at DESC LIMIT 1"
        )


def test_the_examples_of_safe_training_run(dataset: str, store: Store) -> None:
    with SafeMLPipeline(store=store) as pipeline:
        new_model = pipeline.train_new_model()
        summary = pipeline.get_model_performance_summary()
        assert new_model is None
        assert pipeline.get_active_model() is None
    assert summary["active_model"] is None
    assert summary["models"][0]["gates"]["enough_data"].passed is False
    assert summary["models"][0]["metrics"]["rows"] > 0


@pytest.mark.usefixtures("trained")
def test_a_model_decides_in_a_backtest_and_tells_why(store: Store) -> None:
    version = version_of(store)
    config = stored.CONFIG.model_copy(update={"model": version})
    run = stored.run(store.database, store.artifacts, config=config)
    with store.database.connect("trade_reader") as connection:
        rows = connection.execute(
            "SELECT model_version, confidence, content::jsonb -> 'contributions' "
            "FROM trade.candidates WHERE session_id = %s",
            (run.session.session_id,),
        ).fetchall()
    assert len(rows) > 10
    for decided_by, confidence, contributions in rows:
        assert decided_by == version
        log_odds = math.log(confidence / (1 - confidence))
        assert sum(contributions.values()) == pytest.approx(log_odds, abs=1e-4)


@pytest.mark.usefixtures("trained")
def test_a_changed_model_file_is_refused_at_load(store: Store) -> None:
    with store.database.connect("trade_reader") as connection:
        record = read_model(connection, version_of(store))
    path = Path(store.artifacts.uri(record.artifact).removeprefix("file://"))
    kept = path.read_bytes()
    path.write_bytes(kept.replace(b'"entry_confidence":0', b'"entry_confidence":1'))
    try:
        with pytest.raises(ArtifactDamaged):
            make_eligible(store, record.model_version)
    finally:
        path.write_bytes(kept)


def test_nothing_trains_by_itself_until_a_user_turns_it_on() -> None:
    assert retraining_schedule.default_status == dg.DefaultScheduleStatus.STOPPED
    assert retraining_sensor.default_status == dg.DefaultSensorStatus.STOPPED


@pytest.mark.usefixtures("dataset")
def test_the_sensor_says_why_it_skips(instance: dg.DagsterInstance) -> None:
    with dg.build_sensor_context(instance=instance, resources={"store": TradeStore()}) as context:
        told = retraining_sensor(context)
    assert isinstance(told, dg.SkipReason)
    assert "outcomes since the dataset" in (told.skip_message or "")
