"""The research of a moment: from what was known by then, and unknown where nothing was."""

from __future__ import annotations

import math
from functools import lru_cache
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.market.event import (
    DAY,
    HOUR,
    Instrument,
    MarketBatch,
    TokenFacts,
    unknown_column,
)
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig
from trade_pipeline.core.research.snapshot import Snapshot, take_snapshot, volume_24h

UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
START = 1_640_995_200_000_000  # 2022-01-01


def pool_events(
    times: list[int],
    prices: list[float],
    flows: list[float],
    changes: list[float] | None = None,
    market_cap: float = math.nan,
) -> MarketBatch:
    """Events of one pool with 100,000 USD of liquidity."""
    length = len(times)
    known_at, price = np.array(times, np.int64), np.array(prices)
    flow, none = np.array(flows), unknown_column(length)
    return MarketBatch(
        token=np.zeros(length, np.int32),
        event_time=known_at,
        known_at=known_at,
        price_usd=price,
        open_usd=none,
        high_usd=none,
        low_usd=none,
        volume_usd=np.abs(flow),
        flow_usd=flow,
        liquidity_usd=np.full(length, 100_000.0),
        liquidity_change_usd=np.array(changes or [0.0] * length),
        market_cap_usd=np.full(length, market_cap),
        reserve_quote=np.full(length, 50.0),
        reserve_token=50_000.0 / price,
        quote_usd=np.full(length, 1_000.0),
    )


def snapshot_of(
    batch: MarketBatch,
    facts: TokenFacts | None = None,
    created_at: int | None = None,
    upto: int | None = None,
) -> Snapshot:
    history = MarketHistory(1)
    history.extend(batch)
    upto = len(batch) if upto is None else upto
    at = int(batch.known_at[upto - 1])
    state = history.state(0, upto, 1_000.0)
    instrument = Instrument("pool", created_at=created_at)
    return take_snapshot(history, instrument, upto, at, state, facts or TokenFacts(), {})


def content(snapshot: Snapshot) -> bytes:
    return canonical_bytes(snapshot.document(UUID_ONE, "why"))


def test_returns_volatility_and_drawdown_are_of_the_last_day() -> None:
    hours = list(range(26))
    prices = [100.0 + hour for hour in hours]
    prices[-1] = 90.0
    found = snapshot_of(pool_events([h * HOUR for h in hours], prices, [1.0] * 26)).market
    assert found["return_1h"] == pytest.approx(90 / 124 - 1)
    assert found["return_6h"] == pytest.approx(90 / 119 - 1)
    assert found["return_24h"] == pytest.approx(90 / 101 - 1)
    assert found["drawdown_24h"] == pytest.approx(1 - 90 / 124)
    assert found["volatility_1h"] == pytest.approx(np.diff(np.log(prices[1:])).std())


def test_what_a_young_token_cannot_know_is_unknown_and_not_zero() -> None:
    snapshot = snapshot_of(pool_events([0, HOUR], [1.0, 2.0], [10.0, 10.0]))
    assert snapshot.market["return_1h"] == pytest.approx(1.0)
    assert snapshot.market["return_6h"] is None
    assert snapshot.market["return_24h"] is None
    assert snapshot.market["volatility_1h"] is None


