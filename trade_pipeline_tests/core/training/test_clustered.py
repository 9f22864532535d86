"""Intervals that know that candidates of a day and of a token move together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from trade_pipeline.core.training.clustered import (
    difference_interval,
    market_adjusted,
    mean_interval,
    r2_interval,
    rank_interval,
)

DAYS, TOKENS, ROWS = 60, 25, 1_200


def together(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Day, token and values with mean zero that their day and their token share."""
    draw = np.random.default_rng(seed)
    day, token = draw.integers(0, DAYS, ROWS), draw.integers(0, TOKENS, ROWS)
    values = draw.normal(size=DAYS)[day] + 0.5 * draw.normal(size=TOKENS)[token]
    return day, token, values + draw.normal(size=ROWS)


def test_the_truth_lies_in_the_interval_as_often_as_it_says() -> None:
    covered = naive = 0
    for seed in range(300):
        day, token, values = together(seed)
        found = mean_interval(values, np.ones(ROWS), day, token)
        covered += found.low <= 0 <= found.high
        naive += abs(values.mean()) <= 1.96 * values.std() / ROWS**0.5
    assert covered >= 0.9 * 300
    # The same without clusters is right in a third of the cases.
    assert naive < 0.6 * 300


def test_the_rank_correlation_of_two_unrelated_columns_is_seldom_beyond_doubt() -> None:
    wrong = 0
    for seed in range(200):
        day, token, values = together(seed)
        other = np.random.default_rng(seed + 1_000).normal(size=DAYS)[day]
        found = rank_interval(other, values, day, token)
        wrong += not found.low <= 0 <= found.high
    assert wrong <= 0.1 * 200


def test_the_values_are_those_of_the_textbooks() -> None:
    day, token, values = together(1)
    predicted = values + np.random.default_rng(2).normal(size=ROWS)
    assert rank_interval(predicted, values, day, token).value == pytest.approx(
        spearmanr(predicted, values).statistic
    )
    error = np.sum((values - predicted) ** 2) / np.sum((values - 0.3) ** 2)
    assert r2_interval(predicted, 0.3, values, day, token).value == pytest.approx(1 - error)
    one, other = np.random.default_rng(3).uniform(size=(2, ROWS))
    assert difference_interval(values, one, other, day, token).value == pytest.approx(
        np.average(values, weights=one) - np.average(values, weights=other)
    )


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 1_000), st.floats(0.1, 10))
def test_a_scale_of_the_stakes_changes_nothing(seed: int, scale: float) -> None:
    day, token, values = together(seed)
    one, other = np.random.default_rng(seed).uniform(size=(2, ROWS))
    found = difference_interval(values, one, other, day, token)
    scaled = difference_interval(values, scale * one, scale * other, day, token)
    assert (found.low, found.high) == pytest.approx((scaled.low, scaled.high))


def test_market_adjusted_returns_of_a_day_sum_to_zero() -> None:
    day, _, values = together(4)
    adjusted = market_adjusted(values, day)
    assert np.bincount(day, adjusted) == pytest.approx(0, abs=1e-9)
    assert market_adjusted(np.array([0.4]), np.array([7])).tolist() == [0.0]


@pytest.mark.parametrize("stake", [np.zeros(4), np.array([1.0, 0, 0, 0])])
def test_too_little_to_tell_is_not_a_number(stake: np.ndarray) -> None:
    one_day = np.zeros(4, np.int64)
    found = mean_interval(np.arange(4.0), stake, one_day, one_day)
    assert np.isnan([found.value, found.low, found.high]).all()
