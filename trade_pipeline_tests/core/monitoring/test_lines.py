"""The other lines of a report, one by one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.monitoring.calibration import calibration
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.freshness import freshness
from trade_pipeline.core.monitoring.missing import missing_features
from trade_pipeline.core.monitoring.performance import performance_estimate
from trade_pipeline_tests.core.monitoring.made import decisions

CONFIG = MonitoringConfig()
NOW = datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "weaker",
    [
        {"tolerance": 0.03}, {"level": 0.01}, {"max_drift": 0.5}, {"max_drifted_share": 0.9},
        {"max_calibration_error": 0.2}, {"performance_margin": 0.1}, {"max_missing": 0.5},
        {"max_decision_hours": 100}, {"max_market_hours": 100}, {"fund_share": 0.9},
        {"restart_blocks": 365}, {"min_blocks": 100},
    ],
)  # fmt: skip
def test_no_limit_can_be_made_weaker(weaker: dict[str, float]) -> None:
    with pytest.raises(BadConfig, match=next(iter(weaker))):
        MonitoringConfig.parse(dict(weaker))


def wins(probability: np.ndarray, seed: int = 0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.where(draw.uniform(size=len(probability)) < probability, 0.1, -0.1)


def test_a_confidence_that_keeps_its_word_or_misses_the_level_alone_is_calibrated() -> None:
    honest = decisions(28, 20)
    for true in (honest.confidence, np.clip(honest.confidence - 0.15, 0, 1)):
        found = calibration(decisions(28, 20, returns=wins(true)), 28 * DAY, CONFIG)
        assert found.guardrail.passed
        assert found.guardrail.reason == ""
        assert len(found.tenths) == 10
        assert found.guardrail.numbers["low"] < found.guardrail.numbers["error"]


def test_a_confidence_that_turned_around_is_broken_and_few_labels_judge_nothing() -> None:
    honest = decisions(28, 20)
    turned = decisions(28, 20, returns=wins(1 - honest.confidence))
    assert not calibration(turned, 28 * DAY, CONFIG).guardrail.passed
    few = calibration(turned.since(19 * DAY), 28 * DAY, CONFIG)
    assert few.guardrail.passed
    assert "labels ended, needs 200" in few.guardrail.reason


def test_a_small_sample_of_an_honest_model_is_hardly_ever_called_uncalibrated() -> None:
    config = MonitoringConfig(min_labels=100)
    honest = decisions(8, 15)
    found = [
        calibration(
            decisions(8, 15, returns=wins(honest.confidence, seed)), 8 * DAY, config
        ).guardrail
        for seed in range(30)
    ]
    # The error of absolute distances is too large in so small a sample.
    assert sum(one.numbers["error"] > config.max_calibration_error for one in found) > 5
    assert sum(not one.passed for one in found) <= 1


def test_calibration_looks_at_the_newest_days() -> None:
    honest = decisions(90, 20)
    turned = np.where(honest.day >= 60, 1 - honest.confidence, honest.confidence)
    assert not calibration(
        decisions(90, 20, returns=wins(turned)), 90 * DAY, CONFIG
    ).guardrail.passed


def test_the_estimate_needs_no_label_and_stands_beside_what_came() -> None:
    open_ones = decisions(14, 30, ended_at=np.full(420, -1), returns=np.full(420, np.nan))
    found = performance_estimate(open_ones, 14 * DAY, CONFIG)
    assert found.passed
    assert found.numbers["labels"] == 0
    assert np.isnan(found.numbers["return"])
    told = performance_estimate(decisions(14, 30), 14 * DAY, CONFIG).numbers
    assert told["expected_return"] == found.numbers["expected_return"] > 0.01
    assert told["return"] == pytest.approx(told["expected_return"], abs=0.02)
    assert 0.5 < told["expected_profit_rate"] < 1


def test_a_model_that_enters_what_it_expects_to_lose_is_broken_before_any_label() -> None:
    known = decisions(14, 30)
    absurd = decisions(14, 30, predicted=-known.predicted, ended_at=np.full(420, -1))
    found = performance_estimate(absurd, 14 * DAY, CONFIG)
    assert not found.passed
    assert "allowed -0.0100" in found.reason
    falling = decisions(14, 30, predicted=known.predicted - 0.3)
    assert performance_estimate(falling, 14 * DAY, CONFIG).passed
    nothing = performance_estimate(decisions(14, 30, stake=np.zeros(420)), 14 * DAY, CONFIG)
    assert nothing.passed
    assert "it enters 0 candidates, needs 100" in nothing.reason


def test_inputs_that_go_missing_are_broken_beyond_what_training_lacked() -> None:
    inputs = np.zeros((420, 2))
    inputs[:, 0] = np.nan
    found = missing_features(decisions(14, 30, inputs=inputs), np.zeros((9, 2)), 14 * DAY, CONFIG)
    assert not found.passed
    assert "50.0% of the inputs are unknown, 0.0% in training" in found.reason
    assert missing_features(decisions(14, 30, inputs=inputs), inputs, 14 * DAY, CONFIG).passed
    few = missing_features(decisions(2, 30, inputs=inputs[:60]), inputs, 2 * DAY, CONFIG)
    assert "60 decisions, needs 100" in few.reason


def test_freshness_names_what_is_old() -> None:
    hour = timedelta(hours=1)
    assert freshness(NOW - 40 * hour, NOW - 20 * hour, NOW, CONFIG).passed
    old = freshness(NOW - 49 * hour, NOW - 20 * hour, NOW, CONFIG)
    assert (old.passed, old.reason) == (
        False, "the newest decision is 49.0 hours old, allowed 48",
    )  # fmt: skip
    market = freshness(NOW - 40 * hour, NOW - 25 * hour, NOW, CONFIG)
    assert "the newest market is 25.0 hours old, allowed 24" in market.reason
    assert "the newest decision is not there" in freshness(None, NOW, NOW, CONFIG).reason
