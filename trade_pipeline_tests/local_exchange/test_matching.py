"""The matching engine: nothing is made or lost, no order gets more than it asked for."""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.local_exchange.errors import Refused
from trade_pipeline.local_exchange.exchange import Exchange, NewOrder
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.orders import FEES, HOUSE, OPEN, Order
from trade_pipeline.local_exchange.store import ExchangeStore
from trade_pipeline.local_exchange.units import ONE, decimals, units
from trade_pipeline_tests.conftest import MEMORY

SYMBOL = "AAAUSDT"
LISTING = Listing(base="AAA", tick="0.01", step="0.1", depth="40", levels=3, spread="0.02")


class Ticking:
    """A clock that moves a second each time it is read."""

    def __init__(self) -> None:
        self.now = 1_700_000_000_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


def opened(folder: Path, price: str | None = "10") -> Exchange:
    exchange = Exchange(ExchangeStore(folder), Ticking())
    exchange.list_symbol(LISTING)
    if not exchange.secrets:
        for account in ("one", "two"):
            money = {"USDT": units("", "1000"), "AAA": units("", "100")}
            exchange.open_account(account, "secret", money)
    if price is not None:
        exchange.move(SYMBOL, units("", price))
    return exchange


def close(exchange: Exchange) -> None:
    exchange._store.close()


def new(side: str, quantity: str, price: str | None = None, **more: Any) -> NewOrder:
    kind = more.pop("type", "MARKET" if price is None else "LIMIT")
    limit = None if price is None else units("", price)
    return NewOrder(SYMBOL, side, kind, units("", quantity), limit, **more)


def assert_sound(exchange: Exchange) -> None:
    """The invariants that hold after every change."""
    accounts = exchange.accounts
    held = accounts.held()
    assert all(held[asset] == accounts.deposited.get(asset, 0) for asset in held)
    for (account, asset), balance in accounts.balances.items():
        assert balance.locked >= 0
        assert balance.free >= 0 or account == HOUSE
        market = exchange.markets[SYMBOL]
        locked = sum(
            order.locked
            for order in exchange.orders.values()
            if order.account == account and market.gives(order) == asset
        )
        assert balance.locked == locked
    for order in exchange.orders.values():
        trades = [trade for trade in exchange.trades if trade.order_id == order.id]
        assert sum(trade.quantity for trade in trades) == order.executed <= order.quantity
        assert sum(trade.quote for trade in trades) == order.spent
        assert (order.status == "FILLED") == (order.executed == order.quantity)
        assert order.locked == 0 or order.is_open
        if order.price is not None:
            good = (lambda p, o=order: p <= o.price) if order.side == "BUY" else (
                lambda p, o=order: p >= o.price
            )  # fmt: skip
            assert all(good(trade.price) for trade in trades)
    book = exchange.markets[SYMBOL].book
    bids, asks = book.levels("BUY"), book.levels("SELL")
    assert not bids or not asks or bids[0][0] < asks[0][0], "the book is crossed"


prices = st.integers(850, 1150).map(lambda cents: f"{cents / 100:.2f}")
quantities = st.integers(5, 400).map(lambda tenths: f"{tenths / 10:.1f}")
orders = st.builds(
    lambda account, side, kind, quantity, price, stop, tif, hold, part: (
        "submit",
        account,
        NewOrder(
            SYMBOL, side, kind, units("", quantity),
            units("", price) if "LIMIT" in kind else None,
            units("", stop) if "STOP" in kind else None, tif, None, hold, part,
        ),
    ),
    st.sampled_from(["one", "two"]),
    st.sampled_from(["BUY", "SELL"]),
    st.sampled_from(["MARKET", "LIMIT", "LIMIT", "STOP_LOSS", "STOP_LOSS_LIMIT"]),
    quantities, prices, prices, st.sampled_from(["GTC", "GTC", "IOC"]),
    st.sampled_from([0, 0, 0, 3_000]), st.sampled_from([None, None, ONE]),
)  # fmt: skip
moves = prices.map(lambda price: ("move", units("", price), None))
cancels = st.integers(1, 30).map(lambda number: ("cancel", number, None))
releases = st.just(("release", None, None))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(orders, orders, moves, cancels, releases), min_size=1, max_size=30))
def test_whatever_is_asked_balances_are_conserved_and_no_order_is_filled_beyond_its_size(
    steps: list[Any],
) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        exchange = opened(Path(folder))
        for what, subject, order in steps:
            with suppress(Refused):
                if what == "submit":
                    exchange.submit(subject, order)
                elif what == "cancel":
                    known = exchange.orders.get(subject)
                    exchange.cancel(known.account if known else "one", SYMBOL, subject, "")
                elif what == "move":
                    exchange.move(SYMBOL, subject)
                else:
                    exchange.release()
            assert_sound(exchange)
        close(exchange)
        again = opened(Path(folder), None)
        assert_sound(again)
        # Opening quotes around the last price again, which may fill what rests.
        assert set(again.orders) == set(exchange.orders)
        assert again.trades[: len(exchange.trades)] == exchange.trades
        assert again.accounts.held() == exchange.accounts.held()
        close(again)


