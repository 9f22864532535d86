"""The position size: bounded by cash, fraction and impact, and smaller the less is certain."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.strategy.config import SizingConfig
from trade_pipeline.core.strategy.sizing import Account, position_size

CONFIG = SizingConfig(max_fraction=0.2, min_stake_usd=20, target_volatility=0.05)
ACCOUNT = Account(cash_usd=1_000.0, equity_usd=1_000.0, drawdown=0.0, open_positions=0)


def size(
    account: Account = ACCOUNT,
    *,
    confidence: float = 1.0,
    volatility: float | None = 0.05,
    capacity: float | None = None,
    min_confidence: float = 0.55,
    config: SizingConfig = CONFIG,
) -> float:
    return position_size(
        config,
        account,
        confidence=confidence,
        min_confidence=min_confidence,
        volatility=volatility,
        impact_capacity_usd=capacity,
    )


def test_full_confidence_at_target_volatility_gets_the_full_fraction() -> None:
    assert size() == pytest.approx(200.0)


def test_the_threshold_confidence_gets_half() -> None:
    assert size(confidence=0.55) == pytest.approx(100.0)
    assert size(confidence=0.775) == pytest.approx(150.0)


def test_volatility_above_the_target_scales_down_and_below_it_never_up() -> None:
    assert size(volatility=0.1) == pytest.approx(100.0)
    assert size(volatility=0.2) == pytest.approx(50.0)
    assert size(volatility=0.01) == pytest.approx(200.0)
    assert size(volatility=0.0) == pytest.approx(200.0)


def test_unknown_volatility_is_treated_as_high() -> None:
    assert size(volatility=None) == pytest.approx(100.0)


def test_a_drawdown_scales_down_to_a_quarter_at_the_least() -> None:
    assert size(replace(ACCOUNT, drawdown=0.2)) == pytest.approx(160.0)
    assert size(replace(ACCOUNT, drawdown=0.9)) == pytest.approx(50.0)


def test_the_stake_never_exceeds_cash_or_what_the_pool_can_take() -> None:
    assert size(replace(ACCOUNT, cash_usd=70.0)) == 70.0
    assert size(capacity=35.0) == 35.0
    assert size(capacity=None) == pytest.approx(200.0)


def test_a_stake_below_the_smallest_is_none_at_all() -> None:
    assert size(capacity=20.0) == 20.0
    assert size(capacity=19.99) == 0.0
    assert size(replace(ACCOUNT, cash_usd=-5.0)) == 0.0


def test_a_threshold_of_one_leaves_no_division_by_zero() -> None:
    assert size(confidence=1.0, min_confidence=1.0) == pytest.approx(200.0)


@given(
    equity=st.floats(0, 1e7),
    cash=st.floats(-100, 1e7),
    drawdown=st.floats(0, 1),
    confidence=st.floats(0, 1),
    volatility=st.none() | st.floats(0, 10),
    capacity=st.none() | st.floats(0, 1e7),
    fraction=st.floats(0.01, 1),
)
def test_the_stake_is_always_within_every_bound(
    equity: float,
    cash: float,
    drawdown: float,
    confidence: float,
    volatility: float | None,
    capacity: float | None,
    fraction: float,
) -> None:
    config = SizingConfig(max_fraction=fraction)
    stake = size(
        Account(cash, equity, drawdown, 0),
        confidence=confidence,
        volatility=volatility,
        capacity=capacity,
        config=config,
    )
    assert stake == 0.0 or stake >= config.min_stake_usd
    assert stake <= max(0.0, cash)
    assert stake <= equity * fraction * (1 + 1e-12)
    assert capacity is None or stake <= capacity


@given(
    confidence=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    volatility=st.tuples(st.floats(0, 3), st.floats(0, 3)),
    drawdown=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_less_certainty_never_means_a_larger_stake(
    confidence: tuple[float, float],
    volatility: tuple[float, float],
    drawdown: tuple[float, float],
) -> None:
    good = size(
        replace(ACCOUNT, drawdown=min(drawdown)),
        confidence=max(confidence),
        volatility=min(volatility),
    )
    bad = size(
        replace(ACCOUNT, drawdown=max(drawdown)),
        confidence=min(confidence),
        volatility=max(volatility),
    )
    assert bad <= good * (1 + 1e-12)
