"""The monitoring in Dagster: a check that fails, and one rollback that follows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from trade_pipeline.core.monitoring.record import LINES
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs.monitoring import monitoring_schedule, rollback_sensor
from trade_pipeline_tests.core.monitoring.deployed import on_duty, put_into_production
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session
from trade_pipeline_tests.defs.launch import QUIET, failure_of


def run(
    instance: dg.DagsterInstance, job: str, ops: dict[str, Any] | None = None
) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, run_config={"loggers": QUIET, "ops": ops or {}}, raise_on_error=False
    )


def asked() -> list[Any]:
    """What the sensor asks for."""
    found = rollback_sensor(dg.build_sensor_context(resources=dict(defs.resources or {})))
    return list(found)  # type: ignore[call-overload,no-any-return]


def scheduled() -> list[Any]:
    """What the schedule asks for."""
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 5, 1, tzinfo=UTC), resources=defs.resources
    )
    return list(monitoring_schedule(context))  # type: ignore[call-overload,no-any-return]


def test_a_failed_check_is_followed_by_one_rollback(
    strong: Strong,
    strong_store: Store,
    strong_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in strong_environment.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        assert "no model is in production" in failure_of(run(instance, "monitoring_job"))
        assert isinstance(scheduled()[0], dg.SkipReason)

        put_into_production(strong_store, strong.model)
        (planned,) = scheduled()
        place = planned.run_config["ops"]["monitoring_report"]["config"]
        assert place == {"market": MARKET, "venue": "default", "account": "backtest"}
        early = run(instance, "monitoring_job", planned.run_config["ops"])
        assert failure_of(early) == ""
        checks = {c.check_name: c.passed for c in early.get_asset_check_evaluations()}
        assert checks == dict.fromkeys(LINES, True)
        assert isinstance(asked()[0], dg.SkipReason)

        store_later_session(strong_store, 16, "turned", skill=-1.0)
        only_told = {"monitoring_report": {"config": place | {"act": False}}}
        told = run(instance, "monitoring_job", only_told)
        (event,) = told.asset_materializations_for_node("monitoring_report")
        assert event.metadata["rolled_back"].value is False
        assert {"drift", "drift_picture", "expectation", "calibration"} <= event.metadata.keys()
        evaluations = {c.check_name: c for c in told.get_asset_check_evaluations()}
        assert not evaluations["expectation"].passed
        assert evaluations["expectation"].severity == dg.AssetCheckSeverity.ERROR
        assert evaluations["freshness"].severity == dg.AssetCheckSeverity.WARN
        assert on_duty(strong_store).production is not None

        (request,) = asked()
        assert request.run_key == event.metadata["report"].value
        assert asked()[0].run_key == request.run_key
        done = run(instance, "rollback_job", request.run_config["ops"])
        assert failure_of(done) == ""
        now = on_duty(strong_store)
        assert (now.production, now.fund_share) == (None, 0.5)
        assert isinstance(asked()[0], dg.SkipReason)
        again = run(instance, "rollback_job", request.run_config["ops"])
        assert "is not in production any more" in failure_of(again)