def test_flows_count_buys_and_sells_of_the_window() -> None:
    times = [0, 30 * HOUR, 53 * HOUR, 53 * HOUR + HOUR // 2]
    snapshot = snapshot_of(pool_events(times, [1.0] * 4, [500.0, 300.0, -100.0, 40.0]))
    assert snapshot.volume_24h_usd == 440.0
    assert snapshot.market["buys_24h"] == 2
    assert snapshot.market["sells_24h"] == 1
    assert snapshot.market["flow_imbalance_24h"] == pytest.approx(240 / 440)
    assert snapshot.market["flow_imbalance_1h"] == pytest.approx(-60 / 140)
    assert snapshot.market["turnover_24h"] == pytest.approx(440 / 100_000)


def test_removed_liquidity_is_a_share_of_the_most_there_was() -> None:
    batch = pool_events([0, HOUR], [1.0, 1.0], [1.0, 0.0], changes=[0.0, -25_000.0])
    scores = snapshot_of(batch).rug_scores
    assert scores["liquidity_removed"] == pytest.approx((25_000 / 125_000) / 0.5)


def test_an_unknown_supply_gives_no_market_cap_and_a_known_one_gives_it() -> None:
    batch = pool_events([0], [1.0], [1.0])
    assert snapshot_of(batch).document(UUID_ONE, "why").initial_market_cap is None
    known = pool_events([0], [1.0], [1.0], market_cap=5e6)
    assert snapshot_of(known).document(UUID_ONE, "why").initial_market_cap == 5e6


def test_an_exchange_states_no_liquidity_and_no_flow_so_neither_is_judged() -> None:
    times = np.arange(30, dtype=np.int64) * HOUR
    none, ones = unknown_column(30), np.ones(30)
    batch = MarketBatch(
        np.zeros(30, np.int32), times, times, ones, ones, ones, ones, ones, *[none] * 7
    )
    snapshot = snapshot_of(batch)
    assert snapshot.rug_scores == {}
    assert "flow_imbalance_24h" not in snapshot.market
    assert "turnover_24h" not in snapshot.market
    document = snapshot.document(UUID_ONE, "why")
    assert document.liquidity_usd is None
    assert document.volume_24h_usd == 24.0


def test_age_is_since_creation_or_else_since_the_first_event_that_was_seen() -> None:
    batch = pool_events([10 * DAY, 10 * DAY + 36 * HOUR], [1.0, 1.0], [1.0, 1.0])
    assert snapshot_of(batch).rug_scores["young_token"] == pytest.approx(0.5)
    assert snapshot_of(batch, created_at=0).rug_scores["young_token"] == 0.0


def test_the_document_says_when_its_newest_fact_was_known_and_keeps_facts_by_name() -> None:
    facts = TokenFacts(holders=12, mintable=False, sentiment={"twitter": 0.8})
    document = snapshot_of(pool_events([HOUR], [1.0], [1.0]), facts).document(UUID_ONE, "why")
    assert document.known_at is not None
    assert document.known_at.timestamp() == 3_600.0
    assert document.holders == 12
    assert document.facts == {"holders": 12, "mintable": False}
    assert document.social_sentiment_scores == {"twitter": 0.8}
    assert document.sentiment == 0.8
    assert document.sentiment_momentum is None


@lru_cache
def market(end_hours: int) -> SimulatedMarket:
    config = SimulatorConfig(pools_per_day=12, burn_in_days=2, trades_max=300)
    return SimulatedMarket(config, 5, START, START + end_hours * HOUR)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**9))
def test_the_snapshot_of_a_moment_is_the_same_when_later_events_exist(pick: int) -> None:
    short, long = market(24), market(72)
    part, whole = MarketHistory(len(short.instruments)), MarketHistory(len(long.instruments))
    seen = next(iter(short.batches(0, START + DAY)))
    row = pick % len(seen)
    upto = int(part.extend(seen.rows(0, row + 1))[row])
    for batch in long.batches(0, START + 3 * DAY):
        whole.extend(batch)
    token, at, quote = int(seen.token[row]), int(seen.known_at[row]), float(seen.quote_usd[row])
    one, other = (
        take_snapshot(
            history,
            feed.instruments[token],
            upto,
            at,
            history.state(token, upto, quote),
            feed.facts(token, at),
            feed.facts(token, at - 6 * HOUR).sentiment,
        )
        for feed, history in ((short, part), (long, whole))
    )
    assert content(one) == content(other)
    assert volume_24h(part, token, upto, at) == volume_24h(whole, token, upto, at)
    assert one.document(UUID_ONE, "why").known_at is not None
    assert one.state.known_at == at
