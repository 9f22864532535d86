"""The port to a real exchange, which a live session calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Protocol

from trade_pipeline.core.execution.orders import OrderFill, OrderIntent, OrderState
from trade_pipeline.core.execution.venue_errors import BelowMinimum, VenueRefused


@dataclass(frozen=True, slots=True)
class InstrumentRules:
    """What a venue accepts of a symbol.

    Attributes:
        amount_step, price_step: amounts and prices are whole multiples of them.
        min_amount: of the base asset; ``min_notional``: of the quote asset.
        holds_stops: whether a stop can rest at the venue, and is found there as any other order.
    """

    symbol: str
    base: str
    quote: str
    amount_step: Decimal
    price_step: Decimal
    min_amount: Decimal
    min_notional: Decimal
    holds_stops: bool

    def accepted(self, intent: OrderIntent) -> OrderIntent:
        """The order with its amount rounded down to a step.

        A limit is rounded to the side that is never worse than asked, a stop to the one that is
        reached first.

        Raises:
            BelowMinimum: the amount or its value is too small.
            VenueRefused: a stop that cannot rest here.
        """
        if intent.stop_price is not None and not self.holds_stops:
            raise VenueRefused(f"{self.symbol}: this venue holds no stops")
        amount = _stepped(intent.amount, self.amount_step, ROUND_FLOOR)
        buys = intent.side == "buy"
        price, stop = intent.price, intent.stop_price
        up, down = (ROUND_CEILING, ROUND_FLOOR)
        if price is not None:
            price = _stepped(price, self.price_step, down if buys else up)
        if stop is not None:
            stop = _stepped(stop, self.price_step, down if buys else up)
        if amount < self.min_amount or amount <= 0:
            raise BelowMinimum(
                f"{self.symbol}: amount {intent.amount} is {amount} in whole steps,"
                f" the least is {self.min_amount}"
            )
        value = amount * (price or stop or intent.decision_price)
        if value < self.min_notional or value <= 0:
            raise BelowMinimum(
                f"{self.symbol}: {amount} are worth {value:f} {self.quote},"
                f" the least is {self.min_notional}"
            )
        return replace(intent, amount=amount, price=price, stop_price=stop)


def _stepped(number: Decimal, step: Decimal, rounding: str) -> Decimal:
    return (number / step).to_integral_value(rounding) * step


@dataclass(frozen=True, slots=True)
class Holding:
    """How much of an asset an account can use, and how much its open orders have set aside."""

    free: Decimal
    locked: Decimal


class ExchangeVenue(Protocol):
    """An exchange account.

    Every call ends within a time.  What can be repeated is, while the venue cannot be reached;
    `VenueUnavailable` says that it did not come back in time.
    """

    async def instrument_rules(self, symbol: str) -> InstrumentRules:
        """What the venue accepts of a symbol.

        Raises:
            VenueRefused: it is not traded here.
        """
        ...

    async def submit(self, intent: OrderIntent) -> OrderState:
        """Send an order; one whose answer was lost is looked up before it is sent again.

        Raises:
            BelowMinimum, InsufficientFunds, StopReached, VenueRefused: it does not stand.
            VenueUnavailable: with ``may_stand`` it has to be resolved first.
        """
        ...

    async def resolve(self, intent: OrderIntent) -> OrderState | None:
        """What became of an order whose answer was lost; None: it does not stand and never will.

        Raises:
            VenueUnavailable: it cannot be told yet.
        """
        ...

    async def fetch(self, client_order_id: str, symbol: str) -> OrderState:
        """An order with its fills.

        Raises:
            OrderUnknown: the venue knows none of this id (one that was just sent may still come).
        """
        ...

    async def open_orders(self, symbol: str | None = None) -> list[OrderState]:
        """Orders that can still be filled, without their fills."""
        ...

    async def fills_since(self, symbol: str, moment: datetime) -> list[OrderFill]:
        """Every fill of the account in a symbol at a moment or later, each once."""
        ...

    async def balances(self) -> Mapping[str, Holding]:
        """What the account holds, by asset."""
        ...

    async def cancel(self, client_order_id: str, symbol: str) -> OrderState:
        """Cancel an order; gives what it has become, also where it had ended before.

        Raises:
            OrderUnknown: the venue knows none of this id.
        """
        ...

    async def replace(
        self, client_order_id: str, new: OrderIntent
    ) -> tuple[OrderState, OrderState | None]:
        """Cancel an order and, only where nothing of it was filled, send another.

        Returns:
            What the old one has become, and the new one; None: the old one was filled in part or
            whole, so that what is left has to be decided anew.

        Raises:
            VenueError: as `cancel` and `submit` do; after a failed submit neither order stands,
                unless it says ``may_stand``.
        """
        ...

    async def server_time(self) -> datetime:
        """The venue's clock."""
        ...

    async def close(self) -> None:
        """End its connections."""
        ...
