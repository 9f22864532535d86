"""An exchange's exact answers, as the orders and fills of a live session."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import pytest

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.execution.exchange_venue import Holding
from trade_pipeline.core.execution.orders import OrderFill, OrderStatus
from trade_pipeline.core.execution.orders import OrderIntent as ExchangeIntent
from trade_pipeline.core.execution.orders import OrderState as ExchangeState
from trade_pipeline.core.execution.venue_errors import VenueRefused
from trade_pipeline.core.ids import client_order_id, micros
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.exchange_orders import ExchangeOrders
from trade_pipeline.core.live.ports import OrderState
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.settings import Settings

START = datetime(2026, 1, 5, tzinfo=UTC)
UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
NAME = client_order_id(UUID_ONE, "entry")


def fill(number: int, amount: str, price: str = "2", **more: Any) -> OrderFill:
    given = OrderFill(
        str(number), "7", "PEPE/USDT", "buy", START + timedelta(seconds=number), Decimal(price),
        Decimal(amount), Decimal(price) * Decimal(amount), Decimal(amount) / 1000, "PEPE",
    )  # fmt: skip
    return replace(given, **more)


def entry(stake_usd: float = 200.0, price: float = 2.0) -> OrderIntent:
    return OrderIntent(
        NAME, UUID_ONE, "a", 1, "entry", 0, "PEPE/USDT", stake_usd, None, price, START
    )


class FakeExchange:
    """Answers with one order."""

    def __init__(self, status: OrderStatus, filled: str, *fills: OrderFill) -> None:
        self.state = ExchangeState(
            NAME, "PEPE/USDT", "buy", Decimal(100), status, Decimal(filled), "7", fills, START,
            START,
        )  # fmt: skip
        self.sent: list[ExchangeIntent] = []

    async def submit(self, intent: ExchangeIntent) -> ExchangeState:
        self.sent.append(intent)
        return self.state

    async def fetch(self, client_order_id: str, symbol: str) -> ExchangeState:
        return self.state

    async def fills_since(self, symbol: str, moment: datetime) -> Sequence[OrderFill]:
        return [one for one in self.state.fills if one.at >= moment]

    async def client_order_id(self, order_id: str, symbol: str) -> str:
        return {"7": NAME}.get(order_id, "somebody else's")

    async def price(self, symbol: str) -> Decimal:
        assert symbol == "BNB/USDT"
        return Decimal(600)

    async def balances(self) -> Mapping[str, Holding]:
        return {
            "USDT": Holding(Decimal(5), Decimal(0)),
            "PEPE": Holding(Decimal("1.5"), Decimal(2)),
        }


def orders(exchange: FakeExchange, **more: Any) -> ExchangeOrders:
    return ExchangeOrders(cast(CcxtVenue, exchange), MarketClock(5), **more)


def told(exchange: FakeExchange, **more: Any) -> OrderState:
    return asyncio.run(orders(exchange, **more).fetch(NAME, "PEPE/USDT"))


def test_a_stake_is_sent_as_an_amount_at_the_decided_price() -> None:
    exchange = FakeExchange(OrderStatus.FILLED, "100", fill(1, "100"))
    state = asyncio.run(orders(exchange).submit(entry(stake_usd=33.3, price=0.3)))
    (sent,) = exchange.sent
    # Not the 110.99999... of the two floats.
    assert (sent.amount, sent.side, sent.client_order_id) == (Decimal("111"), "buy", NAME)
    assert (state.status, state.leg, state.instrument) == ("filled", "entry", "PEPE/USDT")


def test_an_order_without_a_price_is_refused_before_it_is_sent() -> None:
    exchange = FakeExchange(OrderStatus.FILLED, "100")
    with pytest.raises(VenueRefused, match="no price"):
        asyncio.run(orders(exchange).submit(entry(price=0.0)))
    assert exchange.sent == []


def test_a_fee_in_tokens_is_inside_the_price_and_any_other_is_paid_on_top() -> None:
    (one,) = told(FakeExchange(OrderStatus.FILLED, "100", fill(1, "100"))).fills
    assert (one.tokens, one.value_usd, one.costs_usd) == (99.9, 200.0, {})
    assert one.price == pytest.approx(200 / 99.9)
    assert one.inside_usd == {"exchange_fee": 0.2}
    quoted = fill(1, "100", fee_asset="USDT")
    (one,) = told(FakeExchange(OrderStatus.FILLED, "100", quoted)).fills
    assert (one.tokens, one.costs_usd) == (100.0, {"exchange_fee": 0.1})
    other = fill(1, "100", fee_asset="BNB")
    (one,) = told(FakeExchange(OrderStatus.FILLED, "100", other)).fills
    assert one.costs_usd == {"exchange_fee": 60.0}


def test_the_last_fill_of_a_filled_order_completes_it_and_impact_is_against_the_first() -> None:
    fills = (fill(1, "60"), fill(2, "40", price="2.02"))
    state = told(FakeExchange(OrderStatus.FILLED, "100", *fills))
    assert [one.complete for one in state.fills] == [False, True]
    assert [one.impact for one in state.fills] == [0.0, pytest.approx(0.01)]
    cancelled = told(FakeExchange(OrderStatus.CANCELLED, "60", fills[0]))
    assert (cancelled.status, [one.complete for one in cancelled.fills]) == ("cancelled", [False])


def test_an_order_has_not_ended_before_every_fill_of_it_is_told() -> None:
    state = told(FakeExchange(OrderStatus.FILLED, "100", fill(1, "60")))
    # What is told may not be the first of them.
    assert (state.status, state.fills) == ("open", [])


def test_in_a_replayed_market_a_fill_happens_when_it_is_heard_of() -> None:
    exchange = FakeExchange(OrderStatus.FILLED, "100", fill(1, "100"))
    assert told(exchange).fills[0].at == micros(START) + 1_000_000
    assert told(exchange, replayed=True).fills[0].at == 5


def test_fills_name_their_orders_and_foreign_ones_are_foreign() -> None:
    exchange = FakeExchange(
        OrderStatus.FILLED, "100", fill(1, "100"), fill(2, "5", order_id="9", side="sell")
    )
    found = asyncio.run(orders(exchange).fills_since(micros(START), ["PEPE/USDT"]))
    assert [(one.client_order_id, one.leg) for one in found] == [
        (NAME, "entry"), ("somebody else's", "exit"),
    ]  # fmt: skip


def test_what_is_locked_in_orders_is_held_as_well() -> None:
    exchange = FakeExchange(OrderStatus.FILLED, "0")
    assert asyncio.run(orders(exchange).balances()) == {"PEPE/USDT": 3.5}


def test_a_paper_session_sends_no_order_to_where_real_money_is() -> None:
    config = LiveConfig.parse({"orders": "exchange"})
    with pytest.raises(BadConfig, match="a paper session trades no real money"):
        config.require_allowed(Settings(venue="binance"))
    for url in ("https://api.binance.com", "http://127.0.0.1.example.com"):
        with pytest.raises(BadConfig, match="TRADE_PIPELINE_VENUE_URL"):
            config.require_allowed(Settings(venue="binance", venue_url=url))
    config.require_allowed(Settings(venue="binance", venue_url="http://127.0.0.1:8090"))
    config.require_allowed(Settings(venue="binance", venue_sandbox=True))
