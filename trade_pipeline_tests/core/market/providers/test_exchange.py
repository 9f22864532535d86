"""An exchange by ccxt, REST and websocket, against a local server that speaks Binance."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest
from aiohttp import WSMsgType, web

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.providers.errors import (
    ProviderRefused,
    ProviderUnavailable,
    TokenNotListed,
)
from trade_pipeline.core.market.providers.exchange import Bar, Exchange
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline_tests.core.market.providers.test_http import FAST, NOON

T = TypeVar("T")
HOUR = 3_600_000_000


def market(base: str, quote: str) -> dict[str, Any]:
    return {
        "symbol": base + quote, "status": "TRADING", "baseAsset": base, "quoteAsset": quote,
        "baseAssetPrecision": 8, "quotePrecision": 8, "quoteAssetPrecision": 8,
        "orderTypes": ["MARKET"], "isSpotTradingAllowed": True, "permissions": ["SPOT"],
        "filters": [],
    }  # fmt: skip


class Binance:
    """Answers like Binance; ``faults``: statuses that come before the true answer."""

    def __init__(self) -> None:
        self.faults: list[int] = []
        self.asked: list[str] = []

    async def info(self, _: web.Request) -> web.Response:
        return web.json_response({"symbols": [market("PEPE", "USDT"), market("PEPE", "BTC")]})

    async def ticker(self, request: web.Request) -> web.Response:
        self.asked.append(request.query_string)
        if self.faults:
            status = self.faults.pop(0)
            if status == 400:
                return web.json_response({"code": -1100, "msg": "Illegal"}, status=status)
            return web.Response(status=status, text="busy")
        return web.json_response(
            {"symbol": request.query["symbol"], "lastPrice": "0.0000012", "quoteVolume": "250000"}
        )

    async def klines(self, _: web.Request) -> web.Response:
        hours = [NOON // 1000 + h * 3_600_000 for h in (-3, -2, -1, 0)]
        return web.json_response([[h, "1", "3", "0.5", "2", "100"] for h in hours])

    async def stream(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT and "SUBSCRIBE" in message.data:
                await socket.send_json({"result": None, "id": json.loads(message.data)["id"]})
                for price in ("0.5", "0.6"):
                    await socket.send_json(
                        {"e": "24hrMiniTicker", "E": 1, "s": "PEPEUSDT", "c": price, "q": "7"}
                    )
                    await asyncio.sleep(0.05)
        return socket


def with_exchange(
    question: Callable[[Exchange], Coroutine[Any, Any, T]],
    binance: Binance | None = None,
    **config: Any,
) -> T:
    async def ask() -> T:
        served = binance or Binance()
        app = web.Application()
        app.router.add_get("/api/v3/exchangeInfo", served.info)
        app.router.add_get("/api/v3/ticker/24hr", served.ticker)
        app.router.add_get("/api/v3/klines", served.klines)
        app.router.add_get("/ws/{tail:.*}", served.stream)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        given = {
            "options": {"fetchMarkets": {"types": ["spot"]}},
            "urls": {
                "api": {
                    "public": f"http://{host}:{port}/api/v3",
                    "ws": {"spot": f"ws://{host}:{port}/ws"},
                }
            },
        }
        try:
            exchange = Exchange(
                "binance", MarketClock(NOON), config=ClientConfig(**FAST | config), given=given
            )
            async with exchange:
                return await question(exchange)
        finally:
            await runner.cleanup()

    return asyncio.run(ask())


def test_a_pair_has_its_price_and_volume_in_usd() -> None:
    seen = with_exchange(lambda exchange: exchange.pair("PEPE/USDT"))
    assert (seen.price_usd, seen.volume_24h_usd) == (0.0000012, 250_000)
    assert (seen.instrument, seen.symbol, seen.provider) == ("PEPE/USDT", "PEPE", "binance")
    assert seen.observed_at == NOON
    assert b"0.0000012" in seen.answers[0].content


def test_a_pair_in_another_currency_has_no_price_in_usd() -> None:
    seen = with_exchange(lambda exchange: exchange.pair("PEPE/BTC"))
    assert (seen.price_usd, seen.volume_24h_usd) == (None, None)


def test_only_bars_that_have_closed_are_told() -> None:
    bars = with_exchange(lambda exchange: exchange.bars("PEPE/USDT", NOON - 2 * HOUR))
    assert bars == [
        Bar(NOON - 2 * HOUR, 1.0, 3.0, 0.5, 2.0, 100.0),
        Bar(NOON - HOUR, 1.0, 3.0, 0.5, 2.0, 100.0),
    ]


def test_an_exchange_that_is_busy_is_asked_again() -> None:
    binance = Binance()
    binance.faults = [503, 503]
    seen = with_exchange(lambda exchange: exchange.pair("PEPE/USDT"), binance, attempts=3)
    assert seen.price_usd == 0.0000012
    assert len(binance.asked) == 3


@pytest.mark.parametrize(
    ("pair", "faults", "error"),
    [
        ("NOPE/USDT", [], TokenNotListed),
        ("PEPE/USDT", [503] * 9, ProviderUnavailable),
        ("PEPE/USDT", [400] * 9, ProviderRefused),
    ],
)
def test_the_errors_of_ccxt_are_those_of_every_provider(
    pair: str, faults: list[int], error: type[Exception]
) -> None:
    binance = Binance()
    binance.faults = faults
    with pytest.raises(error) as caught:
        with_exchange(lambda exchange: exchange.pair(pair), binance, attempts=2)
    assert "http" not in str(caught.value)


def test_a_pair_is_watched_by_websocket() -> None:
    binance = Binance()

    async def two(exchange: Exchange) -> list[float | None]:
        prices = []
        async for seen in exchange.watch("PEPE/USDT"):
            prices.append(seen.price_usd)
            if len(prices) == 2:
                break
        return prices

    assert with_exchange(two, binance) == [0.5, 0.6]
    assert binance.asked == []


def test_an_exchange_that_ccxt_does_not_know_is_a_mistake_of_the_user() -> None:
    with pytest.raises(BadConfig, match="exchange='nowhere'"):
        Exchange("nowhere", MarketClock(NOON))
