"""The integrated trading bot as the documentation writes it, against servers on this machine.

An exchange for bars and orders or a node of a chain, and CoinGecko and CoinMarketCap, who see the
keys that the bot was given.  The test moves the market's clock, which is the exchange's, too.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web

import trade_pipeline
from trade_pipeline.core.clock import Clock
from trade_pipeline.core.live import open_market, run
from trade_pipeline.core.live.requests import end_sessions
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.unified import TokenProvider, providers_of
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.local_exchange import server as exchange_server
from trade_pipeline.local_exchange.candles import Candles
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.server import ExchangeServer
from trade_pipeline.local_exchange.units import units
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.live import test_chain_feed as chain
from trade_pipeline_tests.core.live.chaos.audit import KEY, SECRET, audit
from trade_pipeline_tests.core.live.test_exchange_feed import BEGIN, MovedClock
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, local_server
from trade_pipeline_tests.core.market.recorder.chain import address
from trade_pipeline_tests.integration.test_secrets import (
    canary,
    files_that_leak,
    found_in,
    tables_that_leak,
)
from trade_pipeline_tests.integration.test_specification import BOT

HEADERS = {"coingecko": "x-cg-demo-api-key", "coinmarketcap": "x-cmc_pro_api_key"}
QUOTES = "/v2/cryptocurrency/quotes/latest"
HOURS, PAID = 100, "1000"
TRADED = units("volume", "1000000")  # tokens in an hour
EXCHANGE = """
account = "made"
orders = "exchange"
# The hours of a clock that is moved pass in no time.
limits.max_silence_seconds = 7200

[market]
kind = "spot-1h"
url = "{url}"
look_seconds = 0.01
delay_seconds = 1

[[market.symbols]]
symbol = "MADE/USDT"
chain = "ethereum"
contract = "{contract}"
"""
CHAIN = """
account = "made"
limits.max_silence_seconds = 7200

[market]
kind = "uniswap-v2"
pool_days = 0
confirmations = 0
poll_seconds = 0.01

[trading]
amm.failure_rate = 0

