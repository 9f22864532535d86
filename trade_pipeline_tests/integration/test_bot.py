"""The integrated trading bot as the documentation writes it, against servers on this machine.

An exchange for the market and the orders, and CoinGecko and CoinMarketCap, who see the keys that
the bot was given.  The market's clock is the exchange's: the test moves it from hour to hour.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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
from trade_pipeline.core.market.providers.unified import TokenProvider, providers_of
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.local_exchange import server as exchange_server
from trade_pipeline.local_exchange.candles import Candles
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.server import ExchangeServer
from trade_pipeline.local_exchange.units import units
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.live.chaos.audit import KEY, SECRET, audit
from trade_pipeline_tests.core.live.test_exchange_feed import BEGIN, MovedClock
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, local_server
from trade_pipeline_tests.integration.test_secrets import (
    canary,
    files_that_leak,
    found_in,
    tables_that_leak,
)
from trade_pipeline_tests.integration.test_specification import BOT

HOURS, PAID = 100, "1000"
TRADED = units("volume", "1000000")  # tokens in an hour
NOW = BEGIN + HOURS * HOUR + HOUR // 6
KEYS = {
    "coingecko": ("x-cg-demo-api-key", canary("coingecko")),
    "coinmarketcap": ("x-cmc_pro_api_key", canary("coinmarketcap")),
}
COINGECKO = f"/coins/ethereum/contract/{made.TOKEN}"
COINMARKETCAP = "/v2/cryptocurrency/quotes/latest"
ROUTES = {
    COINGECKO: Reply(made.coingecko_coin()),
    "/v2/cryptocurrency/info": Reply(
        {
            "data": {
                "77": {
                    "id": 77,
                    "platform": {"slug": "ethereum", "token_address": made.CHECKSUMMED},
                }
            }
        }
    ),
    COINMARKETCAP: Reply({"data": {"77": made.coinmarketcap_coin()}}),
}
SETTINGS = """
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


def price_at(hour: int) -> float:
    """It rises, a little more each hour."""
    return 0.02 * 1.01 ** (hour - HOURS)


