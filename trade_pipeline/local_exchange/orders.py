"""Orders and trades of the local exchange."""

from __future__ import annotations

from dataclasses import dataclass

HOUSE = "@house"
FEES = "@fees"
OPEN = ("NEW", "PARTIALLY_FILLED")


@dataclass(slots=True)
class Order:
    """An order; amounts in units, moments in milliseconds.

    Attributes:
        price: the limit; None: at the market.
        stop_price: what the last price must reach; None: no stop, or it has been reached.
        executed, spent: base and quote of its trades so far.
        locked: what is set aside for it, in the asset that it gives.
        held_until: an injected fault keeps it from the market until then.
        may_execute: an injected fault lets no more than this be executed before ``hold_ms``.
    """

    id: int
    client_id: str
    account: str
    symbol: str
    side: str
    type: str
    time_in_force: str
    quantity: int
    price: int | None
    stop_price: int | None
    created: int
    updated: int
    status: str = "NEW"
    executed: int = 0
    spent: int = 0
    locked: int = 0
    triggered: bool = False
    held_until: int | None = None
    may_execute: int | None = None
    hold_ms: int = 0

    @property
    def remaining(self) -> int:
        return self.quantity - self.executed

    @property
    def is_open(self) -> bool:
        return self.status in OPEN

    @property
    def waits_for_stop(self) -> bool:
        return self.stop_price is not None and not self.triggered


@dataclass(frozen=True, slots=True)
class Trade:
    """An account's side of a trade; amounts in units."""

    id: int
    order_id: int
    account: str
    symbol: str
    price: int
    quantity: int
    quote: int
    commission: int
    commission_asset: str
    time: int
    buyer: bool
    maker: bool
