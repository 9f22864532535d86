"""The research in columns: from what was known by each moment, and unknown where nothing was."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.market.event import (
    DAY,
    FACT_NAMES,
    HOUR,
    SENTIMENT,
    Floats,
    Instrument,
    MarketBatch,
)
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig
from trade_pipeline.core.research.columns import REFERENCE, Researcher
from trade_pipeline.core.research.rug import WEIGHTS
from trade_pipeline_tests.core.research.pools import KnownFeed, bar_events, pool_events

START = 1_640_995_200_000_000  # 2022-01-01


def research(
    *batches: MarketBatch, at: int | None = None, feed: KnownFeed | None = None
) -> dict[str, float]:
    """What is known of token 0 at a moment (default: its last event); what is not is left out."""
    feed = feed or KnownFeed()
    history = MarketHistory(len(feed.instruments))
    for batch in batches:
        history.extend(batch)
    moment = int(batches[0].known_at[-1]) if at is None else at
    researcher = Researcher(feed, history)
    windows = researcher.windows(np.zeros(1, np.int32), np.array([moment]))
    columns = researcher.columns(windows, feed.facts_at(windows.token, windows.at))
    return {name: float(values[0]) for name, values in columns.items() if values[0] == values[0]}


def born(created_at: int) -> KnownFeed:
    return KnownFeed([Instrument("pool", created_at=created_at)])


def knowing(**facts: Any) -> KnownFeed:
    """A market that knows facts; a sentiment by ``sentiment_<source>``."""
    told = {
        name.replace("sentiment_", SENTIMENT) if name.startswith("sentiment_") else name: value
        for name, value in facts.items()
    }
    return KnownFeed(facts=told)


# Prices


def test_returns_volatility_drawdown_and_recovery_are_of_their_windows() -> None:
    hours = list(range(80))
    prices = [100.0 + hour for hour in hours]
    prices[-1] = 90.0
    found = research(pool_events([h * HOUR for h in hours], prices, [1.0] * 80))
    assert found["return_1h"] == pytest.approx(90 / 178 - 1)
    assert found["return_6h"] == pytest.approx(90 / 173 - 1)
    assert found["return_24h"] == pytest.approx(90 / 155 - 1)
    assert found["return_72h"] == pytest.approx(90 / 107 - 1)
    assert found["drawdown_24h"] == pytest.approx(1 - 90 / 178)
    assert found["recovery_24h"] == 0.0
    for length in (6, 24, 72):
        then, now = np.array(prices[79 - length : 79]), np.array(prices[80 - length : 80])
        moves = 2 * (now - then) / (now + then)
        assert found[f"volatility_{length}h"] == pytest.approx(moves.std())


def test_a_drawdown_and_a_recovery_begin_at_their_window_and_not_before() -> None:
    hours = [0, 30, 60, 100]
    found = research(pool_events([h * HOUR for h in hours], [9.0, 1.0, 4.0, 2.0], [1.0] * 4))
    # 72 h ago the price of hour 0 was long gone; 24 h ago that of hour 60 held.
    assert found["drawdown_72h"] == pytest.approx(0.5)
    assert found["recovery_72h"] == pytest.approx(1.0)
    assert found["drawdown_24h"] == pytest.approx(0.5)
    assert found["recovery_24h"] == 0.0


def test_what_a_young_token_cannot_know_is_unknown_and_not_zero() -> None:
    found = research(pool_events([0, HOUR], [1.0, 2.0], [10.0, 10.0]))
    assert found["return_1h"] == pytest.approx(1.0)
    unknown = {f"return_{h}h" for h in (6, 24, 72)} | {f"volatility_{h}h" for h in (6, 24, 72)}
    unknown |= {"supply_change_24h", "liquidity_change_24h", "reference_return_24h"}
    assert not unknown & set(found)
    three = research(pool_events([n * HOUR for n in range(3)], [1.0, 2.0, 3.0], [1.0] * 3))
    assert "volatility_24h" not in three
    four = research(pool_events([n * HOUR for n in range(4)], [1.0, 2.0, 3.0, 2.0], [1.0] * 4))
    assert four["volatility_24h"] == four["volatility_6h"] > 0


def test_a_price_of_before_a_pool_was_emptied_is_not_the_price_of_now() -> None:
    times = [n * HOUR for n in range(5)]
    found = research(pool_events(times, [1.0, 2.0, 3.0, math.nan, math.nan], [1.0] * 5))
    gone = {"return_1h", "return_6h", "drawdown_24h", "recovery_24h", "volatility_6h"}
    assert not gone & set(found)


def test_the_reference_is_the_quote_token_on_pools() -> None:
    quotes = [1_000.0, 1_100.0, 1_210.0, 1_210.0]
    times = [0, 23 * HOUR, 24 * HOUR, 24 * HOUR + 1]
    found = research(pool_events(times, [1.0] * 4, [1.0] * 4, quote_usd=quotes), at=24 * HOUR)
    assert found["reference_return_24h"] == pytest.approx(0.21)
    assert found["reference_return_1h"] == pytest.approx(0.1)


def test_the_reference_is_bitcoin_on_an_exchange() -> None:
    feed = KnownFeed([Instrument("PEPE/USDT"), Instrument(REFERENCE)], kind="spot-1h")
    hours = [n * HOUR for n in range(25)]
    pepe = bar_events(hours, [1.0] * 25)
    bitcoin = bar_events(hours, [100.0] + [105.0] * 23 + [110.0], token=1)
    found = research(pepe, bitcoin, feed=feed)
    assert found["reference_return_24h"] == pytest.approx(0.1)
    assert found["reference_return_1h"] == pytest.approx(110 / 105 - 1)
    # Of several moments at once, each has the reference's price of its own.
    history = MarketHistory(2)
    history.extend(pepe)
    history.extend(bitcoin)
    researcher = Researcher(feed, history)
    token, at = np.array([0, 0, 1, 1], np.int32), np.array([1, 24, 23, 24]) * HOUR
    windows = researcher.windows(token, at)
    moves = researcher.columns(windows, {})["reference_return_1h"]
    assert moves == pytest.approx([0.05, 110 / 105 - 1, 0.0, 110 / 105 - 1])


# Trading and liquidity


def test_flows_count_buys_and_sells_of_the_window() -> None:
    times = [0, 30 * HOUR, 53 * HOUR, 53 * HOUR + HOUR // 2]
    batch = pool_events(times, [1.0] * 4, [500.0, 300.0, -100.0, 40.0], market_cap=1_000.0)
    found = research(batch)
    assert (found["volume_1h_usd"], found["volume_6h_usd"]) == (140.0, 140.0)
    assert found["volume_24h_usd"] == 440.0
    assert (found["buys_24h"], found["sells_24h"]) == (2, 1)
    assert found["buy_share_24h"] == pytest.approx(2 / 3)
    assert found["flow_imbalance_24h"] == pytest.approx(240 / 440)
    assert found["flow_imbalance_1h"] == pytest.approx(-60 / 140)
    assert found["turnover_24h"] == pytest.approx(440 / 100_000)
    assert found["volume_to_market_cap_24h"] == pytest.approx(0.44)
    assert found["volume_acceleration"] == pytest.approx(24 * 140 / 440)
    assert found["largest_trade_share_24h"] == pytest.approx(300 / 440)
    assert found["mean_trade_24h_usd"] == pytest.approx(440 / 3)


def test_a_window_begins_after_its_first_moment_and_ends_with_its_last() -> None:
    batch = pool_events([0, 1, DAY, DAY + 1], [1.0] * 4, [8.0, 4.0, 2.0, 1.0])
    assert research(batch, at=DAY)["volume_24h_usd"] == 6.0
    assert research(batch, at=DAY - 1)["volume_24h_usd"] == 12.0


def test_a_day_without_a_trade_has_no_shares_of_it() -> None:
    found = research(pool_events([0], [1.0], [5.0]), at=2 * DAY)
    assert (found["volume_24h_usd"], found["buys_24h"], found["sells_24h"]) == (0.0, 0.0, 0.0)
    assert found["turnover_24h"] == 0.0
    none = {"buy_share_24h", "flow_imbalance_24h", "largest_trade_share_24h", "mean_trade_24h_usd"}
    assert not none & set(found)


def test_removed_liquidity_is_a_share_of_the_most_there_was() -> None:
    held = [100_000.0, 75_000.0]
    batch = pool_events([0, HOUR], [1.0, 1.0], [1.0, 0.0], changes=[0.0, -25_000.0], liquidity=held)
    found = research(batch)
    assert found["liquidity_removed_24h"] == pytest.approx(25_000 / 125_000)
    assert found["rug_liquidity_removed"] == pytest.approx((25_000 / 125_000) / 0.5)
    # What was added does not make up for it, and after a day it is forgotten.
    added = pool_events([0, HOUR], [1.0, 1.0], [1.0, 0.0], changes=[-25_000.0, 25_000.0])
    assert research(added)["liquidity_removed_24h"] == pytest.approx(0.2)
    assert research(batch, at=HOUR + DAY)["liquidity_removed_24h"] == 0.0


def test_liquidity_is_compared_with_before_and_with_its_peak() -> None:
    times = [0, 10 * HOUR, 60 * HOUR, 83 * HOUR, 84 * HOUR]
    held = [900.0, 400.0, 100.0, 50.0, 100.0]
    batch = pool_events(times, [1.0] * 5, [1.0] * 5, liquidity=held)
    found = research(batch)
    assert found["liquidity_change_1h"] == pytest.approx(1.0)
    assert found["liquidity_change_24h"] == 0.0
    assert found["liquidity_from_peak_72h"] == 0.0
    # The peak of hour 10 leaves the window of 72 h at hour 82.
    assert research(batch, at=82 * HOUR)["liquidity_from_peak_72h"] == 0.0
    assert research(batch, at=82 * HOUR - 1)["liquidity_from_peak_72h"] == pytest.approx(0.75)


def test_supply_is_market_cap_by_price_and_what_the_pool_holds_a_share_of_it() -> None:
    batch = pool_events([0, DAY], [1.0, 2.0], [1.0, 1.0], market_cap=[1e6, 3e6])
    found = research(batch)
    assert found["supply_change_24h"] == pytest.approx(0.5)
    assert found["supply_in_pool_share"] == pytest.approx(25_000 / 1.5e6)
    assert found["market_cap_to_liquidity"] == pytest.approx(30.0)


def test_an_exchange_states_no_liquidity_and_no_flow_so_neither_is_judged() -> None:
    found = research(bar_events([n * HOUR for n in range(30)], [2.0] * 30, spread=0.5))
    assert found["volume_24h_usd"] == 24_000.0
    assert found["bar_range_1h"] == 0.25
    assert found["rug_risk"] == 0.0
    assert not {f"rug_{name}" for name in WEIGHTS} & set(found)
    needing = ("flow", "buy", "sell", "liquidity", "turnover", "supply", "largest", "mean_trade")
    assert not [name for name in found if name.startswith(needing)]


# Facts, age and what was said


def test_age_is_since_creation_and_unknown_without_it() -> None:
    batch = pool_events([10 * DAY, 10 * DAY + 36 * HOUR], [1.0, 1.0], [1.0, 1.0])
    assert not {"token_age_hours", "rug_young_token"} & set(research(batch))
    young = research(batch, feed=born(10 * DAY))
    assert young["token_age_hours"] == 36.0
    assert young["rug_young_token"] == pytest.approx(0.5)
    assert research(batch, feed=born(0))["rug_young_token"] == 0.0


def test_facts_are_told_as_they_are_and_unknown_ones_stay_unknown() -> None:
    batch = pool_events([DAY], [1.0], [1.0])
    facts = {"holders": 12.0, "mintable": 1.0, "sell_tax": 0.05}
    found = research(batch, feed=knowing(**facts))
    assert {name: found[name] for name in FACT_NAMES if name in found} == facts
    assert found["rug_mintable"] == 1.0
    assert found["rug_trade_tax"] == pytest.approx(0.25)


def test_facts_are_compared_with_those_of_a_day_before() -> None:
    batch = pool_events([0, 2 * DAY], [1.0, 1.0], [1.0, 1.0])
    facts = {
        "holders": [(0, 100.0), (DAY, 120.0), (DAY + 1, 150.0)],
        "developer_share": [(0, 0.3), (DAY + 1, 0.1)],
        "lp_locked_share": [(DAY + 1, 0.5)],
    }
    found = research(batch, feed=knowing(**facts))
    assert found["holders_growth_24h"] == pytest.approx(0.25)
    assert found["developer_share_change_24h"] == pytest.approx(-0.2)
    assert found["lp_locked_share"] == 0.5
    assert not {"lp_locked_share_change_24h", "top_holders_share_change_24h"} & set(found)


def test_sentiment_is_told_by_source_and_its_momentum_is_of_six_hours() -> None:
    batch = pool_events([0, DAY], [1.0, 1.0], [1.0, 1.0])
    twitter = [(0, 0.2), (18 * HOUR, 0.5), (18 * HOUR + 1, 0.8)]
    found = research(batch, feed=knowing(sentiment_twitter=twitter))
    assert found["sentiment_twitter"] == found["sentiment_level"] == 0.8
    assert found["sentiment_momentum"] == pytest.approx(0.3)
    assert found["sentiment_sources"] == 1.0
    assert not {"sentiment_reddit", "sentiment_consensus"} & set(found)


def test_mentions_are_compared_with_the_week() -> None:
    counts = {
        "mentions_1h": 3.0,
        "mentions_24h": 9.0,
        "mentions_48h": 13.0,
        "mentions_168h": 168.0,
        "messages_24h": 36.0,
    }
    batch = pool_events([DAY], [1.0], [1.0])
    found = research(batch, feed=KnownFeed(mentions=counts))
    assert (found["mentions_1h"], found["mentions_24h"]) == (3.0, 9.0)
    assert found["mention_burst_1h"] == 2.0
    assert found["mention_burst_24h"] == pytest.approx(10 / 25)
    assert found["mention_momentum_24h"] == 5.0
    assert found["mention_share_24h"] == 0.25
    silent = dict.fromkeys(counts, 0.0)
    unmentioned = research(batch, feed=KnownFeed(mentions=silent))
    assert (unmentioned["mention_burst_1h"], unmentioned["mention_momentum_24h"]) == (1.0, 0.0)
    assert "mention_share_24h" not in unmentioned
    assert not [name for name in research(batch) if name.startswith("mention")]


# A whole market


@lru_cache
def market(end_hours: int) -> SimulatedMarket:
    config = SimulatorConfig(pools_per_day=12, burn_in_days=2, trades_max=300)
    return SimulatedMarket(config, 5, START, START + end_hours * HOUR)


@lru_cache
def whole_history() -> MarketHistory:
    feed = market(72)
    history = MarketHistory(len(feed.instruments))
    for batch in feed.batches(0, START + 3 * DAY):
        history.extend(batch)
    return history


def columns_of(
    feed: SimulatedMarket, history: MarketHistory, pairs: list[tuple[int, int]]
) -> dict[str, Floats]:
    token, at = (np.array(given, kind) for given, kind in zip(zip(*pairs, strict=True),
                 (np.int32, np.int64), strict=True))  # fmt: skip
    researcher = Researcher(feed, history)
    windows = researcher.windows(token, at)
    return researcher.columns(windows, feed.facts_at(token, at))


@settings(deadline=None, max_examples=40)
@given(picks=st.lists(st.integers(0, 10**9), min_size=1, max_size=4))
def test_a_moment_has_the_same_bits_when_later_events_and_other_questions_exist(
    picks: list[int],
) -> None:
    short, long = market(24), market(72)
    seen = next(iter(short.batches(0, START + DAY)))
    rows = [pick % len(seen) for pick in picks]
    pairs = sorted((int(seen.token[row]), int(seen.known_at[row])) for row in rows)
    together = columns_of(long, whole_history(), pairs)
    for n, (token, at) in enumerate(pairs):
        part = MarketHistory(len(short.instruments))
        part.extend(seen.rows(0, int(seen.known_at.searchsorted(at, "right"))))
        alone = columns_of(short, part, [(token, at)])
        assert alone.keys() == together.keys()
        for name, values in alone.items():
            assert values.tobytes() == together[name][n : n + 1].tobytes(), name
