"""What a canary can be expected to show."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trade_pipeline.core.canary.blocks import PairedDecisions, stake_per_block
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.power import power_report, run_canaries, sample_blocks
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY, HOUR

CONFIG = CanaryConfig()


def paired(days: int = 120, noise: float = 0.1, seed: int = 0) -> PairedDecisions:
    """Candidates of a day move together in ten groups, as candidates of a few tokens do."""
    draw = np.random.default_rng(seed)
    count = days * 40
    at = np.arange(count) * (DAY // 40)
    group = draw.normal(0, noise, (days, 10)).repeat(4, axis=1).ravel()
    return PairedDecisions(
        at=at,
        canary_stake=(draw.random((days, 10)) < 0.4).repeat(4, axis=1).ravel() * 0.8,
        production_stake=(draw.random((days, 10)) < 0.4).repeat(4, axis=1).ravel() * 0.8,
        returns=group + draw.normal(0, 0.02, count),
        ended_at=at + 30 * HOUR,
    )


def report(decisions: PairedDecisions):  # type: ignore[no-untyped-def]
    return power_report(decisions, stake_per_block(decisions, 24), CONFIG)


def test_a_quiet_pair_has_power_and_a_loud_one_has_none() -> None:
    quiet, loud = report(paired(noise=0.1)), report(paired(noise=1.5))
    assert quiet.enough
    assert not loud.enough
    assert quiet.blocks_a_week == pytest.approx(7, abs=0.1)
    assert loud.spread > 10 * quiet.spread
    # Four candidates move as one.
    assert 2.5 < quiet.design_effect < 5


def test_the_better_it_is_the_more_often_and_the_sooner_it_is_promoted() -> None:
    expected = report(paired(noise=0.25)).expected
    assert [one.effect for one in expected] == sorted(one.effect for one in expected)
    promoted = [one.promoted for one in expected]
    assert promoted == sorted(promoted)
    back = [one.rolled_back for one in expected]
    assert back == sorted(back, reverse=True)
    assert expected[-1].days < expected[2].days or math.isnan(expected[2].days)


def test_without_a_history_nothing_is_told() -> None:
    with pytest.raises(BadConfig, match="10 closed blocks before the canary, expected at least 14"):
        report(paired(days=10))


def test_worse_canaries_are_hardly_promoted_and_equal_ones_hardly_rolled_back() -> None:
    draw = np.random.default_rng(6)
    # Loud and heavy-tailed, two days alike.
    values = np.repeat(0.03 * draw.standard_t(4, 150), 2) + draw.normal(0, 0.02, 300)
    ratio = report(paired()).variance_ratio
    ratio = max(ratio, 1.6)
    drawn = sample_blocks(values - values.mean(), CONFIG, 1_000, 0)
    worse = run_canaries(drawn - CONFIG.margin, CONFIG, ratio).verdict
    equal = run_canaries(drawn, CONFIG, ratio).verdict
    assert (worse == 1).mean() <= 0.05
    assert (equal == -1).mean() <= 0.05
