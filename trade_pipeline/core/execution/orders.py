"""The life of an order at a venue, put together from its answers in whatever order they come.

An `OrderState` holds what is known of an order, and `merge` joins two of them: the same answers,
however often and in whichever order, give the same state.  A fill counts once, by the venue's id.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Literal
from uuid import UUID

from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.execution.venue_errors import VenueContradiction
from trade_pipeline.core.ids import client_order_id
from trade_pipeline.core.validation import require_text, require_uuid

Side = Literal["buy", "sell"]


class OrderStatus(StrEnum):
    """How far an order has come; of two reports the later member of this list holds."""

    SUBMITTED = "submitted"
    ACKNOWLEDGED = "acknowledged"
    PARTLY_FILLED = "partly_filled"
    REJECTED = "rejected"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FILLED = "filled"

    @property
    def rank(self) -> int:
        return list(OrderStatus).index(self)


ENDED = (
    OrderStatus.REJECTED, OrderStatus.EXPIRED, OrderStatus.CANCELLED, OrderStatus.FILLED,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OrderIntent:
    """An order that a trade wants.

    Attributes:
        symbol: such as ``PEPE/USDT``.
        amount: of the base asset.
        decision_price: quote per base when it was decided; the least value is checked against it.
        price: the limit; None: at the market.
        stop_price: rests at the venue until the market reaches it; None: goes to the market now.
        attempt: number of the order among those of the same trade and leg.
    """

    uuid: UUID
    leg: Literal["entry", "exit"]
    symbol: str
    side: Side
    amount: Decimal
    decision_price: Decimal
    price: Decimal | None = None
    stop_price: Decimal | None = None
    attempt: int = 0

    def __post_init__(self) -> None:
        require_uuid(self.uuid)
        require_text("symbol", self.symbol)
        for name in ("amount", "decision_price", "price", "stop_price"):
            value = getattr(self, name)
            if value is None:
                continue
            if not isinstance(value, Decimal) or not value.is_finite() or value <= 0:
                raise InvalidRecord(name, value, "a finite positive Decimal")

    @property
    def client_order_id(self) -> str:
        """The id under which the venue knows it; a stop of a trade has one of its own."""
        leg = self.leg if self.stop_price is None else "stop"
        return client_order_id(self.uuid, leg, self.attempt)


@dataclass(frozen=True, slots=True)
class OrderFill:
    """One trade of an order, as the venue reports it.

    Attributes:
        trade_id: the venue's, unique within a symbol.
        order_id: the venue's id of the order.
        value: quote that changed hands; ``fee`` is in ``fee_asset``.
    """

    trade_id: str
    order_id: str
    symbol: str
    side: Side
    at: datetime
    price: Decimal
    amount: Decimal
    value: Decimal
    fee: Decimal
    fee_asset: str


@dataclass(frozen=True, slots=True)
class OrderState:
    """What is known of an order.

    Attributes:
        amount: of the base asset, as the venue accepted it.
        filled: of it, by the venue's own sum.
        venue_order_id: None until the venue has acknowledged the order.
        fills: its trades so far as they are known, the earliest first.
        created_at: when the venue got it; ``at``: when it changed it last.
    """

    client_order_id: str
    symbol: str
    side: Side
    amount: Decimal
    status: OrderStatus
    filled: Decimal = Decimal(0)
    venue_order_id: str | None = None
    fills: tuple[OrderFill, ...] = ()
    created_at: datetime | None = None
    at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Nothing more will be filled."""
        return self.status in ENDED

    @property
    def is_settled(self) -> bool:
        """It has ended and every fill is known."""
        return self.has_ended and amount_of(self.fills) == self.filled

    @property
    def remaining(self) -> Decimal:
        return self.amount - self.filled


def amount_of(fills: Iterable[OrderFill]) -> Decimal:
    """Base amount of fills."""
    return sum((fill.amount for fill in fills), Decimal(0))


def with_fills(state: OrderState, fills: Iterable[OrderFill]) -> OrderState:
    """A state that knows fills as well; those of other orders are left out."""
    own = [fill for fill in fills if fill.order_id == state.venue_order_id]
    return _joined(state, state, own)


def merge(one: OrderState, other: OrderState) -> OrderState:
    """What is known from two reports of the same order.

    Raises:
        VenueContradiction: they cannot both be true.
    """
    return _joined(one, other, other.fills)


def _joined(one: OrderState, other: OrderState, more: Iterable[OrderFill]) -> OrderState:
    for name in ("client_order_id", "symbol", "side", "amount"):
        _require_same(one, name, getattr(one, name), getattr(other, name))
    ids = {state.venue_order_id for state in (one, other)} - {None}
    if len(ids) > 1:
        _require_same(one, "venue_order_id", one.venue_order_id, other.venue_order_id)
    fills = {fill.trade_id: fill for fill in one.fills}
    for fill in more:
        _require_same(one, f"trade {fill.trade_id}", fills.setdefault(fill.trade_id, fill), fill)
    known = tuple(sorted(fills.values(), key=place))
    filled = max(one.filled, other.filled, amount_of(known))
    if filled > one.amount:
        raise VenueContradiction(one.client_order_id, f"filled {filled} of {one.amount}")
    created = [at for at in (one.created_at, other.created_at) if at is not None]
    changed = [at for at in (one.at, other.at) if at is not None]
    return OrderState(
        one.client_order_id,
        one.symbol,
        one.side,
        one.amount,
        max(one.status, other.status, _reached(filled, one.amount), key=lambda s: s.rank),
        filled,
        next(iter(ids), None),
        known,
        min(created, default=None),
        max(changed, default=None),
    )


def place(fill: OrderFill) -> tuple[datetime, int, str]:
    """Where a fill stands; the venue's ids are numbers that grow."""
    return fill.at, len(fill.trade_id), fill.trade_id


def _reached(filled: Decimal, amount: Decimal) -> OrderStatus:
    if filled == amount:
        return OrderStatus.FILLED
    return OrderStatus.PARTLY_FILLED if filled > 0 else OrderStatus.SUBMITTED


def _require_same(state: OrderState, name: str, one: object, other: object) -> None:
    if one != other:
        raise VenueContradiction(state.client_order_id, f"{name} is {one} and {other}")
