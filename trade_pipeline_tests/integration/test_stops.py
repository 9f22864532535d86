"""Stops that rest at the exchange, while a session trades and while nobody watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live import run
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.local_exchange import server as exchange_server
from trade_pipeline.local_exchange.exchange import NewOrder
from trade_pipeline.local_exchange.orders import Order
from trade_pipeline.local_exchange.units import units
from trade_pipeline_tests.core.live.chaos.audit import KEY, SECRET, audit
from trade_pipeline_tests.core.live.test_exchange_feed import BEGIN, MovedClock
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.integration.test_bot import (
    EXCHANGE,
    HOURS,
    PAID,
    Bot,
    LivingExchange,
    bot,
    price_at,
)

__all__ = ["bot"]
Live = Callable[[], Coroutine[Any, Any, None]]
RESTS = 'stops_at_venue = true\norders = "exchange"'


class World:
    """A bot at the local exchange, whose stops rest there."""

    def __init__(self, one: Bot) -> None:
        self.bot, self.hour = one, HOURS
        clock = MovedClock(BEGIN + HOURS * HOUR + HOUR // 6)
        one.patch.setattr(run, "SystemClock", lambda: clock)
        one.patch.setattr(exchange_server, "wall_ms", lambda: clock.micros() // 1_000)
        one.tell(made.TOKEN)
        self.exchange = LivingExchange(one.folder / "exchange", clock)

    async def buy(self) -> None:
        """Hours until the coin is bought, and its stop rests."""
        assert await self.bot.asked()
        while not self.bot.rows("SELECT 1 FROM trade.executions WHERE event = 'filled'"):
            self.hour += 1
            self.exchange.close_hour(price_at(self.hour))
            await self.bot.fills()
        async with asyncio.timeout(10):
            while not self.resting():
                await asyncio.sleep(0.05)

    def resting(self) -> list[dict[str, Any]]:
        state: dict[str, Any] = self.exchange.server._state(b"")
        return [one for one in state["orders"] if one["status"] == "NEW"]

    def trade(self, *lives: Live, between: Callable[[], None] = lambda: None) -> None:
        """Sessions, one after the other."""

        async def every() -> None:
            async with self.exchange.served() as url:
                settings = {
                    "EXCHANGE": "binance", "VENUE": "binance", "VENUE_URL": url, "VENUE_KEY": KEY,
                    "VENUE_SECRET": SECRET,
                }  # fmt: skip
                config = EXCHANGE.format(url=url, contract=made.TOKEN)
                for number, live in enumerate(lives):
                    if number:
                        between()
                        self.bot.names.pop("bot").close()
                    rests = config.replace('orders = "exchange"', RESTS)
                    await self.bot.trade(settings, rests, live)

        asyncio.run(every())

    def outcome(self) -> tuple[float, str]:
        """Of the only trade, whose books are in order."""
        with self.bot.database.connect("trade_reader") as connection:
            state = self.exchange.server._state(b"")
            assert audit(connection, "made", state, PAID).wrong == {}
        ((pnl, reason),) = self.bot.rows(
            "SELECT realized_pnl_percent, termination_reason FROM trade.outcomes "
            "WHERE kind = 'realised'"
        )
        return pnl, reason

    def price(self, price: str) -> None:
        self.exchange._exchange.move("MADEUSDT", units("price", price))


def test_a_stop_that_is_reached_while_nobody_watches_closes_the_trade(bot: Bot) -> None:
    world = World(bot)

    async def comes_back() -> None:
        assert await bot.closes()

    def crash() -> None:
        ((stop,),) = [(one["stopPrice"],) for one in world.resting()]
        bought = float(price_at(world.hour))
        assert 0.8 * bought < float(stop) < 0.9 * bought
        world.price(f"{0.84 * bought:.8f}")
        assert world.resting() == []

    world.trade(world.buy, comes_back, between=crash)
    pnl, reason = world.outcome()
    assert reason == "stop_loss"
    assert -30 < pnl < -15
    found = bot.rows("SELECT kind, explained FROM trade.reconciliations WHERE kind <> 'start'")
    assert found == [("filled_while_away", True)]


def test_an_exit_takes_the_stop_back_before_it_sells(bot: Bot) -> None:
    world = World(bot)

    async def rises() -> None:
        await world.buy()
        while not bot.rows("SELECT 1 FROM trade.outcomes WHERE kind = 'realised'"):
            world.exchange.close_hour(f"{1.5 * float(price_at(world.hour)):.8f}")
            await bot.closes()

    world.trade(rises)
    assert world.outcome()[1] == "profit_target"
    assert world.resting() == []
    events = bot.rows(
        "SELECT event FROM trade.executions WHERE leg = 'exit' ORDER BY chain_seq, sequence"
    )
    assert [event for (event,) in events] == ["submitted", "cancelled", "submitted", "filled"]


def test_a_stop_that_the_exchange_took_away_is_placed_again(bot: Bot) -> None:
    world = World(bot)

    async def loses_it() -> None:
        await world.buy()
        (first,) = world.resting()
        world.exchange._exchange.cancel(KEY, "MADEUSDT", first["orderId"], "")
        async with asyncio.timeout(30):
            while [one["orderId"] for one in world.resting()] in ([], [first["orderId"]]):
                world.hour += 1
                world.exchange.close_hour(price_at(world.hour))
                await asyncio.sleep(0.5)

    world.trade(loses_it)
    assert len(world.resting()) == 1


def test_stops_rest_only_where_orders_go_to_an_exchange() -> None:
    with pytest.raises(BadConfig, match="stops_at_venue: simulated orders do not rest"):
        LiveConfig.parse({"stops_at_venue": True})


def test_a_stop_whose_price_was_reached_before_it_stood_is_an_exit_at_once(bot: Bot) -> None:
    world = World(bot)
    exchange = world.exchange._exchange
    submit = exchange.submit

    def crashes(account: str, new: NewOrder) -> Order:
        if new.stop_price is not None:
            exchange.move("MADEUSDT", units("price", f"{0.8 * float(price_at(world.hour)):.8f}"))
        return submit(account, new)

    async def buys() -> None:
        assert await bot.asked()
        bot.patch.setattr(exchange, "submit", crashes)
        while not await bot.closes():
            world.hour += 1
            world.exchange.close_hour(price_at(world.hour))

    world.trade(buys)
    pnl, reason = world.outcome()
    assert reason == "stop_loss"
    assert pnl < -15
