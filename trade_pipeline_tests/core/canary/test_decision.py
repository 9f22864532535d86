"""What becomes of a canary."""

from __future__ import annotations

import numpy as np
import pytest

from trade_pipeline.core.canary.blocks import Blocks
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.decision import CanaryDecision, decide_canary
from trade_pipeline.core.canary.guardrails import (
    Guardrail,
    drawdown,
    execution_gap,
    latency,
    off_policy,
    sample_ratio,
    share_of,
    tail_loss,
    worst_loss,
)
from trade_pipeline.core.canary.power import run_canaries
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY

CONFIG = CanaryConfig()
GOOD = np.random.default_rng(0).normal(0.0, 0.01, 60)


def looked(
    values: np.ndarray, days: float, guardrails: list[Guardrail] | None = None, entries: int = 99
) -> CanaryDecision:
    blocks = Blocks(np.arange(len(values)) * DAY, values, np.full(len(values), 50), 2)
    return decide_canary(blocks, guardrails or [], 0, int(days * DAY), CONFIG, entries=entries)


def test_one_that_is_as_good_is_promoted_when_that_is_shown() -> None:
    found = looked(GOOD[:20], 22)
    assert found.verdict == "promote"
    assert float(found.sequence.low[-1]) >= -CONFIG.margin


def test_before_two_days_or_eight_blocks_nothing_is_promoted() -> None:
    early = looked(GOOD[:20] / 100, 1.9)
    assert (early.verdict, early.reasons) == ("extend", ("45.6 hours, needs 48",))
    few = looked(GOOD[:7] / 100, 10)
    assert (few.verdict, few.reasons) == ("extend", ("7 closed blocks, needs 8",))


def test_one_that_does_harm_is_rolled_back_at_once() -> None:
    found = looked(GOOD[:9] - 0.08, 1)
    assert found.verdict == "rollback"
    assert "harm is shown" in found.reasons[0]


def test_one_that_shows_neither_is_extended_and_expires_without_harm() -> None:
    loud = GOOD[:20] * 30
    assert looked(loud, 22).verdict == "extend"
    expired = looked(loud, 56)
    assert expired.verdict == "expired"
    assert "56 days are over" in expired.reasons
    assert "harm" not in " ".join(expired.reasons)


def test_a_broken_guardrail_rolls_back_whatever_the_mean_is() -> None:
    broken = drawdown(np.array([1.0, 0.5]), np.array([1.0, 0.95]))
    found = looked(GOOD[:20] + 0.05, 22, [latency(1.0), broken])
    assert (found.verdict, len(found.reasons)) == ("rollback", 1)
    assert found.reasons[0].startswith("drawdown: -50.0% deep")


@pytest.mark.parametrize(
    ("values", "days", "told"),
    [
        (np.array([]), 30, "0 closed blocks"),
        (np.full(20, np.nan), 30, "unknown"),
        (np.append(GOOD[:19], np.nan), 30, "unknown"),
        (GOOD[:20], -3, "72.0 hours before the canary's start"),
    ],
)
def test_what_cannot_be_told_is_extended_and_says_why(
    values: np.ndarray, days: float, told: str
) -> None:
    found = looked(values, days)
    assert found.verdict == "extend"
    assert told in "; ".join(found.reasons)


def test_a_copy_of_production_is_as_good_as_production() -> None:
    assert looked(np.zeros(8), 11).verdict == "promote"


def test_one_that_never_stakes_anything_is_not_promoted_however_little_harm_it_does() -> None:
    idle = looked(np.zeros(20), 22, entries=3)
    assert (idle.verdict, idle.reasons) == ("extend", ("stakes on 3 candidates, needs 30",))
    assert looked(np.zeros(54), 56, entries=3).verdict == "expired"


def test_many_canaries_at_once_end_as_each_alone() -> None:
    draw = np.random.default_rng(4)
    values = draw.normal(draw.choice([-0.02, 0.0, 0.02], (60, 1)), 0.02, (60, 54))
    found = run_canaries(values, CONFIG)
    for row in range(60):
        ended, day = 0, 56.0
        for count in range(1, 55):
            one = looked(values[row, :count], count + 2)
            if one.verdict in ("promote", "rollback"):
                ended, day = (1 if one.verdict == "promote" else -1), float(count + 2)
                break
        assert (found.verdict[row], found.days[row]) == (ended, day)


def test_the_safe_limits_can_only_be_made_stricter() -> None:
    for name, weaker in (
        ("margin", 0.03), ("level", 0.1), ("min_hours", 47), ("min_blocks", 7), ("max_days", 57),
        ("min_power", 0.7), ("min_entries", 29), ("share", 0.3),
    ):  # fmt: skip
        with pytest.raises(BadConfig, match=name):
            CanaryConfig.parse({name: weaker})


def test_guardrails_hold_for_an_ordinary_canary_and_break_for_a_sick_one() -> None:
    draw = np.random.default_rng(5)
    returns = draw.normal(0, 0.1, 400)
    pairs = [
        (tail_loss(returns, returns), tail_loss(returns - 0.2, returns)),
        (execution_gap(returns, returns + 0.01), execution_gap(returns - 0.1, returns)),
        (share_of("errors", 0, 500, 0.01), share_of("errors", 20, 500, 0.01)),
        (latency(2.0), latency(80.0)),
        (worst_loss(-0.2, -0.15), worst_loss(-0.3, -0.15)),
        (sample_ratio(52, 480, 0.1), sample_ratio(120, 480, 0.1)),
        (
            drawdown(np.array([1, 0.9]), np.array([1, 0.9])),
            drawdown(np.array([1, 0.7]), np.ones(2)),
        ),
    ]
    for well, sick in pairs:
        assert well.passed
        assert not well.reason
        assert not sick.passed
        assert sick.reason


def test_a_sound_split_and_a_sound_venue_are_hardly_ever_doubted_however_often_one_looks() -> None:
    """200 canaries of 300 windows and 120 trades each, looked at after every tenth."""
    draw = np.random.default_rng(6)
    doubted = 0
    for _ in range(200):
        drawn = draw.random(300) < 0.1
        gap = draw.normal(-0.02, 0.05, 120)
        doubted += any(
            not sample_ratio(int(drawn[:n].sum()), int((~drawn[:n]).sum()), 0.1).passed
            for n in range(10, 301, 10)
        )
        doubted += any(not execution_gap(gap[:n], np.zeros(n)).passed for n in range(10, 121, 10))
    assert doubted <= 3


def test_nothing_traded_breaks_no_guardrail() -> None:
    none = np.array([])
    for one in (
        tail_loss(none, none), execution_gap(none, none), share_of("errors", 0, 0, 0.01),
        sample_ratio(0, 0, 0.1), drawdown(none, none),
    ):  # fmt: skip
        assert one.passed


def test_the_off_policy_estimate_weighs_by_the_arms_chance() -> None:
    canary = np.array([True, True, False, False])
    found = off_policy(np.array([0.1, 0.3, 0.0, 0.1]), np.array([0.1, 0.5, 0.9, 0.9]), canary)
    assert found.difference == pytest.approx((0.1 * 10 + 0.3 * 2) / 12 - 0.05)
    assert found.effective == pytest.approx(12**2 / (100 + 4))
