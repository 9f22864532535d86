"""The venue port: what happens to an order, and what a position would fetch now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol
from uuid import UUID

from trade_pipeline.core.market.event import Floats, TradeRules
from trade_pipeline.core.market.history import TokenState


@dataclass(slots=True)
class Order:
    """A market order of one leg.

    Attributes:
        order_id: the client order id; ``attempt``: its number among those of the trade's leg.
        stake_usd: what an entry still spends.
        tokens: what an exit still sells.
        decision_price: USD, when it was decided; slippage is measured against it.
        trigger_price: of an exit that rests until it is touched; None: at the market.
        due_at: when it reaches the market; None: with the token's next event.
        fills: fills so far.
        waited: events of the token that passed without filling it whole.
    """

    uuid: UUID
    order_id: str
    token: int
    leg: str
    submitted_at: int
    decision_price: float
    stake_usd: float = 0.0
    tokens: float = 0.0
    trigger_price: float | None = None
    due_at: int | None = None
    attempt: int = 0
    fills: int = 0
    waited: int = 0


@dataclass(frozen=True, slots=True)
class Fill:
    """What an order got.

    Attributes:
        at: when, in microseconds.
        price: USD per token, all that is inside the price included.
        tokens: bought, or sold from the position (before a tax on the sale).
        value_usd: paid or received at the price.
        costs_usd: paid on top, by name (gas, exchange fee).
        inside_usd: what the price contains, by name (pool fee, own impact, tax, spread).
        impact: own price impact as a fraction.
        complete: nothing of the order is left.
    """

    at: int
    price: float
    tokens: float
    value_usd: float
    costs_usd: Mapping[str, float]
    inside_usd: Mapping[str, float]
    impact: float
    complete: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    """An order that failed, and what that cost.

    Attributes:
        stop_reached: the venue took a stop no more, since its price was reached already.
    """

    at: int
    why: str
    costs_usd: Mapping[str, float] = field(default_factory=dict)
    stop_reached: bool = False


@dataclass(frozen=True, slots=True)
class Touch:
    """A barrier that the token's newest event reached.

    Attributes:
        barrier: ``stop`` or ``target``; the stop, when one event reached both.
        trigger_price: where a resting order was touched; None: the exit goes to the market.
    """

    barrier: Literal["stop", "target"]
    trigger_price: float | None = None


class Venue(Protocol):
    """Where orders go.  A venue may know a token's true `TradeRules`; the strategy does not."""

    def due_at(self, submitted_at: int) -> int | None:
        """When an order reaches the market; None: with the token's next event."""
        ...

    def execute(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal | None:
        """Try an order against the market as it is at ``at``; None: nothing could be filled yet."""
        ...

    def liquidate(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal:
        """Sell what is left of a position against the last known market, when a session ends."""
        ...

    def value_usd(self, tokens: float, state: TokenState) -> float:
        """What a sale of tokens would fetch now, own impact and fees inside the price included."""
        ...

    def range_usd(self, tokens: float, state: TokenState) -> tuple[float, float]:
        """The worst and best such value over the token's newest event."""
        ...

    def touched(self, tokens: float, state: TokenState, stop: float, target: float) -> Touch | None:
        """Which barrier, given as executable prices in USD, the newest event reached."""
        ...

    def affordable_usd(self, cash_usd: float) -> float:
        """The largest stake whose entry and its costs on top a cash can pay."""
        ...

    def expected_costs(
        self, stake_usd: float, max_impact: float, known: Mapping[str, Floats]
    ) -> dict[str, Floats]:
        """What entries of a stake would cost, from the columns of the research; a row each.

        Returns:
            ``stake_to_depth``: the stake by the stake whose impact is ``max_impact``;
            ``expected_impact``: own impact of the entry; ``expected_cost``: fees, gas, spread and
            impact there and back; all as fractions, NaN where unknown.
        """
        ...

    def impact_capacity_usd(self, state: TokenState, max_impact: float) -> float | None:
        """The stake whose entry has this own impact; None: no bound is known."""
        ...


class OrderDesk(Protocol):
    """Hears of each order when a session places it or takes it back, before it is recorded.

    Attributes:
        rests_stops: whether each position's stop rests at the venue.
    """

    rests_stops: bool

    def placed(self, order: Order, reason: str | None) -> None:
        """An order goes to the venue; ``reason``: why the position is closed, for an exit."""
        ...

    def withdrawn(self, order: Order) -> bool:
        """What is left of an entry, or of a resting stop, is not wanted any more.

        Returns:
            Whether that ends it now; otherwise the venue tells what it has become by then.
        """
        ...
