"""The exchange: what its accounts may ask for; each change is stored before it is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from uuid import uuid4

from trade_pipeline.local_exchange.accounts import INSUFFICIENT, Accounts
from trade_pipeline.local_exchange.candles import Candles
from trade_pipeline.local_exchange.errors import (
    BAD_PARAMETER,
    BAD_SYMBOL,
    CANCEL_REJECTED,
    FILTER,
    NO_ORDER,
    REJECTED,
    Refused,
)
from trade_pipeline.local_exchange.listing import ORDER_TYPES, Listing
from trade_pipeline.local_exchange.matching import Market
from trade_pipeline.local_exchange.orders import Order, Trade
from trade_pipeline.local_exchange.store import ExchangeStore
from trade_pipeline.local_exchange.units import value_up


@dataclass(frozen=True, slots=True)
class NewOrder:
    """What an account asks for; amounts in units.

    Attributes:
        hold_ms: an injected fault keeps the order from the market for so long.
        may_execute: an injected fault lets so much of it be executed before that.
    """

    symbol: str
    side: str
    type: str
    quantity: int
    price: int | None = None
    stop_price: int | None = None
    time_in_force: str = "GTC"
    client_id: str | None = None
    hold_ms: int = 0
    may_execute: int | None = None


class Exchange:
    """Accounts, markets, orders and trades, as they are stored."""

    def __init__(self, store: ExchangeStore, clock: Callable[[], int]) -> None:
        """Open what is stored.

        Args:
            clock: tells milliseconds since 1970-01-01 UTC.
        """
        self._store = store
        self._clock = clock
        self.accounts = Accounts()
        self.secrets: dict[str, str] = {}
        self.markets: dict[str, Market] = {}
        self.candles: dict[str, Candles] = {}
        self.orders: dict[int, Order] = {}
        self.trades: list[Trade] = []
        self._by_client_id: dict[tuple[str, str], Order] = {}
        self._stored_last: dict[str, int | None] = {}
        self._restore()

    def _restore(self) -> None:
        stored = self._store.load()
        self.secrets = stored.secrets
        self.accounts.balances.update(stored.balances)
        self.accounts.deposited.update(stored.deposited)
        self.trades = stored.trades
        self._order_ids = count(1 + max((order.id for order in stored.orders), default=0))
        self._trade_ids = count(1 + max((trade.id for trade in stored.trades), default=0))
        for listing, last, candles in stored.listings:
            self._add(listing)
            self.markets[listing.symbol].last = last
            self.candles[listing.symbol] = candles
        for order in stored.orders:
            self.orders[order.id] = order
            self._by_client_id[order.account, order.client_id] = order
            if order.is_open:
                self.markets[order.symbol].rest(order)
        with self._change() as now:
            for market in self.markets.values():
                if market.last is not None:
                    market.move(market.last, now)

    @contextmanager
    def _change(self) -> Iterator[int]:
        """What happens inside is stored at its end, in one transaction; gives the moment."""
        now = self._clock()
        yield now
        touched: dict[int, Order] = {}
        trades: list[Trade] = []
        for market in self.markets.values():
            touched |= market.touched
            trades += market.new_trades
            market.touched, market.new_trades = {}, []
        for trade in trades:
            self.candles[trade.symbol].add(trade.time, trade.price, trade.quantity)
        balances = {key: self.accounts.balances[key] for key in self.accounts.touched}
        self.accounts.touched = set()
        self.trades += trades
        listings = [
            (market.listing, market.last, self.candles[symbol])
            for symbol, market in self.markets.items()
            if self._stored_last.get(symbol, -1) != market.last or self.candles[symbol].touched
        ]
        self._stored_last = {symbol: market.last for symbol, market in self.markets.items()}
        self._store.save(balances, touched.values(), trades, listings)

    def _add(self, listing: Listing) -> None:
        self.markets[listing.symbol] = Market(listing, self.accounts, self._trade_ids)
        self.candles[listing.symbol] = Candles()

    def market(self, symbol: str) -> Market:
        """A listed market.

        Raises:
            Refused: there is none.
        """
        if symbol not in self.markets:
            raise Refused(*BAD_SYMBOL, "Invalid symbol.")
        return self.markets[symbol]

    def list_symbol(self, listing: Listing) -> None:
        """List a symbol; one that is listed stays as it is."""
        if listing.symbol not in self.markets:
            with self._change():
                self._add(listing)

    def open_account(self, key: str, secret: str, deposits: dict[str, int]) -> None:
        """Open an account, or pay into one that is open."""
        with self._change():
            self.secrets[key] = secret
            self._store.save_account(key, secret)
            for asset, amount in deposits.items():
                self.accounts.deposit(key, asset, amount)
                self._store.save_deposit(key, asset, amount)

    def move(self, symbol: str, price: int) -> None:
        """The market's price has moved."""
        market = self.market(symbol)
        price = price // market.listing.amount("tick") * market.listing.amount("tick")
        if price <= 0:
            raise Refused(*FILTER, "Filter failure: PRICE_FILTER")
        with self._change() as now:
            self.candles[symbol].add(now, price, 0)
            market.release(now)
            market.move(price, now)

    def release(self) -> None:
        """Go on with orders that a fault has held back long enough."""
        now = self._clock()
        if any((o.held_until or 0) <= now for m in self.markets.values() for o in m.held):
            with self._change() as now:
                for market in self.markets.values():
                    market.release(now)

    def submit(self, account: str, new: NewOrder) -> Order:
        """Accept an order and match it.

        Raises:
            Refused: a filter, the balance, or an open order of the same client order id.
        """
        market = self.market(new.symbol)
        self._check(market, new)
        known = self._by_client_id.get((account, new.client_id or ""))
        if known is not None and known.is_open:
            raise Refused(*REJECTED, "Duplicate order sent.")
        now = self._clock()
        order = Order(
            0, new.client_id or uuid4().hex, account, new.symbol, new.side, new.type,
            new.time_in_force, new.quantity, new.price, new.stop_price, now, now,
            may_execute=new.may_execute, hold_ms=new.hold_ms,
        )  # fmt: skip
        if new.hold_ms > 0 and new.may_execute is None:
            order.held_until = now + new.hold_ms
        if order.stop_price is not None and market.reaches(order):
            raise Refused(*REJECTED, "Stop price would trigger immediately.")
        with self._change():
            self._set_aside(market, order)
            order.id = next(self._order_ids)
            self.orders[order.id] = order
            self._by_client_id[account, order.client_id] = order
            market.place(order, now)
            market.settle_stops(now)
        return order

    def cancel(self, account: str, symbol: str, order_id: int | None, client_id: str) -> Order:
        """Cancel an open order.

        Raises:
            Refused: there is none.
        """
        market = self.market(symbol)
        order = self._find(account, symbol, order_id, client_id)
        if order is None or not order.is_open:
            raise Refused(*CANCEL_REJECTED, "Unknown order sent.")
        with self._change() as now:
            market.withdraw(order, "CANCELED", now)
        return order

    def order(self, account: str, symbol: str, order_id: int | None, client_id: str) -> Order:
        """An order of an account, by its id or the client's (the newest of that id).

        Raises:
            Refused: there is none.
        """
        self.market(symbol)
        order = self._find(account, symbol, order_id, client_id)
        if order is None:
            raise Refused(*NO_ORDER, "Order does not exist.")
        return order

    def _find(
        self, account: str, symbol: str, order_id: int | None, client_id: str
    ) -> Order | None:
        if order_id is not None:
            order = self.orders.get(order_id)
        else:
            order = self._by_client_id.get((account, client_id))
        if order is None or order.account != account or order.symbol != symbol:
            return None
        return order

    def _check(self, market: Market, new: NewOrder) -> None:
        if new.side not in ("BUY", "SELL") or new.type not in ORDER_TYPES:
            raise Refused(*BAD_PARAMETER, f"Invalid side or orderType: {new.side} {new.type}.")
        if new.time_in_force not in ("GTC", "IOC"):
            raise Refused(*BAD_PARAMETER, f"Invalid timeInForce: {new.time_in_force}.")
        if market.last is None:
            raise Refused(*REJECTED, "Market is closed.")
        if ("LIMIT" in new.type) != (new.price is not None):
            raise Refused(*BAD_PARAMETER, f"Parameter 'price' does not fit type {new.type}.")
        if ("STOP" in new.type) != (new.stop_price is not None):
            raise Refused(*BAD_PARAMETER, f"Parameter 'stopPrice' does not fit type {new.type}.")
        stops = () if new.stop_price is None else (new.stop_price,)
        if new.price is None:
            tick = market.listing.amount("tick")
            price = new.stop_price or max(market.last // tick * tick, tick)
        else:
            price = new.price
        market.listing.check(new.quantity, price, *stops)

    def _set_aside(self, market: Market, order: Order) -> None:
        if order.side == "SELL":
            self.accounts.lock(order, market.listing.base, order.quantity)
        elif order.price is not None:
            cost = value_up(order.price, order.quantity)
            self.accounts.lock(order, market.listing.quote, cost)
        elif order.stop_price is None and not market.can_pay_at_market(order):
            raise Refused(*REJECTED, INSUFFICIENT)
