"""A canary's way through Dagster: begun, looked at, promoted, and never without its evidence."""

from __future__ import annotations

from typing import Any

import dagster as dg
import psycopg
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
        with psycopg.connect(
            strong_environment["TRADE_PIPELINE_DATABASE_URL"], autocommit=True
        ) as superuser:
            superuser.execute("SET session_replication_role = replica")
            change = (
                "UPDATE trade.model_evaluations SET evaluated_at = evaluated_at {} interval '1s'"
            )
            superuser.execute(change.format("+").encode())
            touched = run(instance, "promotion_job")
            passed = {c.check_name: c.passed for c in touched.get_asset_check_evaluations()}
            assert passed == {"promotes": True, "ledger_intact": False}
            (bad,) = (c for c in touched.get_asset_check_evaluations() if not c.passed)
            assert "evaluated_at" in str(bad.metadata["reason"].value)
            keys = {e.asset_key for e in touched.get_asset_materialization_events()}
            assert keys == {dg.AssetKey("canary_evaluation"), dg.AssetKey("ledger_head")}
            # A check blocks its own run alone; what promotes asks for itself.
            assert "the ledger is not untouched" in failure_of(
                materialise(instance, "production_model")
            )
            superuser.execute(change.format("-").encode())
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