@dataclass
class World:
    """The exchange, whose clock is the session's, and what the database says of the account."""

    exchange: ExchangeServer
    clock: MovedClock
    database: Database
    url: str

    def rows(self, query: str) -> list[Any]:
        with self.database.connect("trade_reader") as connection:
            return connection.execute(query.encode()).fetchall()

    def close_hour(self, price: float) -> None:
        """The price goes there, others trade at it, and the hour ends."""
        self.exchange.exchange.move("MADEUSDT", units("price", f"{price:.8f}"))
        candles = self.exchange.exchange.candles["MADEUSDT"]
        candles.add(self.clock.micros() // 1_000, units("price", f"{price:.8f}"), TRADED)
        self.clock.advance(self.clock.micros() // HOUR * HOUR + HOUR + 1_500_000)

    async def comes(self, query: str) -> bool:
        """Whether there is such a row within a few seconds."""
        for _ in range(50):
            if self.rows(query):
                return True
            await asyncio.sleep(0.1)
        return False

    async def live(self) -> None:
        """Hours until a token is bought, then half as dear again until it is sold, and the end."""
        # What the providers said is stored before it is known.
        stored = "SELECT 1 FROM trade.artifacts WHERE expires_at IS NOT NULL HAVING count(*) > 2"
        assert await self.comes(stored)
        hour, bought = HOURS, False
        while not bought:
            hour += 1
            self.close_hour(price_at(hour))
            bought = await self.comes("SELECT 1 FROM trade.executions WHERE event = 'filled'")
        sold = False
        while not sold:
            self.close_hour(1.5 * price_at(hour))
            sold = await self.comes("SELECT 1 FROM trade.outcomes WHERE kind = 'realised'")
        with self.database.connect(autocommit=True) as connection:
            end_sessions(connection, "made", by="the test")


@contextmanager
def providers_at(server: LocalServer, patch: pytest.MonkeyPatch) -> Iterator[None]:
    """All providers are asked at a server; each is made as ever."""

    def moved(settings: Settings, clock: Clock) -> list[TokenProvider]:
        found = providers_of(settings, clock)
        for one in found:
            one.client._url = server.url
        return found

    patch.setattr(open_market, "providers_of", moved)
    yield


async def with_exchange(folder: Path, clock: MovedClock, database: Database, test: Any) -> Any:
    """A test in a world whose exchange has traded a coin for some days."""
    server = ExchangeServer(folder)
    server.exchange.list_symbol(Listing(base="MADE", depth="5000"))
    server.exchange.open_account(KEY, SECRET, {"USDT": units("USDT", PAID)})
    candles = server.exchange.candles["MADEUSDT"] = Candles()
    for hour in range(HOURS):
        start = (BEGIN + hour * HOUR) // 1_000
        candles.add(start, units("price", f"{price_at(hour):.8f}"), TRADED)
        candles.add(start + 60_000, units("price", f"{price_at(hour + 1):.8f}"), 0)
    server.exchange.move("MADEUSDT", units("price", f"{price_at(HOURS):.8f}"))
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with asyncio.timeout(40):
            return await test(World(server, clock, database, url))
    finally:
        await runner.cleanup()


def test_the_bot_of_the_documentation_trades_as_written_against_the_local_servers(
    server: EmbeddedPostgres,
    fresh_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.chdir(tmp_path)
    clock = MovedClock(NOW)
    monkeypatch.setattr(run, "SystemClock", lambda: clock)
    monkeypatch.setattr(exchange_server, "wall_ms", lambda: clock.micros() // 1_000)
    with fresh_database.connect() as connection:
        name = connection.info.dbname
    code = BOT
    for provider, (_, key) in KEYS.items():
        code = code.replace(f'{provider}_api_key="your_key"', f'{provider}_api_key="{key}"')
    code = code.replace("await bot", "report = await bot")
    names = {"IntegratedTradingBot": trade_pipeline.IntegratedTradingBot}

    async def test(world: World) -> None:
        (tmp_path / "bot.toml").write_text(SETTINGS.format(url=world.url, contract=made.TOKEN))
        given = {
            "HOME": str(tmp_path / "home"), "DATABASE_URL": server.url("postgres", name),
            "BOT_CONFIG": str(tmp_path / "bot.toml"), "EXCHANGE": "binance", "VENUE": "binance",
            "VENUE_URL": world.url, "VENUE_KEY": KEY, "VENUE_SECRET": SECRET,
        }  # fmt: skip
        for setting, value in given.items():
            monkeypatch.setenv(f"TRADE_PIPELINE_{setting}", value)
        example = compile(code, "<example>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        living = asyncio.ensure_future(world.live())
        written = eval(example, names)
        assert inspect.iscoroutine(written)
        await asyncio.gather(written, living)
        assert_traded(world, names)

    with local_server() as answering, providers_at(answering, monkeypatch):
        answering.routes |= ROUTES
        asyncio.run(with_exchange(tmp_path / "exchange", clock, fresh_database, test))
        for path, provider in ((COINGECKO, "coingecko"), (COINMARKETCAP, "coinmarketcap")):
            header, key = KEYS[provider]
            seen = [one.headers for one in answering.requests if one.path == path]
            assert seen, provider
            assert all(one[header] == key for one in seen)
            others = [one.headers for one in answering.requests if header not in one.headers]
            assert all(key not in str(one) for one in others)
    bot = names["bot"]
    bot.close()
    said = f"{caplog.text} {''.join(capfd.readouterr())} {bot!r} {vars(bot)!r} {names['report']!r}"
    assert "trading" in said
    assert not found_in(said.encode())
    assert tables_that_leak(server) == []
    assert files_that_leak(tmp_path) == []


def assert_traded(world: World, names: dict[str, Any]) -> None:
    """A trade went to the exchange and came back, and all of it is in the records."""
    ((uuid, pnl, reason, document),) = world.rows(
        "SELECT o.uuid, realized_pnl_percent, termination_reason, r.content "
        "FROM trade.outcomes o JOIN trade.research_docs r USING (uuid) WHERE kind = 'realised'"
    )
    assert (pnl > 30, reason) == (True, "profit_target")
    bought, sold = world.exchange.exchange.orders.values()
    assert (bought.side, sold.side) == ("BUY", "SELL")
    with world.database.connect("trade_reader") as connection:
        audited = audit(connection, "made", world.exchange._state(b""), PAID)
    assert (audited.trades, audited.wrong) == (1, {})
    sent = world.rows(f"SELECT leg, client_order_id FROM trade.order_intents WHERE uuid = '{uuid}'")
    assert dict(sent) == {"entry": bought.client_id, "exit": sold.client_id}

    research = orjson.loads(document)
    assert research["contract_address"] == made.TOKEN
    supply = 1_900_000.0 / 0.0199
    assert 0.02 * supply < research["initial_market_cap"] < 0.025 * supply
    stored = names["bot"].store.artifacts
    raw = [orjson.loads(stored.get(address)) for address in research["raw_answers"]]
    assert made.coingecko_coin() in raw
    assert {"data": {"77": made.coinmarketcap_coin()}} in raw

    report = names["report"]
    assert (report["account"], report["ended"], report["trades"]) == ("made", "stopped", 1)
    assert report["open_positions"] == 0
    assert report["total_pnl_usd"] == pytest.approx(report["cash_usd"] - 1_000)
