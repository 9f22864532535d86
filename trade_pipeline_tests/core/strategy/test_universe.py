"""The universe filter by code, and the volume of a day that completes it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trade_pipeline.core.market.event import DAY, MarketBatch
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.strategy.config import StrategyConfig, UniverseConfig
from trade_pipeline.core.strategy.evaluation import Evaluator
from trade_pipeline.core.strategy.universe import FILTERS, universe_codes
from trade_pipeline_tests.core.research.pools import KnownFeed

NAN = math.nan


def batch_of(
    rows: list[tuple[float, float, float]], volumes: list[float] | None = None
) -> MarketBatch:
    """Rows of (price, market cap, liquidity), a second apart, of one token."""
    length = len(rows)
    price, cap, liquidity = np.array(rows).T
    times = DAY + np.arange(length, dtype=np.int64) * 1_000_000
    volume, none = np.array(volumes or [0.0] * length), np.full(length, NAN)
    return MarketBatch(
        np.zeros(length, np.int32),
        *(times, times, price, none, none, none, volume, volume, liquidity, none, cap),
        *(none, none, none),
    )


@pytest.mark.parametrize(
    ("price", "cap", "liquidity", "failed"),
    [
        (1.0, 1e6, 5e4, ""),
        (NAN, 1e6, 5e4, "price_unknown"),
        (0.0, 1e6, 5e4, "price_unknown"),
        (1.0, NAN, 5e4, "market_cap_unknown"),
        (1.0, 99_999.0, 5e4, "market_cap"),
        (1.0, 100_000.0, 5e4, ""),
        (1.0, 5e7, 5e4, ""),
        (1.0, 50_000_001.0, 5e4, "market_cap"),
        (1.0, 1e6, 19_999.0, "liquidity"),
        (1.0, 1e6, 20_000.0, ""),
        (1.0, 1e6, NAN, ""),
        (NAN, NAN, 0.0, "price_unknown"),
        (1.0, NAN, 0.0, "market_cap_unknown"),
        (1.0, 1.0, 0.0, "market_cap"),
    ],
)
def test_each_filter_has_its_code_and_the_first_that_fails_is_named(
    price: float, cap: float, liquidity: float, failed: str
) -> None:
    codes = universe_codes(batch_of([(price, cap, liquidity)]), UniverseConfig())
    assert [FILTERS[code] for code in codes] == [failed]


def passes(batch: MarketBatch, *moments: int) -> list[bool]:
    """Whether the token's volume is enough at each of some moments, asked together."""
    history = MarketHistory(1)
    history.extend(batch)
    evaluator = Evaluator(StrategyConfig(), KnownFeed(), history, lambda known: {})
    windows = evaluator.windows(np.zeros(len(moments), np.int32), np.array(moments, np.int64))
    found: list[bool] = evaluator.traded_enough(windows).tolist()
    return found


@pytest.mark.parametrize(
    ("volumes", "enough"),
    [([60_000.0, 40_000.0], False), ([60_000.0, 40_001.0], True), ([200_000.0, 0.0], True)],
)
def test_the_volume_of_a_day_must_be_above_its_floor(volumes: list[float], enough: bool) -> None:
    batch = batch_of([(1.0, 1e6, 5e4)] * 2, volumes)
    first, last = batch.known_at.tolist()
    # A day later the trading of before no longer counts.
    assert passes(batch, last, first + DAY, last + DAY) == [enough, False, False]
    assert passes(batch, first + DAY - 1) == [enough]


def test_volume_of_after_the_moment_does_not_help() -> None:
    batch = batch_of([(1.0, 1e6, 5e4)] * 2, [90_000.0, 90_000.0])
    first, last = batch.known_at.tolist()
    assert passes(batch, first, last - 1, last) == [False, False, True]


def test_an_unknown_volume_is_not_enough() -> None:
    batch = batch_of([(1.0, 1e6, 5e4)] * 2, [900_000.0, NAN])
    assert passes(batch, int(batch.known_at[-1])) == [False]
