"""Protections: they stop entries, for as long as they say, and start again."""

from __future__ import annotations

import pytest

from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.records import TerminationReason
from trade_pipeline.core.strategy.config import ProtectionConfig
from trade_pipeline.core.strategy.protections import Protections

NOON = 100 * DAY + 12 * HOUR


def protections(**given: float) -> Protections:
    settings = {"daily_loss_limit": 0.15, "max_drawdown": 0.35} | given
    return Protections(ProtectionConfig.model_validate(settings), 1_000.0)


def refusal(protections: Protections, at: int, equity: float, token: int = 0) -> str | None:
    """What a decision does: note the equity, then ask."""
    protections.observe(at, equity)
    return protections.refusal(at, token, equity)


def test_a_quiet_day_refuses_nothing() -> None:
    assert refusal(protections(), NOON, 990.0) is None


def test_the_daily_loss_limit_holds_for_the_rest_of_the_utc_day() -> None:
    watched = protections()
    assert refusal(watched, NOON, 1_000.0) is None
    assert refusal(watched, NOON + HOUR, 850.1) is None
    assert refusal(watched, NOON + 2 * HOUR, 850.0) == "daily_loss_limit"
    assert refusal(watched, NOON + 11 * HOUR, 850.0) == "daily_loss_limit"
    assert refusal(watched, NOON + 12 * HOUR, 850.0) is None


def test_the_day_is_measured_from_its_own_start() -> None:
    watched = protections()
    refusal(watched, NOON, 1_000.0)
    assert refusal(watched, NOON + DAY, 800.0) is None
    assert refusal(watched, NOON + DAY + HOUR, 700.0) is None
    assert refusal(watched, NOON + DAY + 2 * HOUR, 680.0) == "daily_loss_limit"


def test_a_drawdown_is_told_from_the_highest_equity() -> None:
    watched = protections()
    assert watched.observe(NOON, 2_000.0) == 0.0
    assert watched.observe(NOON + HOUR, 1_500.0) == pytest.approx(0.25)
    assert watched.observe(NOON + 2 * HOUR, 1_000.0) == pytest.approx(0.5)


def test_a_deep_drawdown_pauses_and_the_peak_starts_anew_afterwards() -> None:
    watched = protections(max_drawdown=0.35, drawdown_pause_hours=24, daily_loss_limit=1)
    assert refusal(watched, NOON, 1_000.0) is None
    assert refusal(watched, NOON + HOUR, 650.0) == "max_drawdown"
    # A recovery in between does not end the pause.
    assert refusal(watched, NOON + 24 * HOUR, 1_000.0) == "max_drawdown"
    assert refusal(watched, NOON + 25 * HOUR, 600.0) is None
    assert watched.observe(NOON + 26 * HOUR, 570.0) == pytest.approx(0.05)
    assert refusal(watched, NOON + 27 * HOUR, 390.0) == "max_drawdown"


def test_a_lost_fund_is_a_whole_drawdown() -> None:
    watched = Protections(ProtectionConfig(), 0.0)
    assert watched.observe(NOON, 0.0) == 1.0


@pytest.mark.parametrize(
    ("reason", "cools"),
    [
        (TerminationReason.STOP_LOSS, True),
        (TerminationReason.RUGPULL_EXIT, True),
        (TerminationReason.PROFIT_TARGET, False),
        (TerminationReason.MAX_HOLD, False),
    ],
)
def test_only_a_bad_end_keeps_its_own_token_out_for_a_while(
    reason: TerminationReason, cools: bool
) -> None:
    watched = protections(cooldown_hours=6)
    watched.closed(NOON, 3, reason)
    assert refusal(watched, NOON + 6 * HOUR - 1, 1_000.0, token=3) == (
        "cooldown" if cools else None
    )
    assert refusal(watched, NOON + 6 * HOUR, 1_000.0, token=3) is None
    assert refusal(watched, NOON, 1_000.0, token=4) is None


def test_the_account_comes_before_the_token_when_several_refuse() -> None:
    watched = protections()
    watched.closed(NOON, 0, TerminationReason.STOP_LOSS)
    refusal(watched, NOON, 1_000.0)
    assert refusal(watched, NOON + 1, 800.0) == "daily_loss_limit"
    assert refusal(watched, NOON + 2, 600.0) == "max_drawdown"