def test_the_better_price_goes_first_and_at_one_price_the_earlier(tmp_path: Path) -> None:
    exchange = opened(tmp_path)
    late = exchange.submit("one", new("SELL", "1", "10.05"))
    first = exchange.submit("two", new("SELL", "1", "10.02"))
    second = exchange.submit("one", new("SELL", "1", "10.02"))
    bought = exchange.submit("two", new("BUY", "1.5", "10.05"))
    assert bought.status == "FILLED"
    assert [order.executed for order in (first, second, late)] == [ONE, ONE // 2, 0]
    assert second.status == "PARTIALLY_FILLED"
    taker = [trade for trade in exchange.trades if trade.order_id == bought.id]
    # At the price of who was there first, not at the one that was offered.
    assert [decimals(trade.price) for trade in taker] == ["10.02000000"] * 2
    assert exchange.accounts.of("two")["USDT"].locked == 0
    close(exchange)


def test_fees_are_taken_from_what_a_trade_brings(tmp_path: Path) -> None:
    exchange = opened(tmp_path)
    exchange.submit("one", new("SELL", "2", "10.00"))
    exchange.submit("two", new("BUY", "2", "10.00"))
    one, two = exchange.accounts.of("one"), exchange.accounts.of("two")
    assert decimals(one["USDT"].free) == "1019.98000000"
    assert decimals(two["AAA"].free) == "101.99800000"
    assert decimals(two["USDT"].free) == "980.00000000"
    fees = exchange.accounts.of(FEES)
    assert (fees["USDT"].free, fees["AAA"].free) == (units("", "0.02"), units("", "0.002"))
    close(exchange)


def test_a_second_order_of_an_open_one_s_id_is_refused_and_of_a_filled_one_s_is_not(
    tmp_path: Path,
) -> None:
    """As at Binance: so a client cannot rely on it alone."""
    exchange = opened(tmp_path)
    exchange.submit("one", new("BUY", "1", "9.00", client_id="tp1"))
    with pytest.raises(Refused, match="Duplicate order sent") as raised:
        exchange.submit("one", new("BUY", "1", "9.00", client_id="tp1"))
    assert raised.value.code == -2010
    exchange.submit("two", new("BUY", "1", "9.00", client_id="tp1"))
    exchange.submit("one", new("BUY", "1", client_id="tp2"))
    exchange.submit("one", new("BUY", "1", client_id="tp2"))
    assert len(exchange.orders) == 4
    close(exchange)


@pytest.mark.parametrize(
    ("order", "code", "message"),
    [
        (new("BUY", "1.05"), -1013, "LOT_SIZE"),
        (new("BUY", "0"), -1013, "LOT_SIZE"),
        (new("BUY", "1", "9.999"), -1013, "PRICE_FILTER"),
        (new("BUY", "0.1"), -1013, "NOTIONAL"),
        (new("BUY", "200", "9.00"), -2010, "insufficient balance"),
        (new("BUY", "30"), -2010, None),
        (new("SELL", "100.1"), -2010, "insufficient balance"),
        (new("SELL", "1", type="STOP_LOSS", stop_price=11 * ONE), -2010, "trigger immediately"),
        (new("BUY", "1", type="LIMIT"), -1102, "price"),
        (new("BUY", "1", "9.00", time_in_force="FOK"), -1102, "timeInForce"),
    ],
)
def test_an_order_that_is_refused_changes_nothing(
    tmp_path: Path, order: NewOrder, code: int, message: str | None
) -> None:
    exchange = opened(tmp_path)
    if message is None:
        exchange.submit("one", new("BUY", "100", "9.00"))
    count = len(exchange.orders)
    with pytest.raises(Refused, match=message) as raised:
        exchange.submit("one", order)
    assert raised.value.code == code
    assert len(exchange.orders) == count
    assert_sound(exchange)
    close(exchange)


def test_a_market_order_that_is_larger_than_the_book_expires_with_what_it_got(
    tmp_path: Path,
) -> None:
    exchange = opened(tmp_path)
    sold = exchange.submit("one", new("SELL", "50"))
    assert sold.status == "EXPIRED"
    assert 0 < sold.executed < sold.quantity
    assert exchange.accounts.of("one")["AAA"].locked == 0
    close(exchange)


def test_stops_trip_one_another_down_the_book(tmp_path: Path) -> None:
    exchange = opened(tmp_path)
    stops: list[Order] = [
        exchange.submit(
            "one", new("SELL", "6", type="STOP_LOSS", stop_price=units("", price))
        )
        for price in ("9.95", "9.80", "5.00")
    ]  # fmt: skip
    exchange.move(SYMBOL, units("", "9.94"))
    assert [stop.status for stop in stops] == ["FILLED", "NEW", "NEW"]
    exchange.move(SYMBOL, units("", "9.85"))
    # The house bids below the price, and a sale at its bid is a price, too.
    exchange.submit("two", new("SELL", "1"))
    assert [stop.status for stop in stops] == ["FILLED", "FILLED", "NEW"]
    assert all(order.status in OPEN for order in stops[2:])
    close(exchange)
