"""What a live session needs of the world: a market that arrives, and a venue that takes orders."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from trade_pipeline.core.execution.venue import Fill
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.market.event import MarketBatch
from trade_pipeline.core.market.feed import KnownMarket


@dataclass(frozen=True, slots=True)
class OrderState:
    """What a venue says of an order.

    Attributes:
        fills: so far, the earliest first; a later report begins with the same ones.
        costs_usd: paid although nothing was filled, such as the gas of a failed transaction.
        changed_at: when the venue changed it last, microseconds since 1970-01-01 UTC.
        stop_reached: see `Refusal`.
    """

    client_order_id: str
    instrument: str
    leg: str
    status: Literal["open", "filled", "cancelled", "rejected"]
    changed_at: int
    fills: Sequence[Fill] = ()
    why: str | None = None
    costs_usd: Mapping[str, float] = field(default_factory=dict)
    stop_reached: bool = False

    @property
    def has_ended(self) -> bool:
        """Nothing more will be filled."""
        return self.status != "open"


@dataclass(frozen=True, slots=True)
class VenueFill:
    """A fill of the account as the venue tells it, whoever ordered it.

    Attributes:
        client_order_id: None: not of an order that names one.
        leg: ``entry`` for what was bought, ``exit`` for what was sold.
    """

    client_order_id: str | None
    order_id: str
    instrument: str
    leg: str
    fill: Fill


class OrderVenue(Protocol):
    """An account at a venue.  Every call ends within a time.

    Raises, from every call:
        VenueUnavailable: it cannot be reached, or not in time.
    """

    async def submit(self, intent: OrderIntent) -> OrderState:
        """Send an order that was never sent before.

        Raises:
            VenueRefused: it does not stand and never will.
            VenueUnavailable: it may stand all the same; `resolve` tells.
        """
        ...

    async def resolve(self, intent: OrderIntent) -> OrderState | None:
        """What became of an order that may have been sent; None: it does not stand, and never will.

        Only after None may it be sent again.
        """
        ...

    async def fetch(self, client_order_id: str, instrument: str) -> OrderState:
        """An order with its fills.

        Raises:
            OrderUnknown: the venue knows none of this id; one that was just sent may still come.
        """
        ...

    async def open_orders(self) -> Sequence[OrderState]:
        """Orders that can still be filled."""
        ...

    async def fills_since(self, moment: int, instruments: Iterable[str]) -> Sequence[VenueFill]:
        """Every fill of the account in some instruments at a moment (microseconds) or later."""
        ...

    async def balances(self) -> Mapping[str, float]:
        """Tokens held by instrument; those that are not there are zero."""
        ...

    async def cancel(self, client_order_id: str, instrument: str) -> OrderState:
        """Cancel an order; what it has become, also where it had ended before.

        Raises:
            OrderUnknown: the venue knows none of this id.
        """
        ...


@dataclass(frozen=True, slots=True)
class LiveBatch:
    """What became known since the batch before.

    Attributes:
        upto: the market's time (microseconds): every event known before it is in here or before.
        events: none in a quiet time; batches come all the same, so that time goes on.
        warm_up: from before the session's part of the market; nothing is decided on it.
        behind: seconds that the reader is behind the market.
    """

    upto: int
    events: MarketBatch
    warm_up: bool = False
    behind: float = 0.0


class LiveFeed(KnownMarket, Protocol):
    """A market as it arrives.  ``instruments`` may grow while it does.

    Attributes:
        knows_past: whether it answers about moments before it was opened as it would have then.
    """

    knows_past: bool

    def first_moment(self) -> int:
        """Where an account begins that has read nothing so far."""
        ...

    def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        """Events from ``since`` on; those before ``resume`` are the warm-up.

        It ends where a recorded market does; a real one does not.
        """
        ...
