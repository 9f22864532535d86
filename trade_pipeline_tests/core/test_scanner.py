"""The strategy by itself: scanned from Python, every opportunity recorded under its UUID."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from trade_pipeline.core.dataset.feature_table import feature_vectors
from trade_pipeline.core.dataset.frame import read_trade_frame
from trade_pipeline.core.features.registry import FEATURES, NAMES
from trade_pipeline.core.features.vector import vector_hash
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig
from trade_pipeline.core.records import TradeCandidate
from trade_pipeline.core.scanner import HighVolatilityLowCapStrategy, Opportunity
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem
from trade_pipeline_tests.core.research.pools import KnownFeed, pool_events

AT = 1_640_995_200_000_000 + 2 * DAY
CONFIG = TradingConfig.parse(
    {"strategy": {"universe": {"min_volume_24h_usd": 5_000, "min_liquidity_usd": 5_000}}}
)
SECRETS = ("cmc-5ecret-key", "gecko-5ecret-key")


def market(days: int = 2) -> SimulatedMarket:
    config = SimulatorConfig(pools_per_day=40, burn_in_days=3, unknown_supply_share=0.1)
    return SimulatedMarket(config, 2, AT - 2 * DAY, AT + (days - 2) * DAY)


@pytest.fixture
def tracker(fresh_database: Database, artifacts: ArtifactStore) -> Iterator[TradeTrackingSystem]:
    with TradeTrackingSystem(store=Store(fresh_database, artifacts)) as opened:
        yield opened


@pytest.fixture
def strategy(tracker: TradeTrackingSystem) -> HighVolatilityLowCapStrategy:
    return HighVolatilityLowCapStrategy(
        small_fund_usd=1000.0,
        coinmarketcap_api_key=SECRETS[0],
        coingecko_api_key=SECRETS[1],
        config=CONFIG,
        market=market(),
        tracker=tracker,
    )


async def scan_and_record(
    strategy: HighVolatilityLowCapStrategy, at: int | None
) -> list[tuple[Opportunity, TradeCandidate]]:
    candidates = await strategy.scan_low_cap_opportunities(at)
    recorded = []
    for candidate in candidates:
        trade_candidate = await strategy.create_trade_candidate(candidate)
        recorded.append((candidate, trade_candidate))
    return recorded


def test_every_opportunity_becomes_a_candidate_with_its_research(
    strategy: HighVolatilityLowCapStrategy, tracker: TradeTrackingSystem
) -> None:
    recorded = asyncio.run(scan_and_record(strategy, AT))
    assert len(recorded) > 3
    for opportunity, candidate in recorded:
        stored = tracker.get_complete_trade_record(candidate.uuid)
        assert stored["candidate"]["instrument"] == opportunity.instrument
        assert stored["candidate"]["confidence"] == opportunity.confidence
        assert stored["candidate"]["reason"] == opportunity.decision.reason
        snapshot = opportunity.snapshot
        assert stored["research"]["rugpull_heuristic_scores"] == snapshot.rug_scores
        assert stored["research"]["price_usd"] == snapshot.state.price_usd
    confidences = [opportunity.confidence for opportunity, _ in recorded]
    assert confidences == sorted(confidences, reverse=True)
    assert len({candidate.uuid for _, candidate in recorded}) == len(recorded)


def test_a_candidate_is_stored_with_the_features_that_it_was_judged_by(
    strategy: HighVolatilityLowCapStrategy, fresh_database: Database
) -> None:
    recorded = asyncio.run(scan_and_record(strategy, AT))
    own = {f.name for f in FEATURES if f.source == "own records"}
    with fresh_database.connect("trade_reader") as connection:
        frame = read_trade_frame(connection)
    assert len(frame) == len(recorded)
    for opportunity, candidate in recorded:
        row = frame.loc[str(candidate.uuid)]
        assert row["vector_source"] == "stored"
        assert row[list(NAMES)].to_numpy(np.float64).tobytes() == opportunity.features.tobytes()
        assert candidate.feature_hash == vector_hash(opportunity.features)
        assert row["heuristic_confidence"] == opportunity.confidence
        assert row["rug_risk"] == opportunity.snapshot.known["rug_risk"]
        assert row[sorted(own)].isna().all()


def test_the_scan_computes_what_the_feature_table_does() -> None:
    strategy = HighVolatilityLowCapStrategy(config=CONFIG, market=market())
    found = asyncio.run(strategy.scan_low_cap_opportunities(AT))
    names, at = [o.instrument for o in found], np.full(len(found), AT)
    vectors, _ = feature_vectors(market(), strategy.config, names, at)
    assert len(found) > 3
    assert np.array([o.features for o in found]).tobytes() == vectors.tobytes()


def test_the_example_runs_as_written_on_the_market_of_now(tracker: TradeTrackingSystem) -> None:
    strategy = HighVolatilityLowCapStrategy(
        small_fund_usd=1000.0,
        coinmarketcap_api_key="your_key",
        coingecko_api_key="your_key",
        tracker=tracker,
    )

    async def example() -> list[TradeCandidate]:
        made = []
        candidates = await strategy.scan_low_cap_opportunities()
        for candidate in candidates:
            made.append(await strategy.create_trade_candidate(candidate))
        return made

    assert all(isinstance(made, TradeCandidate) for made in asyncio.run(example()))


def test_api_keys_are_nowhere_to_be_read(
    strategy: HighVolatilityLowCapStrategy,
    tracker: TradeTrackingSystem,
    artifacts: ArtifactStore,
    fresh_database: Database,
) -> None:
    recorded = asyncio.run(scan_and_record(strategy, AT))
    params = artifacts.get(recorded[0][1].params_ptr).decode()
    texts = [repr(strategy), str(vars(strategy)), params]
    texts += [str(tracker.get_complete_trade_record(made.uuid)) for _, made in recorded]
    with fresh_database.connect("trade_reader") as connection:
        rows = connection.execute(
            "SELECT content FROM trade.candidates UNION ALL SELECT content FROM "
            "trade.research_docs UNION ALL SELECT content FROM trade.sessions"
        ).fetchall()
    texts += [row[0] for row in rows]
    assert len(rows) > 2 * len(recorded)
    assert not [secret for secret in SECRETS if any(secret in text for text in texts)]
    assert strategy.api_keys["coingecko"].get_secret_value() == SECRETS[1]


def test_keys_change_nothing_about_the_settings_that_are_recorded(
    tracker: TradeTrackingSystem,
) -> None:
    keyless = HighVolatilityLowCapStrategy(config=CONFIG, market=market(), tracker=tracker)
    assert keyless.api_keys == {}
    keyed = HighVolatilityLowCapStrategy(coingecko_api_key="x", config=CONFIG)
    assert keyed.config == keyless.config


def test_the_fund_of_the_argument_is_the_one_that_is_used(tracker: TradeTrackingSystem) -> None:
    def stakes(fund: float) -> dict[str, float]:
        strategy = HighVolatilityLowCapStrategy(fund, config=CONFIG, market=market())
        found = asyncio.run(strategy.scan_low_cap_opportunities(AT))
        return {o.instrument: o.decision.stake_usd for o in found if o.decision.stake_usd}

    small, large = stakes(400.0), stakes(4_000.0)
    assert small
    assert set(small) <= set(large)
    assert all(large[name] >= stake for name, stake in small.items())
    assert sum(large.values()) > sum(small.values())
    assert max(small.values()) <= 80.0


def test_a_scan_of_a_moment_does_not_see_what_came_after() -> None:
    def found(feed: SimulatedMarket) -> list[tuple[str, bytes]]:
        strategy = HighVolatilityLowCapStrategy(config=CONFIG, market=feed)
        opportunities = asyncio.run(strategy.scan_low_cap_opportunities(AT))
        return [(o.instrument, o.features.tobytes()) for o in opportunities]

    assert found(market(days=2)) == found(market(days=5)) != []


def test_what_became_known_at_the_very_moment_is_seen() -> None:
    batch = pool_events([AT - 1, AT, AT + 1], [1.0, 2.0, 3.0], [9_000.0] * 3, market_cap=1e6)
    strategy = HighVolatilityLowCapStrategy(config=CONFIG, market=KnownFeed(events=[batch]))
    (found,) = asyncio.run(strategy.scan_low_cap_opportunities(AT))
    assert found.snapshot.state.price_usd == 2.0
    assert found.snapshot.known["volume_24h_usd"] == 18_000.0


def test_an_impossible_fund_is_refused() -> None:
    with pytest.raises(ValueError, match="small_fund_usd"):
        HighVolatilityLowCapStrategy(small_fund_usd=0)
