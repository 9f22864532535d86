"""The real client of ccxt against the local exchange: the life of orders, and every fault."""

from __future__ import annotations

import asyncio
import logging
import traceback
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import SecretStr

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.execution.ccxt_client import VenueAccount, open_client
from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.execution.orders import OrderStatus, amount_of
from trade_pipeline.core.execution.venue_errors import (
    BelowMinimum,
    InsufficientFunds,
    OrderUnknown,
    StopReached,
    VenueError,
    VenueRefused,
    VenueUnavailable,
)
from trade_pipeline.settings import Settings
from trade_pipeline_tests.local_exchange.served import ACCOUNT, KEY, SECRET, SYMBOL, Served, run
from trade_pipeline_tests.local_exchange.served import intent as order

LOST = ["cut_before", "cut_after", "bad_json", "server_error", "maintenance"]


def test_a_market_order_fills_over_several_levels_and_each_fill_is_told_once(
    tmp_path: Path,
) -> None:
    async def test(exchange: Served) -> None:
        before = await exchange.venue.server_time()
        state = await exchange.venue.submit(order(amount="50000.19"))
        assert state.status is OrderStatus.FILLED
        assert state.is_settled
        # Rounded down to the step, never up.
        assert state.amount == Decimal("50000.1")
        assert len(state.fills) > 1
        assert amount_of(state.fills) == state.amount
        assert {fill.fee_asset for fill in state.fills} == {"PEPE"}
        assert await exchange.venue.fetch(state.client_order_id, SYMBOL) == state
        moment = before - timedelta(seconds=1)
        assert await exchange.venue.fills_since(SYMBOL, moment) == list(state.fills)
        balances = await exchange.venue.balances()
        fees = sum(fill.fee for fill in state.fills)
        paid = sum(fill.value for fill in state.fills)
        assert balances["PEPE"].free == state.amount - fees
        assert balances["USDT"].free == 1000 - paid

    run(tmp_path, test)


