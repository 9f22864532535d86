"""A production model that is watched: what breaks it, what takes it back, and what does not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.canary.deployments import NotDeployed, history, promote, rollback
from trade_pipeline.core.canary.watch import DeploymentWatch
from trade_pipeline.core.monitoring.production import monitor_production
from trade_pipeline.core.monitoring.record import LINES, MonitoringReport
from trade_pipeline.core.monitoring.reports import act_on, is_acted_on, read_report
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.registry import read_model
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.monitoring.deployed import SCOPE, on_duty, put_into_production
from trade_pipeline_tests.core.samples import count_rows
from trade_pipeline_tests.core.training.strong import Strong, store_later_session


@pytest.fixture(scope="module")
def template(server: EmbeddedPostgres, strong: Strong) -> str:
    """A database with the strong model in production."""
    with create_database(server, "strong", name="produced") as database:
        put_into_production(Store(database, ArtifactStore(strong.artifacts)), strong.model)
    return "produced"


@pytest.fixture
def produced(server: EmbeddedPostgres, strong: Strong, template: str) -> Iterator[Store]:
    """A copy of it of a test's own."""
    with create_database(server, template) as database:
        yield Store(database, ArtifactStore(strong.artifacts))


def line(report: MonitoringReport, name: str) -> Mapping[str, Any]:
    (found,) = (one for one in report.lines if one["name"] == name)
    return found


def failed(report: MonitoringReport) -> set[str]:
    return {str(one["name"]) for one in report.lines if not one["passed"]}


def test_a_model_whose_signal_turns_is_taken_back_for_the_heuristic_with_half_of_the_fund(
    produced: Store, strong: Strong
) -> None:
    store = produced
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
        assert (last.stage, last.slot, last.report_id) == (
            "retired",
            "production",
            report.report_id,
        )
        assert "expectation" in last.reason
        assert read_report(connection, report.report_id) == report
        assert is_acted_on(connection, report)
    with pytest.raises(NotDeployed, match="no model is in production, the heuristic decides"):
        monitor_production(store, SCOPE)
    with store.database.connect() as connection:
        promote(connection, SCOPE, strong.model, by="t", reason="t", override="again")
        connection.commit()
    assert on_duty(store).fund_share == 1.0


def test_a_model_whose_signal_holds_stays_and_the_same_look_is_stored_once(
    produced: Store, strong: Strong
) -> None:
    store = produced
    store_later_session(store, 16, "later")
    report = monitor_production(store, SCOPE)
    assert failed(report) == set()
    assert not any("not judged" in one["reason"] for one in report.lines)
    assert {"confidence", "expected_return", "volatility_72h"} <= {
        one["name"] for one in report.drift
    }
    assert len(report.sequence["means"]) >= 14
    estimate = line(report, "performance_estimate")["numbers"]
    assert estimate["expected_return"] > 0.01
    assert estimate["return"] == pytest.approx(estimate["expected_return"], abs=0.04)
    assert estimate["profit_rate"] == pytest.approx(estimate["expected_profit_rate"], abs=0.1)
    with store.database.connect() as connection:
        before = count_rows(connection)
        assert monitor_production(store, SCOPE).report_id == report.report_id
        assert count_rows(connection) == before
    production = on_duty(store).production
    assert production is not None
    assert production.model_version == strong.model


def test_only_what_was_decided_since_the_deployment_and_is_known_by_then_counts(
    produced: Store, strong: Strong
) -> None:
    store = produced
    store_later_session(store, 16, "turned", skill=-1.0)
    with store.database.connect() as connection:
        rollback(connection, SCOPE, by="t", reason="t")
        promote(connection, SCOPE, strong.model, by="t", reason="t", override="again")
        connection.commit()
    report = monitor_production(store, SCOPE)
    assert report.starts_at == report.looked_at
    assert line(report, "works")["numbers"]["decisions"] == 0
    assert failed(report) == set()
    assert all("not judged yet" in one["reason"] for one in report.lines[1:-1])


def test_what_ended_or_was_decided_after_the_moment_is_not_known(
    produced: Store, strong: Strong
) -> None:
    store = produced
    store_later_session(store, 16, "turned", skill=-1.0)
    whole = monitor_production(store, SCOPE, act=False)
    early = monitor_production(store, SCOPE, whole.looked_at - timedelta(days=12), act=False)
    assert "closed blocks, needs 5" in line(early, "expectation")["reason"]
    decided = line(early, "works")["numbers"]["decisions"]
    assert line(early, "calibration")["numbers"]["labels"] < decided < 5 * 20
    assert not early.broken
    assert whole.rolls_back
    assert on_duty(store).production is not None


def test_a_stale_feed_fails_and_takes_nothing_back(produced: Store, strong: Strong) -> None:
    store = produced
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
    produced: Store, strong: Strong, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = produced
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
