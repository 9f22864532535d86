"""A canary's way through Dagster: begun, looked at, promoted, and never without its evidence."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from trade_pipeline.core.canary.deployments import deployed
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.judgement import make_eligible
from trade_pipeline.definitions import defs
from trade_pipeline.defs.canary import canary_sensor
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session
from trade_pipeline_tests.defs.launch import QUIET, failure_of, materialise


def run(instance: dg.DagsterInstance, job: str) -> dg.ExecuteInProcessResult:
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, run_config={"loggers": QUIET}, raise_on_error=False
    )


def asked() -> list[Any]:
    """What the sensor asks for."""
    found = canary_sensor(dg.build_sensor_context(resources=dict(defs.resources or {})))
    return list(found)  # type: ignore[call-overload,no-any-return]


def test_a_canary_is_promoted_by_dagster_only_on_its_evidence(
    strong: Strong,
    strong_store: Store,
    strong_environment: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in strong_environment.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.ephemeral() as instance:
        none = run(instance, "canary_job")
        assert "no model is eligible" in failure_of(none)
        assert isinstance(asked()[0], dg.SkipReason)

        make_eligible(strong_store, strong.model)
        begun = run(instance, "canary_job")
        assert failure_of(begun) == ""
        (first,) = asked()
        assert first.run_config["ops"]["canary_evaluation"]["config"]["market"] == MARKET

        early = run(instance, "promotion_job")
        assert {c.check_name: c.passed for c in early.get_asset_check_evaluations()} == {
            "promotes": False
        }
        keys = {e.asset_key for e in early.get_asset_materialization_events()}
        assert keys == {dg.AssetKey("canary_evaluation")}
        alone = materialise(instance, "production_model")
        assert "extend" in failure_of(alone)

        store_later_session(strong_store, 14, "later", canary=strong.model)
        (later,) = asked()
        assert later.run_key != first.run_key
        done = run(instance, "promotion_job")
        assert failure_of(done) == ""
        assert all(c.passed for c in done.get_asset_check_evaluations())
        (event,) = done.asset_materializations_for_node("production_model")
        assert {"history", "timeline", "scope"} <= event.metadata.keys()
        (look,) = done.asset_materializations_for_node("canary_evaluation")
        assert look.metadata["decision"].value == "promote"
        with strong_store.database.connect("trade_reader") as connection:
            now = deployed(connection, Scope(MARKET))
        assert now.production is not None
        assert now.production.model_version == strong.model
        assert now.canary is None
        assert isinstance(asked()[0], dg.SkipReason)
