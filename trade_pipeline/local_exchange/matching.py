"""Matching: an order against the book of its symbol, at the resting orders' prices."""

from __future__ import annotations

from itertools import count

from trade_pipeline.local_exchange.accounts import Accounts
from trade_pipeline.local_exchange.book import Book
from trade_pipeline.local_exchange.listing import Listing
from trade_pipeline.local_exchange.orders import FEES, HOUSE, Order, Trade
from trade_pipeline.local_exchange.units import value, value_up

IMMEDIATE = ("MARKET", "STOP_LOSS")


class Market:
    """A symbol's book, its last price, and the stops that wait for a price.

    Attributes:
        last: the last price in units; None until there was one.
        new_trades: trades that are not stored yet; ``touched``: orders that changed.
    """

    def __init__(self, listing: Listing, accounts: Accounts, trade_ids: count[int]) -> None:
        self.listing = listing
        self.accounts = accounts
        self.book = Book()
        self.last: int | None = None
        self.stops: list[Order] = []
        self.held: list[Order] = []
        self.new_trades: list[Trade] = []
        self.touched: dict[int, Order] = {}
        self._trade_ids = trade_ids
        self._house_ids = count(-1, -1)

    def gives(self, order: Order) -> str:
        """The asset that an order pays with."""
        return self.listing.quote if order.side == "BUY" else self.listing.base

    def place(self, order: Order, now: int) -> None:
        """Take a new or restored open order: let it wait, or match it."""
        if order.account != HOUSE:
            self.touched[order.id] = order
        if order.held_until is not None:
            self.held.append(order)
        elif order.waits_for_stop:
            self.stops.append(order)
        else:
            self._match(order, now)

    def rest(self, order: Order) -> None:
        """Put a restored order where it was, without matching."""
        if order.held_until is not None:
            self.held.append(order)
        elif order.waits_for_stop:
            self.stops.append(order)
        else:
            self.book.add(order)

    def withdraw(self, order: Order, status: str, now: int) -> None:
        """End an open order with a status and give back what was set aside."""
        self.book.remove(order)
        self.stops = [stop for stop in self.stops if stop is not order]
        self.held = [held for held in self.held if held is not order]
        order.held_until = None
        self._end(order, status, now)

    def release(self, now: int) -> None:
        """Match the orders that a fault held back until now, and stops that this reaches."""
        due = [order for order in self.held if (order.held_until or 0) <= now]
        for order in due:
            self.held.remove(order)
            order.held_until = None
            self.place(order, now)
        if due:
            self._trigger(now)

    def move(self, price: int, now: int) -> None:
        """The price has moved: the house quotes around it, and stops that it reaches go on."""
        self.book.remove_house()
        self.last = price
        for side, at, quantity in self.listing.quotes(price):
            quote = Order(
                next(self._house_ids), "", HOUSE, self.listing.symbol, side, "LIMIT", "GTC",
                quantity, at, None, now, now,
            )  # fmt: skip
            self._match(quote, now)
        self.last = price
        self._trigger(now)

    def settle_stops(self, now: int) -> None:
        """Let stops go on that the last price reaches."""
        self._trigger(now)

    def can_pay_at_market(self, order: Order) -> bool:
        """Whether what is free pays for a purchase at the market as the book is now."""
        cost = sum(value(price, part) for price, part in self.book.cost(order.remaining))
        return self.accounts.balance(order.account, self.listing.quote).free >= cost

    def _trigger(self, now: int) -> None:
        while reached := [order for order in self.stops if self.reaches(order)]:
            order = reached[0]
            self.stops.remove(order)
            order.triggered = True
            self._match(order, now)

    def reaches(self, order: Order) -> bool:
        """Whether the last price has reached an order's stop."""
        if self.last is None or order.stop_price is None:
            return False
        if order.side == "SELL":
            return self.last <= order.stop_price
        return self.last >= order.stop_price

    def _match(self, order: Order, now: int) -> None:
        if order.account != HOUSE:
            self.touched[order.id] = order
        unpaid = order.type in IMMEDIATE and order.side == "BUY"
        if unpaid and not self.can_pay_at_market(order):
            self._end(order, "EXPIRED", now)
            return
        allowed = order.remaining if order.may_execute is None else order.may_execute
        while allowed > 0 and order.remaining > 0:
            resting = self.book.best_against(order)
            if resting is None:
                break
            quantity = min(allowed, order.remaining, resting.remaining)
            self._trade(order, resting, quantity, now)
            allowed -= quantity
        held_back = order.may_execute is not None and order.remaining > 0
        order.may_execute = None
        if order.remaining == 0:
            return
        if order.type in IMMEDIATE or order.time_in_force == "IOC":
            self._end(order, "EXPIRED", now)
        elif held_back:
            order.held_until = now + order.hold_ms
            self.held.append(order)
        else:
            self.book.add(order)

    def _trade(self, taker: Order, maker: Order, quantity: int, now: int) -> None:
        assert maker.price is not None
        price, quote = maker.price, value(maker.price, quantity)
        self.last = price
        for order, is_maker in ((taker, False), (maker, True)):
            buys = order.side == "BUY"
            gets, gives = (quantity, quote) if buys else (quote, quantity)
            asset = self.listing.base if buys else self.listing.quote
            commission = 0 if order.account == HOUSE else value(self.listing.amount("fee"), gets)
            order.executed += quantity
            order.spent += quote
            order.updated = now
            order.status = "FILLED" if order.remaining == 0 else "PARTIALLY_FILLED"
            self.accounts.pay(order, self.gives(order), gives)
            self.accounts.receive(order.account, asset, gets - commission)
            self.accounts.receive(FEES, asset, commission)
            if order.account != HOUSE:
                self._keep_only_what_is_needed(order)
                self.touched[order.id] = order
                self.new_trades.append(
                    Trade(
                        next(self._trade_ids),
                        order.id,
                        order.account,
                        order.symbol,
                        price,
                        quantity,
                        quote,
                        commission,
                        asset,
                        now,
                        buys,
                        is_maker,
                    )
                )
        if maker.remaining == 0:
            self.book.remove(maker)

    def _keep_only_what_is_needed(self, order: Order) -> None:
        """A purchase below its limit gives back what it did not cost."""
        needed = order.remaining
        if order.side == "BUY":
            needed = value_up(order.price, order.remaining) if order.price is not None else 0
        if order.locked > needed:
            self.accounts.unlock(order, self.gives(order), needed)

    def _end(self, order: Order, status: str, now: int) -> None:
        order.status, order.updated = status, now
        if order.account != HOUSE:
            self.touched[order.id] = order
            self.accounts.unlock(order, self.gives(order))
