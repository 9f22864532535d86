"""The confidence sequence: what the literature says of it, and how often it errs."""

from __future__ import annotations

import numpy as np
import pytest
from report.record import counted
from scipy.integrate import quad
from scipy.stats import nct, norm, t

from trade_pipeline.core.canary.power import sequences, variance_ratio
from trade_pipeline.core.canary.sequence import (
    PRIOR_BLOCKS,
    confidence_sequence,
    critical_values,
)

LEVEL, BLOCKS, RUNS = 0.05, 56, 10_000


@pytest.mark.parametrize("count", [7, 12, 30, 56])
def test_at_its_end_the_mixture_of_t_densities_is_as_likely_as_ville_allows(count: int) -> None:
    """The likelihood of a t-statistic under the prior, integrated, against that without effect."""
    reach = critical_values(count, LEVEL)[-1]
    prior = norm(0, 1 / np.sqrt(PRIOR_BLOCKS))

    def weighed(effect: float) -> float:
        return float(nct.pdf(reach, count - 1, effect * np.sqrt(count)) * prior.pdf(effect))

    likely, _ = quad(weighed, -4, 4, limit=400)
    assert likely / t.pdf(reach, count - 1) == pytest.approx(1 / (2 * LEVEL), rel=1e-4)


def test_for_many_blocks_it_is_the_normal_mixture_of_an_independent_implementation() -> None:
    # ville 0.1.0: _boundaries.normal_mixture(n, 0.1, 4.0) / sqrt(n)
    found = critical_values(20_000, LEVEL)
    assert found[999] == pytest.approx(3.1892233564961168, rel=3e-3)
    assert found[19_999] == pytest.approx(3.6228701149887326, rel=3e-4)


@pytest.mark.reliability
@pytest.mark.parametrize("kind", ["normal", "heavy tails", "neighbours alike"])
def test_the_mean_is_hardly_ever_left_however_often_one_looks(kind: str) -> None:
    draw = np.random.default_rng(0)
    values, ratio = draw.normal(size=(RUNS, BLOCKS)), 1.0
    if kind == "heavy tails":
        values = draw.standard_t(3, size=(RUNS, BLOCKS))
    if kind == "neighbours alike":
        for block in range(1, BLOCKS):
            values[:, block] += 0.3 * values[:, block - 1]
        # As a history tells it; see the next test.
        ratio = 1.3 / 0.7
    low, high = sequences(values, LEVEL, ratio)
    for outside in (low > 0, high < 0):
        left = outside.any(axis=1)
        assert left.mean() <= LEVEL
        counted(f"canary.sequence_errs.{kind}", left.sum(), RUNS, size=f"{BLOCKS} looks")


def test_a_history_tells_how_alike_neighbours_are() -> None:
    draw = np.random.default_rng(1)
    alone = draw.normal(size=4_000)
    shared = alone[1:] + alone[:-1]
    assert variance_ratio(alone, 2) == pytest.approx(1.0, abs=0.1)
    # Bartlett's weights count two thirds of the first lag's correlation of one half.
    assert variance_ratio(shared, 2) == pytest.approx(1 + 2 * (2 / 3) * 0.5, abs=0.1)
    assert variance_ratio(np.array([1.0, -1.0] * 50), 2) == 1.0
    assert variance_ratio(np.zeros(5), 2) == 1.0


def test_one_sequence_and_many_at_once_are_the_same() -> None:
    values = np.random.default_rng(2).normal(0.01, 0.02, (3, 20))
    low, high = sequences(values, LEVEL, 1.4)
    for row in range(3):
        alone = confidence_sequence(values[row], LEVEL, 1.4)
        assert np.allclose(alone.low, low[row])
        assert np.allclose(alone.high, high[row])


def test_few_blocks_tell_nothing_and_unit_and_sign_do_not_matter() -> None:
    values = np.random.default_rng(3).normal(1, 2, 30)
    found = confidence_sequence(values, LEVEL)
    assert np.isinf(found.low[:5]).all()
    assert np.isfinite(found.low[7:]).all()
    turned = confidence_sequence(-1_000 * values, LEVEL)
    assert np.allclose(turned.low[7:], -1_000 * found.high[7:])
    assert len(confidence_sequence(np.array([]), LEVEL).mean) == 0
