"""Figures against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import matthews_corrcoef, roc_auc_score

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.rug_metrics import auc, auc_gain, best_threshold, rug_metrics

RUG = np.array([True, True, True, False, False])
PROBABILITY = np.array([0.95, 0.6, 0.2, 0.6, 0.1])

labelled = st.lists(
    st.tuples(st.booleans(), st.integers(0, 8).map(lambda n: n / 8)), min_size=2, max_size=40
).filter(lambda rows: len({rug for rug, _ in rows}) == 2)


def test_the_figures_of_five_tokens() -> None:
    m = rug_metrics(RUG, PROBABILITY, 0.6)
    # Six pairs: 4 in order, 1 tie, 1 reversed.
    assert m.auc == pytest.approx(4.5 / 6)
    assert (m.precision, m.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert m.safe_f1 == pytest.approx(0.5)
    assert m.mcc == pytest.approx(1 / 6)
    assert m.brier == pytest.approx((0.0025 + 0.16 + 0.64 + 0.36 + 0.01) / 5)
    # Bins: .95 (1 of 1), the .6s (1 of 2), .2 (1 of 1), .1 (0 of 1).
    assert m.ece == pytest.approx((0.05 + 2 * 0.1 + 0.8 + 0.1) / 5)
    assert [(b.low, b.tokens, b.rug_share) for b in m.reliability] == [
        (0.1, 1, 0.0), (0.2, 1, 1.0), (0.6, 2, 0.5), (0.9, 1, 1.0),
    ]  # fmt: skip


def test_a_token_may_have_its_own_threshold() -> None:
    m = rug_metrics(RUG, PROBABILITY, np.array([0.9, 0.7, 0.1, 0.7, 0.2]))
    assert (m.precision, m.recall, m.threshold) == (1.0, pytest.approx(2 / 3), pytest.approx(0.52))


def test_no_token_called_a_rug_has_no_precision() -> None:
    m = rug_metrics(RUG, PROBABILITY, 0.99)
    assert np.isnan(m.precision)
    assert (m.recall, m.mcc) == (0.0, 0.0)


@given(labelled)
def test_auc_is_that_of_scikit_learn(rows: list[tuple[bool, float]]) -> None:
    rug, score = np.array([r for r, _ in rows]), np.array([s for _, s in rows])
    assert auc(rug, score) == pytest.approx(roc_auc_score(rug, score))


@settings(max_examples=40)
@given(labelled)
def test_no_threshold_agrees_better_than_the_best_one(rows: list[tuple[bool, float]]) -> None:
    rug, score = np.array([r for r, _ in rows]), np.array([s for _, s in rows])
    best = best_threshold(rug, score, np.ones(len(rows)))
    found = matthews_corrcoef(rug, score >= best)
    assert best in score
    assert all(found >= matthews_corrcoef(rug, score >= t) - 1e-12 for t in set(score.tolist()))


def test_weights_count_in_the_threshold() -> None:
    rug = np.array([True, False, True, False])
    score = np.array([0.9, 0.6, 0.5, 0.1])
    assert best_threshold(rug, score, np.array([1.0, 9.0, 1.0, 1.0])) == 0.9
    assert best_threshold(rug, score, np.array([1.0, 1.0, 9.0, 1.0])) == 0.5


def test_a_gain_is_paired_and_reproducible() -> None:
    random = np.random.default_rng(0)
    rug = random.uniform(size=400) < 0.5
    good, poor = rug + random.normal(size=400), rug + 4 * random.normal(size=400)
    low, high = auc_gain(rug, good, poor, draws=200)
    assert 0 < low < auc(rug, good) - auc(rug, poor) < high
    assert auc_gain(rug, good, poor, draws=200) == (low, high)
    # The same ranking gains exactly nothing in every draw.
    assert auc_gain(rug, good, np.exp(good), draws=50) == (0.0, 0.0)


def test_impossible_inputs_are_named() -> None:
    with pytest.raises(BadConfig, match=r"probability=1\.5"):
        rug_metrics(RUG, np.array([0.5, 1.5, 0.5, 0.5, 0.5]), 0.5)
    with pytest.raises(BadConfig, match="probability=nan"):
        rug_metrics(RUG, np.array([0.5, np.nan, 0.5, 0.5, 0.5]), 0.5)
    with pytest.raises(BadConfig, match="4 values for 5"):
        rug_metrics(RUG, PROBABILITY[1:], 0.5)
    with pytest.raises(BadConfig, match="3 rugs among 3"):
        rug_metrics(RUG[:3], PROBABILITY[:3], 0.5)
