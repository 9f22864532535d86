"""Platt's curve, alone and beside odds that are known only while learning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from trade_pipeline.core.features.calibration import (
    fit_platt,
    fit_platt_beside,
    platt_probability,
)

DRAW = np.random.default_rng(0)
ROWS, DAYS = 20_000, 100
ODDS = DRAW.normal(0, 1.5, DAYS)[DRAW.integers(0, DAYS, ROWS)]
MARGIN = DRAW.normal(size=ROWS)
HAPPENED = DRAW.random(ROWS) < 1 / (1 + np.exp(-(ODDS + 0.6 * MARGIN)))
WEIGHT = DRAW.uniform(0.5, 1.5, ROWS)


def test_it_is_the_logistic_regression_on_the_margin() -> None:
    expected = LogisticRegression(C=np.inf, tol=1e-10).fit(
        MARGIN[:, None], HAPPENED, sample_weight=WEIGHT
    )
    slope, offset = fit_platt(MARGIN, HAPPENED, WEIGHT)
    # The difference is Platt's smoothing of the targets.
    assert slope == pytest.approx(expected.coef_[0, 0], abs=1e-3)
    assert offset == pytest.approx(expected.intercept_[0], abs=1e-3)


def test_beside_the_odds_of_the_days_their_unrest_does_not_flatten_the_curve() -> None:
    alone, _ = fit_platt(MARGIN, HAPPENED, WEIGHT)
    beside, _ = fit_platt_beside(MARGIN, HAPPENED, WEIGHT, ODDS)
    assert beside == pytest.approx(0.6, abs=0.05)
    assert alone < 0.48


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.01, 30), shift=st.floats(-5, 5))
def test_the_mean_probability_is_the_share_that_happened(scale: float, shift: float) -> None:
    margin = scale * MARGIN[:500] + shift
    slope, offset = fit_platt_beside(margin, HAPPENED[:500], WEIGHT[:500], ODDS[:500])
    mean = np.average(platt_probability(margin, slope, offset), weights=WEIGHT[:500])
    assert mean == pytest.approx(np.average(HAPPENED[:500], weights=WEIGHT[:500]), abs=1e-9)


def test_margins_that_rank_backwards_tell_nothing() -> None:
    slope, offset = fit_platt_beside(-MARGIN, HAPPENED, WEIGHT, ODDS)
    assert slope == 0
    share = np.average(HAPPENED, weights=WEIGHT)
    assert offset == pytest.approx(np.log(share / (1 - share)))