def test_a_limit_order_rests_is_partly_filled_and_cancelled(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        wanted = order(price=Decimal("0.0009000049"))
        state = await exchange.venue.submit(wanted)
        assert state.status is OrderStatus.ACKNOWLEDGED
        assert (await exchange.venue.balances())["USDT"].locked == Decimal("45")
        assert [s.client_order_id for s in await exchange.venue.open_orders(SYMBOL)] == [
            wanted.client_order_id
        ]
        exchange.move("0.0008985")
        state = await exchange.venue.fetch(wanted.client_order_id, SYMBOL)
        assert state.status is OrderStatus.PARTLY_FILLED
        assert 0 < state.filled < state.amount
        assert amount_of(state.fills) == state.filled
        ended = await exchange.venue.cancel(wanted.client_order_id, SYMBOL)
        assert ended.status is OrderStatus.CANCELLED
        assert ended.is_settled
        assert ended.filled == state.filled
        assert await exchange.venue.cancel(wanted.client_order_id, SYMBOL) == ended
        assert await exchange.venue.open_orders() == []
        assert (await exchange.venue.balances())["USDT"].locked == 0

    run(tmp_path, test)


def test_a_stop_rests_at_the_venue_and_sells_when_the_market_reaches_it(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        assert (await exchange.venue.instrument_rules(SYMBOL)).holds_stops
        await exchange.venue.submit(order())
        stop = order("sell", "49900", stop_price=Decimal("0.0008"))
        assert (await exchange.venue.submit(stop)).status is OrderStatus.ACKNOWLEDGED
        higher = replace(stop, attempt=1, stop_price=Decimal("0.0009"))
        old, new = await exchange.venue.replace(stop.client_order_id, higher)
        assert old.status is OrderStatus.CANCELLED
        assert new is not None
        exchange.move("0.00085")
        state = await exchange.settled(higher)
        assert state.status is OrderStatus.FILLED
        assert all(fill.price < Decimal("0.00085") for fill in state.fills)
        old, new = await exchange.venue.replace(higher.client_order_id, replace(stop, attempt=2))
        assert (old.status, new) == (OrderStatus.FILLED, None)

    run(tmp_path, test)


@pytest.mark.parametrize("kept_apart", ["fetchOrder", "fetchOpenOrders"])
def test_a_venue_whose_stops_are_not_found_among_its_orders_gets_none(
    tmp_path: Path, kept_apart: str
) -> None:
    async def test(exchange: Served) -> None:
        await exchange.venue.submit(order())
        # As ccxt describes OKX, Bybit, KuCoin and Gate.
        exchange.venue._client.features["spot"][kept_apart]["trigger"] = True
        assert not (await exchange.venue.instrument_rules(SYMBOL)).holds_stops
        with pytest.raises(VenueRefused, match="holds no stops"):
            await exchange.venue.submit(order("sell", "40000", stop_price=Decimal("0.0008")))
        assert len(exchange.orders()) == 1

    run(tmp_path, test)


def test_what_the_venue_cannot_accept_is_a_typed_error_and_no_order(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        with pytest.raises(BelowMinimum, match="the least is 5"):
            await exchange.venue.submit(order(amount="4000"))
        with pytest.raises(BelowMinimum, match="in whole steps"):
            await exchange.venue.submit(order(amount="0.05"))
        with pytest.raises(InsufficientFunds):
            await exchange.venue.submit(order(amount="2000000", price=Decimal("0.001")))
        with pytest.raises(InsufficientFunds):
            await exchange.venue.submit(order("sell"))
        with pytest.raises(VenueRefused, match="NONE/USDT is not traded"):
            await exchange.venue.submit(replace(order(), symbol="NONE/USDT"))
        with pytest.raises(OrderUnknown):
            await exchange.venue.fetch(order().client_order_id, SYMBOL)
        with pytest.raises(OrderUnknown):
            await exchange.venue.cancel(order().client_order_id, SYMBOL)
        assert exchange.orders() == []
        bought = await exchange.venue.submit(order())
        with pytest.raises(StopReached):
            await exchange.venue.submit(order("sell", "40000", stop_price=Decimal("0.0011")))
        assert len(exchange.orders()) == 1
        assert bought.is_settled

    run(tmp_path, test)


@pytest.mark.parametrize("fault", LOST)
def test_an_order_whose_answer_was_lost_stands_exactly_once(tmp_path: Path, fault: str) -> None:
    async def test(exchange: Served) -> None:
        exchange.fault(fault, "POST order")
        state = await exchange.venue.submit(order())
        assert state.is_settled
        assert [o.client_id for o in exchange.orders()] == [order().client_order_id]
        assert exchange.server.faults.plan.faults[0].count == 0

    run(tmp_path, test)


def test_an_order_that_arrives_after_its_answer_was_given_up_is_not_sent_again(
    tmp_path: Path,
) -> None:
    async def test(exchange: Served) -> None:
        # The client gives up after 0.2 s, the exchange looks at the order after 0.4 s and takes it.
        exchange.fault("delay", "POST order", seconds=0.4)
        state = await exchange.venue.submit(order())
        assert state.is_settled
        await asyncio.sleep(0.5)
        assert len(exchange.orders()) == 1

    run(tmp_path, test, call_seconds=0.2, window_seconds=0.6)


def test_an_order_that_arrives_after_the_window_is_refused_and_the_second_stands(
    tmp_path: Path,
) -> None:
    async def test(exchange: Served) -> None:
        exchange.fault("delay", "POST order", seconds=1.0)
        state = await exchange.venue.submit(order())
        assert state.is_settled
        await asyncio.sleep(0.8)
        assert len(exchange.orders()) == 1

    run(tmp_path, test, call_seconds=0.2, window_seconds=0.3)


def test_an_order_whose_venue_died_is_unresolved_until_the_venue_is_back(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        await exchange.ready()
        exchange.fault("cut_after", count=None)
        with pytest.raises(VenueUnavailable) as raised:
            await exchange.venue.submit(order())
        assert raised.value.may_stand
        exchange.fault("delay", count=0)
        state = await exchange.venue.resolve(order())
        assert state is not None
        assert state.is_settled
        assert await exchange.venue.resolve(replace(order(), attempt=1)) is None

    run(tmp_path, test, deadline_seconds=1.0)


@pytest.mark.parametrize("fault", [*LOST, "too_many_requests", "delay", "slow_answer"])
def test_every_call_that_may_be_repeated_survives_a_fault(tmp_path: Path, fault: str) -> None:
    async def test(exchange: Served) -> None:
        resting = order(price=Decimal("0.0009"))
        for call in (
            lambda: exchange.venue.instrument_rules(SYMBOL),
            lambda: exchange.venue.submit(order()),
            lambda: exchange.venue.submit(replace(resting, attempt=1)),
            exchange.venue.balances,
            lambda: exchange.venue.open_orders(SYMBOL),
            lambda: exchange.venue.fetch(order().client_order_id, SYMBOL),
            lambda: exchange.venue.cancel(replace(resting, attempt=1).client_order_id, SYMBOL),
            exchange.venue.server_time,
        ):
            exchange.fault(fault)
            await call()
        moment = await exchange.venue.server_time() - timedelta(seconds=60)
        exchange.fault(fault, "GET myTrades")
        assert len(await exchange.venue.fills_since(SYMBOL, moment)) > 1
        assert len(exchange.orders()) == 2

    run(tmp_path, test)


def test_a_storm_of_429_is_waited_out_as_long_as_the_venue_asks(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        exchange.fault("too_many_requests", "POST order", count=3, seconds=0.1)
        assert (await exchange.venue.submit(order())).is_settled
        exchange.fault("too_many_requests", "POST order", seconds=60)
        with pytest.raises(VenueUnavailable) as raised:
            await exchange.venue.submit(replace(order(), attempt=1))
        assert not raised.value.may_stand
        assert len(exchange.orders()) == 1

    run(tmp_path, test)


@pytest.mark.parametrize("ahead", [-60_000, 60_000])
def test_a_clock_that_jumps_is_read_again_and_the_order_stands_once(
    tmp_path: Path, ahead: int
) -> None:
    async def test(exchange: Served) -> None:
        await exchange.venue.balances()
        exchange.fault("clock_skew", count=None, milliseconds=ahead)
        assert (await exchange.venue.submit(order())).is_settled
        exchange.fault("delay", count=0)
        assert (await exchange.venue.submit(replace(order(), attempt=1))).is_settled
        assert len(exchange.orders()) == 2

    run(tmp_path, test)


def test_fills_that_are_told_twice_and_out_of_order_count_once(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        exchange.fault("duplicate_fill", count=None)
        state = await exchange.venue.submit(order())
        assert state.is_settled
        moment = await exchange.venue.server_time() - timedelta(seconds=60)
        assert await exchange.venue.fills_since(SYMBOL, moment) == list(state.fills)

    run(tmp_path, test)


def test_a_fill_that_comes_late_is_told_when_it_has_come(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        exchange.fault("late_fill", "POST order")
        state = await exchange.venue.submit(order())
        assert (state.status, state.fills) == (OrderStatus.ACKNOWLEDGED, ())
        assert (await exchange.settled(order())).status is OrderStatus.FILLED

    run(tmp_path, test)


def test_an_order_whose_fills_are_told_later_is_not_settled_before(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        exchange.fault("late_report", "GET myTrades", count=2)
        state = await exchange.venue.submit(order())
        assert state.status is OrderStatus.FILLED
        assert amount_of(state.fills) < state.filled == state.amount
        assert not state.is_settled
        assert (await exchange.settled(order())).fills[:-1] == state.fills

    run(tmp_path, test)


def test_an_order_of_which_only_a_part_is_filled_tells_what_is_left(tmp_path: Path) -> None:
    async def test(exchange: Served) -> None:
        exchange.fault("partial_fill", "POST order", fraction=0.25)
        state = await exchange.venue.submit(order())
        assert (state.status, state.filled) == (OrderStatus.EXPIRED, Decimal(12_500))
        assert state.is_settled
        exchange.fault("partial_fill", "POST order", fraction=0.5, seconds=0.1)
        limited = order(price=Decimal("0.0011"), attempt=1)
        state = await exchange.venue.submit(limited)
        assert (state.status, state.filled) == (OrderStatus.PARTLY_FILLED, Decimal(25_000))
        assert (await exchange.settled(limited)).status is OrderStatus.FILLED

    run(tmp_path, test)


def test_no_error_and_no_log_holds_key_secret_or_signature(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []

    async def test(exchange: Served) -> None:
        venue = exchange.venue
        await exchange.ready()
        for number, fault in enumerate([*LOST, "too_many_requests", "slow_answer"]):
            exchange.fault(fault, count=None, seconds=0.5)
            new = replace(order(), attempt=number)
            calls = (venue.submit(new), venue.balances(), venue.open_orders(SYMBOL))
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, VenueUnavailable)
                told.append("".join(traceback.format_exception(error)))
                hanging: BaseException | None = error
                while hanging is not None:
                    told.append(repr(hanging))
                    hanging = hanging.__context__
        exchange.fault("delay", count=0)
        exchange.server.exchange.secrets[KEY] = "another"
        with pytest.raises(VenueError) as refused:
            await venue.balances()
        told.append(str(refused.value))

    run(tmp_path, test, deadline_seconds=0.2, call_seconds=0.2)
    text = "\n".join([*told, caplog.text, repr(ACCOUNT)])
    assert "binance" in text
    for secret in (KEY, SECRET, "signature=", "timestamp="):
        assert secret not in text


def test_an_account_that_is_not_whole_or_not_known_is_named() -> None:
    with pytest.raises(BadConfig, match="TRADE_PIPELINE_VENUE_SECRET: not set"):
        VenueAccount.of(Settings(venue="binance", venue_key=SecretStr("key"), _env_file=None))
    with pytest.raises(BadConfig, match="venue='nowhere'"):
        CcxtVenue(replace(ACCOUNT, exchange="nowhere"))


def test_a_sandbox_is_the_test_network_and_never_the_real_one() -> None:
    async def urls() -> str:
        client = open_client(replace(ACCOUNT, sandbox=True))
        await client.close()
        return str(client.urls["api"])

    assert "testnet.binance.vision" in asyncio.run(urls())
