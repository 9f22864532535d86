"""The universe filter by code, and the volume of a day that completes it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from trade_pipeline.core.market.event import DAY, Instrument, MarketBatch, TokenFacts, TradeRules
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig
from trade_pipeline.core.strategy.config import StrategyConfig, UniverseConfig
from trade_pipeline.core.strategy.evaluation import Evaluator
from trade_pipeline.core.strategy.universe import FILTERS, universe_codes

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


class OnePool:
    """A feed of one token about which nothing is known."""

    kind = "simulated"
    instruments = (Instrument("pool"),)

    def facts(self, token: int, at: int) -> TokenFacts:
        return TokenFacts()

    def rules(self, token: int) -> TradeRules:
        return TradeRules()


@pytest.mark.parametrize(
    ("volumes", "failed"),
    [([60_000.0, 40_000.0], "volume"), ([60_000.0, 40_001.0], None), ([200_000.0, 0.0], None)],
)
def test_the_volume_of_a_day_must_be_above_its_floor(
    volumes: list[float], failed: str | None
) -> None:
    batch, history = batch_of([(1.0, 1e6, 5e4)] * 2, volumes), MarketHistory(1)
    history.extend(batch)
    evaluator = Evaluator(StrategyConfig(), OnePool(), history)  # type: ignore[arg-type]
    at = int(batch.known_at[-1])
    assert evaluator.failed_filter(0, 2, at, 0) == failed
    assert evaluator.failed_filter(0, 2, at, FILTERS.index("liquidity")) == "liquidity"
    # A day later the trading of before no longer counts.
    assert evaluator.failed_filter(0, 2, at + DAY, 0) == "volume"


def test_volume_after_the_counted_events_does_not_help() -> None:
    batch, history = batch_of([(1.0, 1e6, 5e4)] * 2, [90_000.0, 90_000.0]), MarketHistory(1)
    history.extend(batch)
    evaluator = Evaluator(StrategyConfig(), OnePool(), history)  # type: ignore[arg-type]
    assert evaluator.failed_filter(0, 1, int(batch.known_at[0]), 0) == "volume"


def test_momentum_of_sentiment_compares_with_the_configured_time_ago() -> None:
    start = 20_000 * DAY
    market = SimulatedMarket(
        SimulatorConfig(pools_per_day=20, burn_in_days=2), 3, start, start + DAY
    )
    history = MarketHistory(len(market.instruments))
    batch = next(iter(market.batches(0, start + DAY)))
    upto = history.extend(batch)
    strategy = StrategyConfig.model_validate({"signal": {"sentiment_momentum_hours": 2}})
    evaluator = Evaluator(strategy, market, history)
    checked = 0
    for row in range(0, len(batch), 97):
        token, at = int(batch.token[row]), int(batch.known_at[row])
        state = history.state(token, int(upto[row]), float(batch.quote_usd[row]))
        found = evaluator.evaluate(token, int(upto[row]), at, state).snapshot.sentiment
        now = market.facts(token, at).sentiment
        before = market.facts(token, at - DAY // 12).sentiment
        changes = [now[name] - before[name] for name in sorted(now) if name in before]
        checked += bool(changes)
        expected = sum(changes) / len(changes) if changes else None
        assert found.momentum == expected
    assert checked