[trading.strategy]
universe.min_volume_24h_usd = 0
signal = { min_move_24h = 0, min_confidence = 0, max_rug_risk = 1 }
"""


@dataclass
class Bot:
    """The documentation's example, running, and what the database says of its account.

    Attributes:
        names: those of the example.
    """

    server: EmbeddedPostgres
    database: Database
    providers: LocalServer
    folder: Path
    patch: pytest.MonkeyPatch
    logged: pytest.LogCaptureFixture
    printed: pytest.CaptureFixture[str]
    names: dict[str, Any] = field(default_factory=dict)

    @property
    def named(self) -> str:
        """The database's name."""
        with self.database.connect() as connection:
            return connection.info.dbname

    def rows(self, query: str) -> list[Any]:
        with self.database.connect("trade_reader") as connection:
            return connection.execute(query.encode()).fetchall()

    async def comes(self, query: str) -> bool:
        """Whether there is such a row within a few seconds."""
        for _ in range(50):
            if self.rows(query):
                return True
            await asyncio.sleep(0.1)
        return False

    async def asked(self) -> bool:
        """Whether the providers' answers are stored, which they are before they are known."""
        return await self.comes(
            "SELECT 1 FROM trade.artifacts WHERE expires_at IS NOT NULL HAVING count(*) > 2"
        )

    async def fills(self) -> bool:
        return await self.comes("SELECT 1 FROM trade.executions WHERE event = 'filled'")

    async def closes(self) -> bool:
        return await self.comes("SELECT 1 FROM trade.outcomes WHERE kind = 'realised'")

    def tell(self, contract: str) -> None:
        """The providers know a token."""
        info = {"id": 77, "platform": {"slug": "ethereum", "token_address": contract}}
        self.providers.routes |= {
            f"/coins/ethereum/contract/{contract}": Reply(made.coingecko_coin()),
            "/v2/cryptocurrency/info": Reply({"data": {"77": info}}),
            QUOTES: Reply({"data": {"77": made.coinmarketcap_coin()}}),
        }

    async def trade(
        self,
        settings: dict[str, str],
        config: str,
        live: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Run the example as it is written while a world lives, and ask for its end then."""
        (self.folder / "bot.toml").write_text(config)
        url = self.server.url("postgres", self.named)
        given = {"HOME": "home", "DATABASE_URL": url, "BOT_CONFIG": "bot.toml"} | settings
        self.patch.chdir(self.folder)
        for name, value in given.items():
            self.patch.setenv(f"TRADE_PIPELINE_{name}", value)
        code = BOT.replace("await bot", "report = await bot")
        for one in HEADERS:
            code = code.replace(f'{one}_api_key="your_key"', f'{one}_api_key="{canary(one)}"')
        self.names["IntegratedTradingBot"] = trade_pipeline.IntegratedTradingBot
        written = eval(
            compile(code, "<example>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), self.names
        )
        assert inspect.iscoroutine(written)

        async def living() -> None:
            await live()
            with self.database.connect(autocommit=True) as connection:
                end_sessions(connection, "made", by="the test")

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(written)
            group.create_task(living())

    def assert_profit(self, contract: str) -> dict[str, Any]:
        """One trade reached its target, and the answers about its token are in its research."""
        ((pnl, reason, content),) = self.rows(
            "SELECT realized_pnl_percent, termination_reason, r.content "
            "FROM trade.outcomes o JOIN trade.research_docs r USING (uuid) WHERE kind = 'realised'"
        )
        assert (pnl > 25, reason) == (True, "profit_target")
        research: dict[str, Any] = orjson.loads(content)
        assert research["contract_address"] == contract
        stored = self.names["bot"].store.artifacts
        raw = [orjson.loads(stored.get(one)) for one in research["raw_answers"]]
        assert made.coingecko_coin() in raw
        assert {"data": {"77": made.coinmarketcap_coin()}} in raw
        report = self.names["report"]
        assert (report["account"], report["ended"], report["trades"]) == ("made", "stopped", 1)
        assert report["open_positions"] == 0
        assert report["total_pnl_usd"] == pytest.approx(report["cash_usd"] - 1_000)
        return research

    def assert_keys_are_secret(self) -> None:
        """Each key was seen by its provider, and is in nothing that was written."""
        for path, provider in (("/coins/ethereum/", "coingecko"), (QUOTES, "coinmarketcap")):
            header, key = HEADERS[provider], canary(provider)
            requests = self.providers.requests
            seen = [one.headers for one in requests if one.path.startswith(path)]
            assert seen, provider
            assert all(headers[header] == key for headers in seen)
            others = [one.headers for one in requests if header not in one.headers]
            assert all(key not in str(headers) for headers in others)
        bot = self.names["bot"]
        shown = f"{bot!r} {vars(bot)!r} {self.names['report']!r}"
        said = f"{self.logged.text} {''.join(self.printed.readouterr())} {shown}"
        assert "account made: trading" in said
        assert not found_in(said.encode())
        assert tables_that_leak(self.server, [self.named]) == []
        assert files_that_leak(self.folder) == []


@pytest.fixture
def bot(
    server: EmbeddedPostgres,
    fresh_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> Iterator[Bot]:
    """Everything for the example."""
    caplog.set_level(logging.DEBUG)
    with local_server() as providers:

        def moved(settings: Settings, clock: Clock) -> list[TokenProvider]:
            found = providers_of(settings, clock)
            for one in found:
                one.client._url = providers.url
            return found

        monkeypatch.setattr(open_market, "providers_of", moved)
        one = Bot(server, fresh_database, providers, tmp_path, monkeypatch, caplog, capfd)
        yield one
        if "bot" in one.names:
            one.names["bot"].close()


def price_at(hour: int) -> str:
    """It rises, a little more each hour."""
    return f"{0.02 * 1.01 ** (hour - HOURS):.8f}"


class LivingExchange:
    """The local exchange, whose coin was traded for some days."""

    def __init__(self, folder: Path, clock: MovedClock) -> None:
        self.clock, self.url = clock, ""
        self.server = ExchangeServer(folder)
        self._exchange = self.server.exchange
        self._exchange.list_symbol(Listing(base="MADE", depth="5000"))
        self._exchange.open_account(KEY, SECRET, {"USDT": units("USDT", PAID)})
        self._candles = self._exchange.candles["MADEUSDT"] = Candles()
        for hour in range(HOURS):
            opened = (BEGIN + hour * HOUR) // 1_000
            self._candles.add(opened, units("price", price_at(hour)), TRADED)
            self._candles.add(opened + 60_000, units("price", price_at(hour + 1)), 0)
        self._exchange.move("MADEUSDT", units("price", price_at(HOURS)))

    def close_hour(self, price: str) -> None:
        """The price goes there, others trade at it, and the hour ends."""
        self._exchange.move("MADEUSDT", units("price", price))
        self._candles.add(self.clock.micros() // 1_000, units("price", price), TRADED)
        self.clock.advance(self.clock.micros() // HOUR * HOUR + HOUR + 1_500_000)

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        """Gives its URL."""
        runner = web.AppRunner(self.server.app(), access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        try:
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


REAL = """
mode = "live"
confirm = "real money on made"
limits.max_token_usd = 500
limits.max_exposure_usd = 1000
"""


@pytest.mark.parametrize("mode", ["paper", "live"])
def test_the_bot_trades_as_written_at_an_exchange(bot: Bot, mode: str) -> None:
    clock = MovedClock(BEGIN + HOURS * HOUR + HOUR // 6)
    bot.patch.setattr(run, "SystemClock", lambda: clock)
    bot.patch.setattr(exchange_server, "wall_ms", lambda: clock.micros() // 1_000)
    bot.tell(made.TOKEN)
    exchange = LivingExchange(bot.folder / "exchange", clock)

    async def live() -> None:
        """Hours until the coin is bought, then half as dear again until it is sold."""
        assert await bot.asked()
        hour, bought, sold = HOURS, False, False
        while not bought:
            hour += 1
            exchange.close_hour(price_at(hour))
            bought = await bot.fills()
        while not sold:
            exchange.close_hour(f"{1.5 * float(price_at(hour)):.8f}")
            sold = await bot.closes()

    async def test() -> dict[str, Any]:
        async with exchange.served() as url:
            settings = {
                "EXCHANGE": "binance", "VENUE": "binance", "VENUE_URL": url, "VENUE_KEY": KEY,
                "VENUE_SECRET": SECRET, "LIVE_TRADING": str(mode == "live"),
            }  # fmt: skip
            config = EXCHANGE.format(url=url, contract=made.TOKEN)
            await bot.trade(settings, REAL + config if mode == "live" else config, live)
            return exchange.server._state(b"")  # type: ignore[no-any-return]

    state = asyncio.run(test())
    research = bot.assert_profit(made.TOKEN)
    assert bot.rows("SELECT DISTINCT mode FROM trade.sessions") == [(mode,)]
    supply = 1_900_000.0 / 0.0199
    assert 0.02 * supply < research["initial_market_cap"] < 0.025 * supply
    # The exchange's books are the records.
    with bot.database.connect("trade_reader") as connection:
        audited = audit(connection, "made", state, PAID)
    assert (audited.trades, audited.orders, audited.wrong) == (1, 2, {})
    bot.assert_keys_are_secret()


def test_the_bot_trades_as_written_on_paper_over_a_chains_pools(bot: Bot) -> None:
    world = chain.Live(bot.providers, 4_300)
    world.clock = clock = MovedClock(world.clock.micros())
    bot.patch.setattr(run, "SystemClock", lambda: clock)
    # A real node's limit would take seconds.
    bot.patch.setattr(open_market, "_NODE", ClientConfig(requests=100_000))
    token, pool = address(1), address(0xA1)
    world.node.tokens[token] = ("ONE", 9, 10_000_000 * 10**9)
    bot.tell(token)

    async def live() -> None:
        """Blocks with trades until the token is bought, then half as dear again until sold."""
        assert await bot.asked()
        block, bought, sold = 4_310, False, False

        async def next_blocks(quote: float) -> None:
            nonlocal block
            for _ in range(3):
                world.node.sync(block, pool, round(quote * 10**18), 895_000 * 10**9)
                world.move(block)
                block += 2
                await asyncio.sleep(0.3)

        while not bought:
            await next_blocks(14.5 + (block - 4_310) / 1_000)
            bought = await bot.fills()
        while not sold:
            await next_blocks(1.5 * 14.5)
            sold = await bot.closes()

    async def test() -> None:
        await bot.trade({"RPC_URL": world.url}, CHAIN, live)
        assert asyncio.all_tasks() == {asyncio.current_task()}, "something goes on"

    asyncio.run(test())
    bot.assert_profit(token)
    bot.assert_keys_are_secret()
