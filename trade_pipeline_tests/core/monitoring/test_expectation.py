"""Returns against what the model expected: an honest model stays, one that turned does not."""

from __future__ import annotations

import numpy as np
import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.decisions import JudgedDecisions
from trade_pipeline.core.monitoring.expectation import (
    Expectation,
    expectation,
    judge_blocks,
    yardstick,
)
from trade_pipeline_tests.core.monitoring.made import decisions

CONFIG = MonitoringConfig()


def judged(found: JudgedDecisions, days: int) -> Expectation:
    return expectation(found, yardstick(decisions(40, 50, seed=9), CONFIG), days * DAY, CONFIG)


def test_the_value_of_a_block_is_what_it_earns_more_than_expected_market_adjusted() -> None:
    found = decisions(6, 10)
    before = yardstick(decisions(40, 50, seed=9), CONFIG)
    mean = expectation(found, before, 6 * DAY, CONFIG).sequence.mean
    by_hand = []
    for day in range(5):
        rows = found.day == day
        more, expected = found.returns[rows], found.predicted[rows]
        value = found.stake[rows] * ((more - more.mean()) - (expected - expected.mean()))
        by_hand.append(value.sum() / before.stake)
    assert mean[:5] == pytest.approx(np.cumsum(by_hand) / np.arange(1, 6))


def test_a_market_that_falls_for_all_candidates_breaks_nothing() -> None:
    found = decisions(30, 50)
    fallen = decisions(30, 50, returns=found.returns - 0.3)
    assert judged(fallen, 30).upper[5:] == pytest.approx(judged(found, 30).upper[5:])
    assert judged(found, 30).guardrail.passed


def test_a_signal_that_turns_around_is_broken_within_two_weeks() -> None:
    found = judged(decisions(14, 50, skill=-2.0), 14).guardrail
    assert not found.passed
    assert "allowed -0.0225" in found.reason


def test_a_shortfall_within_the_tolerance_is_no_breach_however_sure_it_is() -> None:
    values = np.random.default_rng(4).normal(-0.015, 0.002, 60)
    found = judge_blocks(values, 1.0, CONFIG)
    assert found.upper[-1] < 0
    assert found.guardrail.passed
    assert not judge_blocks(values - 0.01, 1.0, CONFIG).guardrail.passed


def test_blocks_that_resemble_their_neighbours_widen_the_sequence() -> None:
    alone = decisions(120, 50)
    draw = np.random.default_rng(5)
    # What days share with the next ones moves what is entered, not all candidates.
    shared = np.convolve(draw.normal(0, 0.1, 122), np.ones(3) / np.sqrt(3), "valid")
    together = decisions(120, 50, returns=alone.returns + shared[alone.day] * (alone.stake > 0))
    narrow, wide = (yardstick(one, CONFIG).variance_ratio for one in (alone, together))
    assert 1.0 <= narrow < 1.4 < wide
    found = [
        judge_blocks(np.random.default_rng(6).normal(0, 0.05, 30), ratio, CONFIG).upper[-1]
        for ratio in (narrow, wide)
    ]
    assert found[0] < found[1]


def test_too_few_closed_blocks_or_a_label_that_is_open_judge_nothing() -> None:
    turned = decisions(14, 50, skill=-2.0)
    few = judged(turned, 4).guardrail
    assert few.passed
    assert "not judged yet: 3 closed blocks, needs 5" in few.reason
    open_day = np.where(turned.day == 3, -1, turned.ended_at)
    waiting = judged(decisions(14, 50, skill=-2.0, ended_at=open_day), 14).guardrail
    assert waiting.numbers["blocks"] == judged(turned, 14).guardrail.numbers["blocks"] - 1


def test_a_model_that_stakes_nothing_has_no_yardstick() -> None:
    with pytest.raises(BadConfig, match="production_stake"):
        yardstick(decisions(20, 10, stake=np.zeros(200)), CONFIG)


def test_looking_after_every_block_for_eight_months_hardly_ever_breaks_an_honest_model() -> None:
    draw = np.random.default_rng(1)
    rounds, blocks = 60, 250
    exact = at_tolerance = 0
    for _ in range(rounds):
        # Fat tails, as stakes on few candidates have them.
        values = 0.05 * draw.standard_t(4, blocks) / np.sqrt(2)
        upper = judge_blocks(values, 1.0, CONFIG).upper
        exact += bool((upper < -CONFIG.tolerance).any())
        # The same with a shortfall that is just allowed.
        at_tolerance += bool((upper < 0).any())
    assert exact == 0
    assert at_tolerance <= 2 * CONFIG.level * rounds


def test_the_upper_end_at_a_look_is_that_of_what_was_known_then() -> None:
    values = np.random.default_rng(3).normal(0, 0.05, 70)
    upper = judge_blocks(values, 1.2, CONFIG).upper
    for count in (10, 40, 69):
        then = judge_blocks(values[:count], 1.2, CONFIG)
        assert then.upper == pytest.approx(upper[:count])
        assert then.guardrail.numbers["high"] == then.upper[-1]


def test_harm_after_a_long_good_past_is_found_by_a_sequence_that_began_later() -> None:
    draw = np.random.default_rng(2)
    values = np.concatenate([draw.normal(0.02, 0.05, 280), draw.normal(-0.12, 0.05, 30)])
    found = judge_blocks(values, 1.0, CONFIG)
    assert not found.guardrail.passed
    assert found.sequence.high[-1] > 0
    assert found.guardrail.numbers["since_block"] == 281
    assert "since block 281 of 310" in found.guardrail.reason
