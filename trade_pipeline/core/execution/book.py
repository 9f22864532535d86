"""The account: cash and open positions, in whole millionths of a USD, so that sums are exact."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from trade_pipeline.core.execution.venue import Fill, Order, Refusal
from trade_pipeline.core.records import TerminationReason

MICRO = 1_000_000


def to_micros(usd: float) -> int:
    """USD as whole millionths, rounded half to even."""
    return round(usd * MICRO)


def to_usd(micros: int) -> float:
    """Millionths as USD; exact for every amount below 2 billion USD."""
    return micros / MICRO


@dataclass(slots=True)
class Position:
    """A trade from its entry order to its outcome.

    Attributes:
        tokens: held now.
        bought: tokens bought in all.
        value_in, value_out: micros that changed hands at the entry's and the exit's prices.
        costs: micros of fees and gas on top, of every order, failed ones included.
        liquidity_usd: of the pool at the entry; ``removed_usd``: taken out since.
        worst, best: extremes of the executable value as a fraction of ``value_in``, less one.
        attempts: exit orders so far; ``failed_sales``: of them, in a row, those that sold nothing.
        retry_at: when a failed sale may be tried again.
        stops_lost: stops of it that the venue refused or took away.
    """

    uuid: UUID
    token: int
    entry_order: Order | None
    liquidity_usd: float
    tokens: float = 0.0
    bought: float = 0.0
    value_in: int = 0
    value_out: int = 0
    entry_costs: int = 0
    exit_costs: int = 0
    opened_at: int = 0
    removed_usd: float = 0.0
    worst: float = 0.0
    best: float = 0.0
    exit_order: Order | None = None
    exit_reason: TerminationReason | None = None
    attempts: int = 0
    failed_sales: int = 0
    retry_at: int = 0
    stops_lost: int = 0
    exit_impact: float = 0.0

    @property
    def entry_price(self) -> float:
        """Mean USD paid per token, all that is inside the price included."""
        return self.value_in / MICRO / self.bought

    @property
    def pnl(self) -> int:
        """Micros won or lost so far."""
        return self.value_out - self.value_in - self.entry_costs - self.exit_costs

    def note_removal(self, liquidity_change_usd: float) -> None:
        """Add up what is taken from the liquidity, also while the entry is on its way."""
        if liquidity_change_usd < 0:
            self.removed_usd -= liquidity_change_usd

    @property
    def pnl_percent(self) -> float:
        """The same in percent of what the entry cost."""
        return 100.0 * self.pnl / (self.value_in + self.entry_costs)


class Book:
    """Cash, and positions by token (at most one each)."""

    def __init__(self, fund_usd: float) -> None:
        self.cash = to_micros(fund_usd)
        self.positions: dict[int, Position] = {}

    def book_entry(self, position: Position, fill: Fill) -> None:
        """Tokens in, cash out."""
        value, costs = to_micros(fill.value_usd), _total(fill)
        if position.bought == 0.0:
            position.opened_at = fill.at
        position.tokens += fill.tokens
        position.bought += fill.tokens
        position.value_in += value
        position.entry_costs += costs
        self.cash -= value + costs

    def book_exit(self, position: Position, fill: Fill) -> None:
        """Tokens out, cash in."""
        value, costs = to_micros(fill.value_usd), _total(fill)
        position.tokens = 0.0 if fill.complete else position.tokens - fill.tokens
        position.value_out += value
        position.exit_costs += costs
        position.exit_impact = max(position.exit_impact, fill.impact)
        self.cash += value - costs

    def book_refusal(self, position: Position, leg: str, refusal: Refusal) -> None:
        """A failed order costs its gas."""
        costs = _total(refusal)
        if leg == "entry":
            position.entry_costs += costs
        else:
            position.exit_costs += costs
        self.cash -= costs


def _total(event: Fill | Refusal) -> int:
    return sum(to_micros(cost) for cost in event.costs_usd.values())
