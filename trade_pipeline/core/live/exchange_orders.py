"""A real exchange as the venue of a live session: orders in USD and floats, there and back.

The exchange counts in exact decimals of its assets.  Its quote asset is taken for USD.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from typing import Literal

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.execution.orders import (
    OrderFill,
    OrderStatus,
    amount_of,
)
from trade_pipeline.core.execution.orders import OrderIntent as ExchangeIntent
from trade_pipeline.core.execution.orders import OrderState as ExchangeState
from trade_pipeline.core.execution.venue import Fill
from trade_pipeline.core.execution.venue_errors import VenueRefused
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.live.ports import OrderState, VenueFill
from trade_pipeline.core.live.records import OrderIntent

# A float holds no more; what is beyond is its rounding.
_DIGITS = Context(prec=15)
_ENDS = {
    OrderStatus.CANCELLED: "cancelled at the venue",
    OrderStatus.EXPIRED: "expired at the venue",
    OrderStatus.REJECTED: "rejected by the venue",
}


class ExchangeOrders:
    """The orders of an account at an exchange; instruments are its symbols, such as ``PEPE/USDT``.

    Args:
        clock: of the session's market.
        replayed: the market is not of the present: what the exchange does is told at the moment of
            the market in which it is heard of, since its own clock is another.
        quote: the asset that is paid with.
    """

    def __init__(
        self, venue: CcxtVenue, clock: Clock, *, replayed: bool = False, quote: str = "USDT"
    ) -> None:
        self._venue, self._clock = venue, clock
        self._replayed, self._quote = replayed, quote
        # By the exchange's own id of an order.
        self._names: dict[tuple[str, str], str] = {}
        self._heard_at: dict[tuple[str, str], int] = {}

    async def submit(self, intent: OrderIntent) -> OrderState:
        return await self._told(await self._venue.submit(_wanted(intent)))

    async def resolve(self, intent: OrderIntent) -> OrderState | None:
        state = await self._venue.resolve(_wanted(intent))
        return None if state is None else await self._told(state)

    async def fetch(self, client_order_id: str, instrument: str) -> OrderState:
        return await self._told(await self._venue.fetch(client_order_id, instrument))

    async def open_orders(self) -> Sequence[OrderState]:
        return [await self._told(state) for state in await self._venue.open_orders()]

    async def fills_since(self, moment: int, instruments: Iterable[str]) -> Sequence[VenueFill]:
        found = []
        since = moment_of(0 if self._replayed else moment)
        for instrument in instruments:
            fills = await self._venue.fills_since(instrument, since)
            for fill in fills:
                found.append(
                    VenueFill(
                        await self._name(fill), fill.order_id, instrument, _leg(fill.side),
                        await self._fill(fill, fills[0], complete=False),
                    )
                )  # fmt: skip
        return found

    async def balances(self) -> Mapping[str, float]:
        held = await self._venue.balances()
        return {
            f"{asset}/{self._quote}": float(holding.free + holding.locked)
            for asset, holding in held.items()
            if asset != self._quote
        }

    async def cancel(self, client_order_id: str, instrument: str) -> OrderState:
        return await self._told(await self._venue.cancel(client_order_id, instrument))

    async def _told(self, state: ExchangeState) -> OrderState:
        """An order as the session knows it: it has ended when every fill of it is known."""
        if state.venue_order_id is not None:
            self._names[state.symbol, state.venue_order_id] = state.client_order_id
        # While a fill is not told yet, the place of those that are is not certain.
        whole = amount_of(state.fills) == state.filled
        fills = list(state.fills) if whole else []
        status = _status(state) if whole else "open"
        last = len(fills) if status == "filled" else 0
        return OrderState(
            client_order_id=state.client_order_id,
            instrument=state.symbol,
            leg=_leg(state.side),
            status=status,
            changed_at=self._moment(None if state.at is None else micros(state.at)),
            fills=[
                await self._fill(fill, fills[0], complete=number == last)
                for number, fill in enumerate(fills, 1)
            ],
            why=_ENDS.get(state.status),
        )

    async def _fill(self, fill: OrderFill, first: OrderFill, *, complete: bool) -> Fill:
        """A fill; a fee in the token that is bought makes the tokens fewer: it is in the price."""
        base, quote = fill.symbol.split("/")
        tokens = fill.amount
        costs: dict[str, float] = {}
        inside: dict[str, float] = {}
        if fill.fee_asset == base and fill.side == "buy":
            tokens -= fill.fee
            inside["exchange_fee"] = float(fill.fee * fill.price)
        elif fill.fee:
            costs["exchange_fee"] = float(fill.fee * await self._price(fill, quote))
        return Fill(
            at=self._heard_at.setdefault(
                (fill.symbol, fill.trade_id), self._moment(micros(fill.at))
            ),
            price=float(fill.value / tokens),
            tokens=float(tokens),
            value_usd=float(fill.value),
            costs_usd=costs,
            inside_usd=inside,
            impact=float(abs(fill.price / first.price - 1)),
            complete=complete,
        )

    async def _price(self, fill: OrderFill, quote: str) -> Decimal:
        """Quote per unit of the asset that a fee was paid in."""
        if fill.fee_asset == quote:
            return Decimal(1)
        if fill.fee_asset == fill.symbol.split("/")[0]:
            return fill.price
        return await self._venue.price(f"{fill.fee_asset}/{quote}")

    async def _name(self, fill: OrderFill) -> str:
        """The client order id of the order that a fill is of."""
        key = (fill.symbol, fill.order_id)
        if key not in self._names:
            self._names[key] = await self._venue.client_order_id(fill.order_id, fill.symbol)
        return self._names[key]

    def _moment(self, at: int | None) -> int:
        return self._clock.micros() if self._replayed or at is None else at


def _wanted(intent: OrderIntent) -> ExchangeIntent:
    """An order at the market or a stop, in the exchange's assets.

    Raises:
        VenueRefused: it has no price, or no amount.
    """
    buys = intent.leg == "entry"
    price = Decimal(intent.decision_price)
    if price <= 0:
        raise VenueRefused(f"{intent.instrument}: no price to trade at")
    amount = Decimal(intent.stake_usd or 0) / price if buys else Decimal(intent.tokens or 0)
    amount = _DIGITS.create_decimal(amount)
    if amount <= 0:
        raise VenueRefused(f"{intent.instrument}: nothing to trade")
    return ExchangeIntent(
        uuid=intent.uuid,
        leg="entry" if buys else "exit",
        symbol=intent.instrument,
        side="buy" if buys else "sell",
        amount=amount,
        decision_price=price,
        attempt=intent.attempt,
        stop_price=None if intent.stop_price is None else _DIGITS.create_decimal(intent.stop_price),
    )


def _status(state: ExchangeState) -> Literal["open", "filled", "cancelled", "rejected"]:
    if not state.has_ended:
        return "open"
    if state.status is OrderStatus.FILLED:
        return "filled"
    return "rejected" if state.status is OrderStatus.REJECTED else "cancelled"


def _leg(side: str) -> str:
    return "entry" if side == "buy" else "exit"
