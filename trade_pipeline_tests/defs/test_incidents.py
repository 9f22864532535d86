"""The sensor that notes what is stale or failed, once when it begins and once when it is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.freshness import FreshnessState, FreshnessStateChange
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._utils.error import SerializableErrorInfo

from trade_pipeline.core.incidents.incident import open_incidents
from trade_pipeline.core.live.requests import end_sessions, order_session
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs.incidents import WATCHED, incident_sensor
from trade_pipeline.defs.queue import VERDICT
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.defs.launch import QUIET


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with instance_for_test() as made:
        yield made


class Watch:
    """The sensor, tick after tick."""

    def __init__(self, instance: dg.DagsterInstance, store: Store) -> None:
        self._instance, self._store = instance, store
        self._cursor: str | None = None

    def tick(self) -> dict[str, str]:
        """What is wrong afterwards, by subject."""
        context = dg.build_sensor_context(
            instance=self._instance,
            cursor=self._cursor,
            resources=dict(defs.resources or {}),
        )
        incident_sensor.evaluate_tick(context)
        self._cursor = context.cursor
        with self._store.database.connect("trade_reader") as connection:
            return {one.subject: one.reason for one in open_incidents(connection)}


@pytest.fixture
def watch(instance: dg.DagsterInstance, store: Store) -> Watch:
    return Watch(instance, store)


@dg.op(config_schema={"how": str})
def end(context) -> None:  # type: ignore[no-untyped-def]  # Dagster reads what is written there
    how = context.op_config["how"]
    if how == "breaks":
        raise ValueError("the cable is loose\nand more")
    if how == "says no":
        raise dg.Failure("the gate refuses", allow_retries=False)


@dg.job(tags={VERDICT: "gates"})
def judging() -> None:
    end()


@dg.job
def working() -> None:
    end()


def run(instance: dg.DagsterInstance, job: dg.JobDefinition, how: str, **tags: str) -> None:
    job.execute_in_process(
        instance=instance,
        run_config={"ops": {"end": {"config": {"how": how}}}, "loggers": QUIET},
        tags=tags,
        raise_on_error=False,
    )


def test_a_failed_run_is_an_incident_of_its_job_until_one_succeeds(
    instance: dg.DagsterInstance, watch: Watch
) -> None:
    assert watch.tick() == {}
    run(instance, working, "breaks", **{"dagster/will_retry": "true"})
    assert watch.tick() == {}
    run(instance, working, "breaks")
    [(subject, why)] = watch.tick().items()
    assert subject == "job working"
    assert why.endswith("failed: ValueError: the cable is loose")
    assert "more" not in why
    # Nothing new: it stays.
    assert set(watch.tick()) == {"job working"}
    run(instance, working, "does")
    assert watch.tick() == {}


def test_a_job_whose_work_is_to_refuse_is_no_incident_when_it_does_and_is_one_when_it_breaks(
    instance: dg.DagsterInstance, watch: Watch
) -> None:
    run(instance, judging, "says no")
    assert watch.tick() == {}
    run(instance, judging, "breaks")
    assert set(watch.tick()) == {"job judging"}
    run(instance, judging, "says no")
    assert watch.tick() == {}
    for name in ("training_job", "retraining_job", "promotion_job"):
        assert VERDICT in defs.resolve_job_def(name).tags
    run(instance, working, "says no")
    assert next(iter(watch.tick().values())).endswith("failed: the gate refuses")
    run(instance, working, "does")
    assert watch.tick() == {}


def test_a_failed_run_of_a_session_is_judged_by_its_lease(
    instance: dg.DagsterInstance, watch: Watch
) -> None:
    create_run_for_test(instance, "live_job", status=dg.DagsterRunStatus.FAILURE)
    assert watch.tick() == {}


def ticked(instance: dg.DagsterInstance, status: TickStatus, at: float) -> None:
    origin = _sensor_origin()
    error = SerializableErrorInfo("the server is gone\nTraceback", [], "Gone")
    instance.create_tick(
        TickData(
            instigator_origin_id=origin.get_id(), instigator_name="a_sensor",
            instigator_type=InstigatorType.SENSOR, status=status, timestamp=at,
            selector_id=origin.get_selector().get_id(), run_ids=[], run_keys=[],
            error=error if status == TickStatus.FAILURE else None,
        )
    )  # fmt: skip


def _sensor_origin() -> Any:
    from dagster._core.remote_origin import (
        RegisteredCodeLocationOrigin,
        RemoteInstigatorOrigin,
        RemoteRepositoryOrigin,
    )

    location = RegisteredCodeLocationOrigin("trade_pipeline")
    return RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "__repository__"), "a_sensor")


def test_a_tick_that_failed_is_an_incident_until_one_does_not(
    instance: dg.DagsterInstance, watch: Watch
) -> None:
    instance.add_instigator_state(
        InstigatorState(
            _sensor_origin(), InstigatorType.SENSOR, InstigatorStatus.RUNNING,
            SensorInstigatorData(),
        )
    )  # fmt: skip
    ticked(instance, TickStatus.SUCCESS, 1.0)
    assert watch.tick() == {}
    ticked(instance, TickStatus.FAILURE, 2.0)
    assert watch.tick() == {"sensor a_sensor": "the server is gone"}
    # One that has not ended says nothing.
    ticked(instance, TickStatus.STARTED, 3.0)
    assert set(watch.tick()) == {"sensor a_sensor"}
    ticked(instance, TickStatus.SKIPPED, 4.0)
    assert watch.tick() == {}


def test_an_asset_that_dagster_calls_stale_is_an_incident_until_it_is_made(
    instance: dg.DagsterInstance, watch: Watch
) -> None:
    def becomes(state: FreshnessState) -> None:
        instance._report_runless_asset_event(
            FreshnessStateChange(
                key=dg.AssetKey("trade_features"), new_state=state,
                previous_state=FreshnessState.UNKNOWN, state_change_timestamp=1.0,
            )
        )  # fmt: skip

    becomes(FreshnessState.WARN)
    assert watch.tick() == {}
    becomes(FreshnessState.FAIL)
    assert set(watch.tick()) == {"freshness of trade_features"}
    becomes(FreshnessState.PASS)
    assert watch.tick() == {}


def test_what_is_made_now_and_then_has_a_freshness_policy_that_the_ui_shows() -> None:
    graph = defs.resolve_asset_graph()
    with_policy = {
        key.to_user_string()
        for key in graph.get_all_asset_keys()
        if graph.get(key).freshness_policy is not None
    }
    assert with_policy == {
        "trade_features", "training_dataset", "eligible_model", "production_model", "ledger_head",
    }  # fmt: skip


def shown(instance: dg.DagsterInstance) -> dict[str, tuple[str, str]]:
    """What the UI shows of the checks, by asset."""
    keys = [dg.AssetCheckKey(dg.AssetKey(asset), "fresh") for asset in WATCHED]
    found = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    return {
        key.asset_key.to_user_string(): (
            record.status.value,
            record.event.dagster_event.asset_check_evaluation_data.description,
        )
        for key, record in found.items()
    }  # type: ignore[union-attr]


def test_a_wanted_account_that_nobody_trades_is_an_incident_that_its_asset_shows(
    store: Store, instance: dg.DagsterInstance, watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADE_PIPELINE_FRESHNESS", '{"session_seconds": 0.001}')
    with store.database.connect(autocommit=True) as connection:
        order_session(connection, paper.settings("unwatched"), by="test")
        subject = "live session of account unwatched"
        assert set(watch.tick()) == {subject}
        status, told = shown(instance)["live_session"]
        assert status == "FAILED"
        assert told.startswith(f"{subject}: the holder's newest heartbeat never came")
        # The check says the same when somebody asks it.
        job = dg.define_asset_job("ask", dg.AssetSelection.checks_for_assets("live_session"))
        asked = dg.Definitions(
            assets=defs.assets, asset_checks=defs.asset_checks, jobs=[job], resources=defs.resources
        )
        result = asked.resolve_job_def("ask").execute_in_process(
            instance=instance, run_config={"loggers": QUIET}
        )
        [evaluation] = result.get_asset_check_evaluations()
        assert (evaluation.passed, str(evaluation.description)[:20]) == (False, told[:20])
        end_sessions(connection, "unwatched", by="test")
        assert watch.tick() == {}
    assert shown(instance)["live_session"] == ("SUCCEEDED", "nothing of it is traded now")


def test_a_disk_with_too_little_room_for_a_wanted_account_is_an_incident(
    store: Store, watch: Watch, home: Path
) -> None:
    with store.database.connect(autocommit=True) as connection:
        config = paper.settings("greedy", limits={"min_free_mb": 1e12})
        order_session(connection, config, by="test")
        found = watch.tick()
        assert {"disk of the database", "disk of the artifacts"} <= set(found)
        assert found["disk of the artifacts"].startswith(f"the disk of the artifacts ({home}")
        end_sessions(connection, "greedy", by="test")
        assert watch.tick() == {}
