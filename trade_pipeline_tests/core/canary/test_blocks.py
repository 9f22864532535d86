"""Paired decisions by blocks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.canary.blocks import PairedDecisions, block_values, stake_per_block
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY, HOUR


def decisions(days: int = 10, per_day: int = 20, seed: int = 0) -> PairedDecisions:
    draw = np.random.default_rng(seed)
    count = days * per_day
    at = np.arange(count) * (DAY // per_day)
    return PairedDecisions(
        at=at,
        canary_stake=draw.choice([0.0, 0.6, 1.0], count),
        production_stake=draw.choice([0.0, 0.5, 0.9], count),
        returns=draw.normal(0, 0.1, count),
        ended_at=at + draw.integers(1, 48, count) * HOUR,
    )


def test_a_value_is_the_stake_weighted_difference_over_productions_stake() -> None:
    given = PairedDecisions(
        at=np.array([0, HOUR, 2 * HOUR]),
        canary_stake=np.array([1.0, 0.0, 0.5]),
        production_stake=np.array([0.0, 1.0, 0.5]),
        returns=np.array([0.3, -0.1, 0.1]),
        ended_at=np.array([HOUR, 5 * HOUR, 30 * HOUR]),
    )
    found = block_values(given, 3 * DAY, 24, production_stake=2.0)
    # The mean return is .1: the canary gains .2 on the first and is spared .2 on the second.
    assert found.value.tolist() == pytest.approx([(0.2 + 0.2) / 2.0])
    assert found.candidates.tolist() == [3]
    # The last label ends after thirty hours.
    assert len(block_values(given, 29 * HOUR, 24, 2.0).value) == 0
    assert block_values(given, 29 * HOUR, 24, 2.0).waiting == 1
    assert len(block_values(given, 30 * HOUR, 24, 2.0).value) == 1


def test_a_model_beside_itself_is_worth_nothing() -> None:
    same = decisions()
    same = replace(same, canary_stake=same.production_stake)
    assert (block_values(same, 20 * DAY, 24, 1.0).value == 0).all()


def test_what_moves_all_candidates_of_a_block_does_not_count() -> None:
    plain = decisions()
    day = plain.at // DAY
    moved = replace(plain, returns=plain.returns + 0.05 * day)
    assert np.allclose(
        block_values(plain, 20 * DAY, 24, 1.0).value, block_values(moved, 20 * DAY, 24, 1.0).value
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 12 * 24), st.integers(1, 48))
def test_nothing_that_is_known_later_changes_a_closed_block(hours: int, length: int) -> None:
    whole, until = decisions(), hours * HOUR
    known = (whole.ended_at <= until) & (whole.at <= until)
    seen = replace(
        whole,
        returns=np.where(known, whole.returns, np.nan),
        ended_at=np.where(known, whole.ended_at, -1),
    )
    now, later = (block_values(one, until, length, 1.0) for one in (seen, whole))
    assert now.start.tolist() == later.start.tolist()
    assert now.value.tolist() == later.value.tolist()
    assert np.isfinite(now.value).all()
    assert ((now.start + length * HOUR) <= until).all()
    final = block_values(whole, 99 * DAY, length, 1.0)
    kept = np.isin(final.start, now.start)
    assert final.value[kept].tolist() == now.value.tolist()


def test_production_that_staked_nothing_cannot_be_compared_with() -> None:
    idle = replace(decisions(), production_stake=np.zeros(200))
    with pytest.raises(BadConfig, match=r"production_stake=0\.0"):
        block_values(idle, 20 * DAY, 24, stake_per_block(idle, 24))
    with pytest.raises(BadConfig, match="canary_stake=nan"):
        replace(decisions(), canary_stake=np.full(200, np.nan))


def test_the_mean_stake_is_that_of_blocks_with_decisions() -> None:
    some = decisions()
    expected = some.production_stake.reshape(10, 20).sum(axis=1).mean()
    assert stake_per_block(some, 24) == pytest.approx(expected)
    assert stake_per_block(replace(some, at=some.at * 3), 24) < expected
