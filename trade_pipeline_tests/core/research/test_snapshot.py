"""The record of the research behind a decision: what was known, when, and nothing made up."""

from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, HOUR, SENTIMENT, Instrument, MarketBatch
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.records import ResearchDocument
from trade_pipeline.core.research.snapshot import Snapshot
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.evaluation import Evaluator
from trade_pipeline_tests.core.research.pools import KnownFeed, bar_events, pool_events

UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
CREATED_AT = 1_640_995_200_000_000


def snapshot_of(batch: MarketBatch, feed: KnownFeed | None = None) -> Snapshot:
    """The snapshot at the last event."""
    feed, history = feed or KnownFeed(), MarketHistory(1)
    history.extend(batch)
    evaluator = Evaluator(StrategyConfig(), feed, history, lambda known: {})
    windows = evaluator.windows(np.zeros(1, np.int32), batch.known_at[-1:])
    state = history.state(0, len(batch), 1_000.0)
    return evaluator.snapshot(evaluator.evaluate(windows), 0, state)


def document_of(batch: MarketBatch, feed: KnownFeed | None = None) -> ResearchDocument:
    return snapshot_of(batch, feed).document(UUID_ONE, "why")


def test_the_document_tells_the_windows_and_leaves_unknown_ones_empty() -> None:
    found = document_of(pool_events([0, HOUR], [1.0, 2.0], [10.0, -30.0]))
    assert found.market["return_1h"] == pytest.approx(1.0)
    assert found.market["return_24h"] is None
    assert found.market["flow_imbalance_24h"] == pytest.approx(-0.5)
    assert (found.market["buys_24h"], found.market["sells_24h"]) == (1.0, 1.0)
    assert found.volume_24h_usd == 40.0
    assert found.price_usd == 2.0
    assert found.liquidity_usd == 100_000.0


def test_an_unknown_supply_gives_no_market_cap_and_a_known_one_gives_it() -> None:
    assert document_of(pool_events([0], [1.0], [1.0])).initial_market_cap is None
    known = pool_events([0], [1.0], [1.0], market_cap=5e6)
    assert document_of(known).initial_market_cap == 5e6


def test_an_exchange_states_no_liquidity_and_no_heuristic_is_judged() -> None:
    found = document_of(bar_events([n * HOUR for n in range(30)], [1.0] * 30))
    assert found.rugpull_heuristic_scores == {}
    assert found.rug_risk == 0.0
    assert found.liquidity_usd is None
    assert found.market["flow_imbalance_24h"] is None
    assert found.volume_24h_usd == 24_000.0


def test_the_scores_are_those_of_the_heuristics_that_can_be_judged() -> None:
    feed = KnownFeed(
        [Instrument("pool", contract_address="0xabc", created_at=CREATED_AT)],
        facts={"developer_share": 0.1},
    )
    batch = pool_events([CREATED_AT, CREATED_AT + 36 * HOUR], [1.0, 1.0], [1.0, 1.0])
    found = document_of(batch, feed)
    assert found.rugpull_heuristic_scores == {
        "young_token": 0.5,
        "developer_holding": 0.5,
        "liquidity_removed": 0.0,
    }
    assert found.rug_risk == pytest.approx(1 - (1 - 0.2 * 0.5) * (1 - 0.35 * 0.5))
    assert found.contract_address == "0xabc"


def test_the_document_says_when_its_newest_fact_was_known_and_keeps_facts_by_name() -> None:
    facts = {"holders": 12.0, "mintable": 0.0, SENTIMENT + "twitter": 0.8}
    found = document_of(pool_events([DAY], [1.0], [1.0]), KnownFeed(facts=facts))
    assert found.known_at == moment_of(DAY)
    assert found.holders == 12
    assert found.facts == {"holders": 12, "mintable": False}
    assert found.social_sentiment_scores == {"twitter": 0.8}
    assert found.sentiment == 0.8
    assert found.sentiment_momentum == 0.0
    assert found.sentiment_consensus is None
    assert found.trade_rationale == "why"
