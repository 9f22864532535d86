"""A production model that is watched: what breaks it, what takes it back, and what does not."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trade_pipeline.core.canary.deployments import NotDeployed, history, promote, rollback
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.canary.watch import DeploymentWatch
from trade_pipeline.core.monitoring.production import monitor_production
from trade_pipeline.core.monitoring.record import LINES, MonitoringReport
from trade_pipeline.core.monitoring.reports import act_on, breaches, is_acted_on, read_report
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.registry import read_model
from trade_pipeline_tests.core.monitoring.deployed import SCOPE, on_duty, put_into_production
from trade_pipeline_tests.core.samples import count_rows
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session


def line(report: MonitoringReport, name: str) -> Mapping[str, Any]:
    (found,) = (one for one in report.lines if one["name"] == name)
    return found


def failed(report: MonitoringReport) -> set[str]:
    return {str(one["name"]) for one in report.lines if not one["passed"]}


def test_a_model_whose_signal_turns_is_taken_back_for_the_heuristic_with_half_of_the_fund(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    put_into_production(store, strong.model)
    store_later_session(store, 16, "turned", skill=-1.0)
    with DeploymentWatch(store, SCOPE) as watch:
        assert watch.models().fund_share == 1.0
    report = monitor_production(store, SCOPE)
    assert "expectation" in failed(report)
    assert (report.broken, report.rolls_back) == (True, True)
    assert [one["name"] for one in report.lines] == list(LINES)
    now = on_duty(store)
    assert (now.production, now.fund_share) == (None, 0.5)
    with DeploymentWatch(store, SCOPE) as watch:
        assert watch.models().production.version == HEURISTIC_VERSION
        assert watch.models().fund_share == 0.5
    with store.database.connect("trade_reader") as connection:
        last = history(connection, SCOPE)[-1].deployment
        assert (last.stage, last.slot, last.report_id) == ("retired", "production", report.report_id)
        assert "expectation" in last.reason
        assert read_report(connection, report.report_id) == report
        assert is_acted_on(connection, report)
    with pytest.raises(NotDeployed, match="no model is in production, the heuristic decides"):
        monitor_production(store, SCOPE)
    put_into_production(store, strong.model)
    assert on_duty(store).fund_share == 1.0


def test_a_model_whose_signal_holds_stays_and_the_same_look_is_stored_once(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    put_into_production(store, strong.model)
    store_later_session(store, 16, "later")
    report = monitor_production(store, SCOPE)
    assert failed(report) == set()
    assert not any("not judged" in one["reason"] for one in report.lines)
    assert {"confidence", "expected_return", "volatility_24h"} <= {one["name"] for one in report.drift}
    assert len(report.sequence["means"]) >= 14
    estimate = line(report, "performance_estimate")["numbers"]
    assert estimate["expected_return"] > 0.01
    assert estimate["return"] == pytest.approx(estimate["expected_return"], abs=0.02)
    assert estimate["profit_rate"] == pytest.approx(estimate["expected_profit_rate"], abs=0.1)
    with store.database.connect() as connection:
        before = count_rows(connection)
        assert monitor_production(store, SCOPE).report_id == report.report_id
        assert count_rows(connection) == before
    production = on_duty(store).production
    assert production is not None
    assert production.model_version == strong.model


def test_only_what_was_decided_since_the_deployment_and_is_known_by_then_counts(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    store_later_session(store, 16, "turned", skill=-1.0)
    put_into_production(store, strong.model)
    report = monitor_production(store, SCOPE)
    assert report.starts_at == report.looked_at
    assert line(report, "works")["numbers"]["decisions"] == 0
    assert failed(report) == set()
    assert all("not judged yet" in one["reason"] for one in report.lines[1:-1])
    with store.database.connect() as connection:
        rollback(connection, SCOPE, by="t", reason="t")
        connection.commit()


def test_what_ended_or_was_decided_after_the_moment_is_not_known(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    put_into_production(store, strong.model)
    store_later_session(store, 16, "turned", skill=-1.0)
    whole = monitor_production(store, SCOPE, act=False)
    early = monitor_production(store, SCOPE, whole.looked_at - timedelta(days=12), act=False)
    assert "closed blocks, needs 5" in line(early, "expectation")["reason"]
    assert line(early, "works")["numbers"]["decisions"] < 5 * 20
    assert not early.broken
    assert whole.rolls_back
    assert on_duty(store).production is not None


def test_a_stale_feed_fails_and_takes_nothing_back(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    put_into_production(store, strong.model)
    store_later_session(store, 16, "later")
    fresh = monitor_production(store, SCOPE)
    later = fresh.looked_at + timedelta(hours=49)
    stale = monitor_production(store, SCOPE, later)
    assert failed(stale) == {"freshness"}
    assert "49.0 hours old, allowed 48" in stale.reason
    assert (stale.broken, stale.rolls_back) == (True, False)
    assert on_duty(store).production is not None
    with (
        store.database.connect() as connection,
        pytest.raises(NotDeployed, match="asks for no rollback"),
    ):
        act_on(connection, stale, by="t")


@pytest.mark.parametrize("fault", ["raises", "says nothing", "its file is gone"])
def test_a_model_that_cannot_decide_is_taken_back(
    fresh_strong_store: Store, strong: Strong, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fresh_strong_store
    put_into_production(store, strong.model)
    store_later_session(store, 2, "later")
    real = TradeModel.predict

    def predict(model: TradeModel, features: Any) -> object:
        if fault == "raises":
            raise RuntimeError("out of trees")
        found = real(model, features)
        found.confidence[:1] = float("nan")
        return found

    if fault == "its file is gone":
        with store.database.connect("trade_reader") as connection:
            address = read_model(connection, strong.model).artifact
        file = next(Path(strong.artifacts).rglob(f"*{address.removeprefix('sha256:')[4:]}*"))
        content = file.read_bytes()
        file.chmod(0o644)
        file.unlink()
        try:
            report = monitor_production(store, SCOPE)
        finally:
            file.write_bytes(content)
    else:
        monkeypatch.setattr(TradeModel, "predict", predict)
        report = monitor_production(store, SCOPE)
    assert failed(report) == {"works"}
    assert {"raises": "out of trees", "says nothing": "confidence=nan"}.get(
        fault, "FileNotFoundError"
    ) in report.reason
    now = on_duty(store)
    assert (now.production, now.fund_share) == (None, 0.5)


def test_a_report_is_acted_on_once_and_never_takes_back_what_came_later(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    put_into_production(store, strong.model)
    store_later_session(store, 16, "turned", skill=-1.0)
    report = monitor_production(store, SCOPE, act=False)
    with store.database.connect() as connection:
        assert [one.report_id for one in breaches(connection)] == [report.report_id]
        act_on(connection, report, by="t")
        assert breaches(connection) == []
        with pytest.raises(NotDeployed, match="is not in production any more"):
            act_on(connection, report, by="t")
        promote(connection, SCOPE, strong.model, by="t", reason="t", override="again")
        assert breaches(connection) == []
        with pytest.raises(NotDeployed, match="is not in production any more"):
            act_on(connection, report, by="t")
        connection.commit()


def test_the_database_lets_no_report_take_back_what_it_did_not_look_at(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    put_into_production(store, strong.model)
    store_later_session(store, 16, "turned", skill=-1.0)
    broken = monitor_production(store, SCOPE, act=False)
    with store.database.connect() as connection:
        harmless = monitor_production(
            store, SCOPE, broken.looked_at - timedelta(days=12), act=False
        )
        for report, error in (
            (harmless, psycopg.errors.ForeignKeyViolation),
            (broken, None),
            (broken, psycopg.errors.CheckViolation),
        ):
            with connection.transaction():
                pass
            if error is None:
                retire(connection, strong.model, report.report_id)
                promote(connection, SCOPE, strong.model, by="t", reason="t", override="again")
                continue
            with pytest.raises(error), connection.transaction():
                retire(connection, strong.model, report.report_id)
        with pytest.raises(psycopg.errors.CheckViolation), connection.transaction():
            retire(connection, strong.model, None, share=0.0)


def retire(
    connection: psycopg.Connection, model: str, report: str | None, share: float = 0.5
) -> None:
    from trade_pipeline.core.canary.record import Deployment
    from trade_pipeline.core.ledger.append import append_now, read_chain
    from trade_pipeline_tests.core.samples import START

    record = Deployment(
        model, MARKET, "default", "backtest", "retired", "production", START, "t", "t",
        fund_share=share, report_id=report,
    )  # fmt: skip
    append_now(connection, read_chain(connection, f"deployments:{SCOPE}"), record)


def test_the_model_before_decides_again_where_there_is_one(
    fresh_strong_store: Store, strong: Strong, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trade_pipeline.core.training.config import TrainingConfig
    from trade_pipeline.core.training.register import train_model

    store = fresh_strong_store
    put_into_production(store, strong.model)
    second = train_model(
        store, strong.dataset, TrainingConfig(trials=2, folds=3, name="second", seed=3)
    )
    with store.database.connect("trade_writer", autocommit=True) as connection:
        store_eligible(connection, second.model_version)
    with store.database.connect() as connection:
        promote(
            connection, SCOPE, second.model_version, by="t", reason="t", override="a better one"
        )
        connection.commit()
    store_later_session(store, 16, "turned", skill=-1.0)
    first = monitor_production(store, SCOPE)
    now = on_duty(store)
    assert now.production is not None
    assert (now.production.model_version, now.fund_share) == (strong.model, 1.0)
    # It is judged by what is decided from now on.
    again = monitor_production(store, SCOPE)
    assert again.deployment == now.production.deployment_id
    assert again.starts_at == first.looked_at
    assert not again.broken


def store_eligible(connection: psycopg.Connection, model: str) -> None:
    """What says that a model passed, without asking its gates about a used holdout window."""
