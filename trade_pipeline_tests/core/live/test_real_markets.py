"""Paper sessions over markets as they arrive: decisions, and the raw answers behind them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from pydantic import SecretStr

from trade_pipeline.core.clock import Clock, MarketClock, SystemClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.chain_feed import ChainFeed
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.exchange_feed import ExchangeFeed
from trade_pipeline.core.live.facts import FactLog
from trade_pipeline.core.live.inquiry import Asked, Inquiry
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.live.ports import LiveFeed
from trade_pipeline.core.live.requests import end_sessions, order_session
from trade_pipeline.core.live.run import live_feed
from trade_pipeline.core.live.session import LiveRun, LiveSession
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.dexscreener import DexScreener
from trade_pipeline.core.market.providers.exchange import Exchange
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider
from trade_pipeline.core.research.social.social import Social
from trade_pipeline.core.research.social.sources import CoinGeckoVotes
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.live import test_chain_feed as chain
from trade_pipeline_tests.core.live import test_exchange_feed as exchange
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, local_server
from trade_pipeline_tests.core.market.recorder.chain import address

ONE = address(1)
COIN = f"/coins/ethereum/contract/{ONE}"
LOOSE: dict[str, Any] = {
    "universe": {"min_volume_24h_usd": 0, "min_liquidity_usd": 0, "min_market_cap_usd": 0,
                 "max_market_cap_usd": 1e12,                  "bar_interval_minutes": 60},
}  # fmt: skip


@pytest.fixture
def store(fresh_database: Database, artifacts: ArtifactStore) -> Store:
    return Store(fresh_database, artifacts)


def providers(server: LocalServer) -> None:
    """What two providers tell of the token."""
    server.routes |= {
        f"/token-pairs/v1/ethereum/{ONE}": Reply(made.dexscreener(contract=ONE)),
        COIN: Reply(made.coingecko_coin()),
        "/coins/made": Reply(made.coingecko_coin()),
    }


def inquiry_of(
    facts: FactLog,
    server: LocalServer,
    store: Store,
    clock: Clock,
    seconds: float = 900,
    open_exchange: Callable[[], Exchange] | None = None,
) -> Inquiry:
    config = ClientConfig(
        requests=10_000, attempts=1, timeout_seconds=2, cache_seconds=0, open_seconds=0
    )

    def opened() -> tuple[UnifiedMarketProvider, Social]:
        asked = [cls(clock, url=server.url, config=config) for cls in (DexScreener, CoinGecko)]
        exchange = None if open_exchange is None else open_exchange()
        market = UnifiedMarketProvider(asked, store=store, exchange=exchange)
        return market, Social(clock, [CoinGeckoVotes(market.coingecko)], store=store)

    return Inquiry(facts, clock, opened, seconds)


Start = Callable[[LiveFeed, Clock], Awaitable[LiveRun]]


def session(store: Store, world: Callable[[Start], Awaitable[LiveRun]]) -> LiveRun:
    """What a paper session did until its first decision, in a world that starts it."""
    config = LiveConfig.parse({"account": "real", "trading": {"strategy": LOOSE}})
    with ExitStack() as opened:
        connection = opened.enter_context(store.database.connect(autocommit=True))
        requests = opened.enter_context(store.database.connect(autocommit=True))
        order_session(requests, config, by="test")
        lease = opened.enter_context(Lease(store.database, "real", holder="test", mode="paper"))

        async def start(feed: LiveFeed, clock: Clock) -> LiveRun:
            venue = PaperVenue(connection, "real", config.trading.venue(feed.kind))
            running = asyncio.ensure_future(
                LiveSession(store, config, feed, venue, clock, lease).run()
            )
            while not running.done() and not documents(store):
                await asyncio.sleep(0.05)
            end_sessions(requests, "real", by="test")
            return await running

        return asyncio.run(asyncio.wait_for(world(start), 60))


def documents(store: Store) -> list[dict[str, Any]]:
    with store.database.connect("trade_reader") as connection:
        rows = connection.execute(
            "SELECT r.content FROM trade.research_docs r JOIN trade.live_decisions USING (uuid)"
        ).fetchall()
    return [orjson.loads(content) for (content,) in rows]


def answers_of(store: Store, document: dict[str, Any]) -> list[bytes]:
    return [store.artifacts.get(address) for address in document["raw_answers"]]


def test_a_paper_session_over_a_chain_decides_with_facts_and_keeps_their_answers(
    store: Store,
) -> None:
    with local_server() as server:
        live = chain.Live(server, 4_300)
        providers(server)
        facts = FactLog(DAY)
        feed = ChainFeed(
            live.feed._config, live.clock, live.feed._open, facts,
            inquiry_of(facts, server, store, live.clock),
        )  # fmt: skip

        async def world(start: Start) -> LiveRun:
            running = asyncio.ensure_future(start(feed, live.clock))
            levels = np.zeros(1, np.int32)
            while True:
                at = np.array([live.clock.micros()])
                if "sentiment:coingecko" in facts.facts_at(levels, at):
                    break
                await asyncio.sleep(0.01)
            live.move(4_342)  # an event of the first pool is in 4,341
            return await running

        done = session(store, world)
    assert (done.why, done.decisions) == ("stopped", 1)
    (document,) = documents(store)
    told = [orjson.loads(one) for one in answers_of(store, document)]
    assert told == [made.dexscreener(contract=ONE), made.coingecko_coin()]
    assert document["contract_address"] == ONE
    assert document["social_sentiment_scores"] == {"coingecko": 0.8}
    assert document["facts"]["market_cap_estimated"] is False


def test_a_paper_session_over_an_exchange_decides_with_facts_and_keeps_their_answers(
    store: Store, tmp_path: Path
) -> None:
    facts = FactLog(DAY)
    with local_server() as server:
        providers(server)

        async def world(start: Start) -> LiveRun:
            pairs = [{"symbol": "AAA/USDT", "coingecko": "made"}, "BBB/USDT"]
            async with exchange.served(tmp_path, exchange.NOW, symbols=pairs) as live:
                inquiry = inquiry_of(facts, server, store, live.clock, open_exchange=live.exchange)
                feed = ExchangeFeed(live.feed._config, live.clock, live.exchange, facts, inquiry)
                running = asyncio.ensure_future(start(feed, live.clock))
                while len(facts.raw_at(0, live.clock.micros())) < 2:
                    await asyncio.sleep(0.01)
                live.close_hour()
                return await running

        done = session(store, world)
    assert (done.why, done.decisions) == ("stopped", 1), "only one pair's market cap is known"
    (document,) = documents(store)
    coin, ticker = map(orjson.loads, answers_of(store, document))
    assert coin == made.coingecko_coin()
    assert ticker["symbol"] == "AAA/USDT"
    supply = 1_900_000.0 / 0.0199
    assert document["initial_market_cap"] == float(exchange.bar("AAA", 100)[3]) * supply


def test_a_provider_that_is_down_is_noted_and_what_it_told_grows_old(store: Store) -> None:
    hour = 3_600_000_000
    facts, clock = FactLog(hour), MarketClock(chain.at(0))
    token = np.zeros(1, np.int32)

    def known() -> float:
        at = np.array([clock.micros()])
        return float(facts.facts_at(token, at)["market_cap_estimated"][0])

    with local_server() as server:
        providers(server)
        inquiry = inquiry_of(facts, server, store, clock, seconds=0.01)

        async def ask() -> None:
            inquiry.add(0, Asked("ONE", "ethereum", ONE))
            async with inquiry.running():
                while math.isnan(known()):
                    await asyncio.sleep(0.01)
                assert (known(), facts.raw_at(0, clock.micros()) != ()) == (0.0, True)
                server.routes = {}
                while "ONE" not in inquiry.failures:
                    await asyncio.sleep(0.01)
                first = clock.micros()
                clock.advance(first + hour + 1)
                assert math.isnan(known())
                assert facts.raw_at(0, clock.micros()) == ()
                assert facts.raw_at(0, first) != (), "the past stays"
                providers(server)
                while math.isnan(known()):
                    await asyncio.sleep(0.01)
                assert (known(), facts.raw_at(0, clock.micros()) != ()) == (0.0, True)
                inquiry.require_working()

        asyncio.run(asyncio.wait_for(ask(), 20))
    assert "ONE" not in inquiry.failures


@pytest.mark.parametrize(
    ("given", "environment", "why"),
    [
        ({}, {}, "market: none is named; give a replay"),
        ({"market": {"kind": "uniswap-v2"}}, {}, "TRADE_PIPELINE_RPC_URL: unset"),
        ({"market": {"kind": "spot-1h", "symbols": ["A/USDT"]}}, {}, "market.exchange: none"),
        (
            {"market": {"kind": "spot-1h", "exchange": "moon", "symbols": ["A/USDT"]}},
            {},
            "exchange='moon': ccxt knows no",
        ),
    ],
)
def test_a_market_that_cannot_be_opened_is_a_mistake_that_says_what_is_missing(
    store: Store, given: dict[str, Any], environment: dict[str, Any], why: str
) -> None:
    settings = Settings(_env_file=None, **environment)
    with pytest.raises(BadConfig, match=why):
        live_feed(LiveConfig.parse(given), settings, store, SystemClock())


def test_the_markets_of_the_settings_are_opened(store: Store) -> None:
    settings = Settings(_env_file=None, rpc_url=SecretStr("http://localhost:1"), exchange="binance")
    found = [
        live_feed(LiveConfig.parse({"market": market}), settings, store, SystemClock())
        for market in ({"kind": "uniswap-v2"}, {"kind": "spot-1h", "symbols": ["A/USDT"]})
    ]
    assert [one.kind for one in found] == ["uniswap-v2", "spot-1h"]
    assert [one.name for one in found[1].instruments] == ["A/USDT"]
    now = SystemClock().micros()
    assert all(0 <= one.first_moment() - now < 60_000_000 for one in found)


@pytest.mark.parametrize(
    ("market", "why"),
    [
        ({"kind": "spot-1h", "symbols": ["AUSDT"]}, "expected a pair like PEPE/USDT"),
        ({"kind": "spot-1h", "symbols": ["A/BTC"]}, "expected a pair like PEPE/USDT"),
        ({"kind": "spot-1h", "symbols": ["A/USDT", "A/USDT"]}, "A/USDT more than once"),
        (
            {"kind": "spot-1h", "symbols": [{"symbol": "A/USDT", "chain": "base"}]},
            "belong together",
        ),
        ({"kind": "uniswap-v2", "chain": "mars"}, "expected one of ethereum"),
        ({"kind": "uniswap-v2", "pools": ["0x1"]}, "an address of 40 hexadecimal digits"),
        ({"kind": "moon"}, "'spot-1h', 'uniswap-v2'"),
    ],
)
def test_a_market_that_cannot_be_is_refused_by_name(market: dict[str, Any], why: str) -> None:
    with pytest.raises(BadConfig, match=why):
        LiveConfig.parse({"market": market})


def test_a_session_trades_a_real_market_or_a_replay() -> None:
    replay = {"start": "2026-01-05T00:00Z", "end": "2026-01-06T00:00Z"}
    with pytest.raises(BadConfig, match="either this or a replay"):
        LiveConfig.parse({"market": {"kind": "uniswap-v2"}, "replay": replay})


def test_the_settings_of_a_market_come_back_from_a_request() -> None:
    for market in ({"kind": "uniswap-v2"}, {"kind": "spot-1h", "symbols": ["A/USDT"]}):
        config = LiveConfig.parse({"market": market})
        assert LiveConfig.parse(orjson.loads(config.model_dump_json())) == config
