"""Where a trade's result came from: parts in whole millionths of a USD that sum to it exactly.

The view ``trade.attribution`` computes the same in SQL; tests hold the two against each other.

What the records hold of a fill: its value ``V``, the price that its order was decided at (from the
slippage), and what its price contained by name.  Summed over the fills of a leg, ``D`` is the value
of its tokens at the prices decided on, and ``M`` their value at the market's middle price when they
were filled: ``V`` less (entry) or plus (exit) what the prices contained.  ``X`` is what the exit
could have been decided at:

- of a stop or a target, the value at the barrier, ``B`` = the entry's value x (1 - stop or
  1 + target), plus what a sale's price contains and the barrier counts: pool fee and own impact of
  a pool, the spread of an exchange;
- of any other exit, ``D`` of its fills.  The price at which an order was decided that failed is
  not recorded, so what a sale lost until it was tried again is market move there; beside a barrier
  it is exit timing.

===============  ==================================================================================
market_move      X - D of the entry: from the decision to enter to the decision, or barrier, to exit
entry_timing     D - M of the entry: what the market did until the entry was filled
exit_timing      M - X of the exit: what it did until the exit was filled; of a stop, how far beyond
                 the barrier the market was
own_impact       how far the own orders moved the price
slippage         the rest between the expected and the got price: spread and tax.  Of a fill that
                 does not tell its own impact (an exchange's) all of it: drift, spread and impact
pool_fees        inside the price
venue_fees       an exchange's fees, inside the price or on top
gas              of the transactions that were filled
failed_orders    gas and fees of orders that were not filled
rug_loss         of a rug exit, what it fetched less the value at the stop, if that is a loss: fees
                 and impact of that sale are inside, since an emptied pool shows as those.  Of
                 tokens that were written off, their value at the barrier that the exit began with
                 (the target, if that was it, else the stop)
unexplained      the result less all of these: parts of which the records do not tell enough (no
                 decision price, no settings of the barrier, tokens without a sale, a corrected
                 result).  Nothing is guessed.
===============  ==================================================================================

The result is the newest revision's ``pnl_usd``; without it the percentage of what the entry cost.
A sale by hand has no decision of the system's: the price it got counts as its exit's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from trade_pipeline.core.records import (
    FILLS,
    ExecutionRecord,
    TerminationReason,
    TradeOutcome,
)

PARTS = (
    "market_move", "entry_timing", "exit_timing", "own_impact", "slippage", "pool_fees",
    "venue_fees", "gas", "failed_orders", "rug_loss", "unexplained",
)  # fmt: skip
_IMPACT = ("impact", "own_impact")
_EXACT = 2.0**53


@dataclass(frozen=True, slots=True)
class Barriers:
    """Of the settings behind a trade, as fractions of the entry's price."""

    stop_loss: float
    profit_target: float


def whole(number: float) -> int | None:
    """A whole number, half to even; None where a double is no longer exact."""
    return round(number) if abs(number) < _EXACT else None


def micros(usd: float | None) -> int | None:
    """USD in whole millionths; None where that is unknown or no longer exact."""
    return None if usd is None or not abs(usd) < 1e10 else whole(usd * 1e6)


@dataclass(slots=True)
class _Leg:
    """The fills of a leg together; money in micros.

    Attributes:
        decided: ``D``; None: of a fill it is not known.
        told: every fill tells its own impact.
        rest: what the prices contained besides impact and fees; ``spread`` is part of it.
    """

    tokens: float = 0.0
    value: int = 0
    decided: int | None = None
    told: bool = False
    quoted: bool = False
    impact: int = 0
    pool: int = 0
    venue: int = 0
    rest: int = 0
    spread: int = 0

    @classmethod
    def of(cls, fills: Sequence[ExecutionRecord]) -> _Leg:
        leg = cls(told=bool(fills))
        decided: list[int | None] = []
        for fill in fills:
            price, size = _sane(fill.price), _sane(fill.size)
            # Not sum(), which from Python 3.12 on corrects its rounding and the database does not.
            leg.tokens += size or 0.0
            value = fill.value_usd
            if value is None and price is not None and size is not None:
                value = price * size
            leg.value += micros(value) or 0
            decided.append(_decided(fill.leg, price, size, _sane(fill.slippage)))
            inside = {name: micros(usd) or 0 for name, usd in fill.inside_usd.items()}
            leg.told &= any(name in inside for name in _IMPACT)
            leg.quoted |= "spread" in inside
            leg.impact += sum(inside.pop(name, 0) for name in _IMPACT)
            leg.pool += inside.pop("pool_fee", 0)
            leg.venue += inside.pop("exchange_fee", 0)
            leg.rest += sum(inside.values())
            leg.spread += inside.get("spread", 0)
        if fills and None not in decided:
            leg.decided = sum(one for one in decided if one is not None)
        return leg

    @property
    def inside(self) -> int:
        return self.impact + self.pool + self.venue + self.rest


def result_of(outcome: TradeOutcome, executions: Sequence[ExecutionRecord]) -> int | None:
    """A trade's result in micros; None: the records tell no amount."""
    if outcome.pnl_usd is not None:
        return micros(outcome.pnl_usd)
    entry = [one for one in executions if one.leg == "entry"]
    bought = [one for one in entry if one.event in FILLS]
    percent = _sane(outcome.realized_pnl_percent)
    leg = _Leg.of(bought)
    if not leg.tokens or percent is None:
        return None
    costs = sum(_paid(one.costs_usd) for one in entry)
    return whole((leg.value + costs) * (percent / 100))


def parts_of(
    outcome: TradeOutcome,
    executions: Sequence[ExecutionRecord],
    price_usd: float | None = None,
    barriers: Barriers | None = None,
) -> dict[str, int] | None:
    """The `PARTS` of a closed trade's result; None: the records tell no result in USD.

    Args:
        outcome: the newest revision of its realised outcome.
        executions: every event of its orders, in the order in which they were recorded.
        price_usd: of its research, for an entry that tells no price it was decided at.
        barriers: of its settings; None: unknown.
    """
    result = result_of(outcome, executions)
    if result is None:
        return None
    fills = [one for one in executions if one.event in FILLS]
    entry = _Leg.of([one for one in fills if one.leg == "entry"])
    sales = _Leg.of([one for one in fills if one.leg == "exit"])
    start = entry.decided
    price = _sane(price_usd)
    if start is None and price is not None and entry.tokens:
        start = micros(entry.tokens * price)
    parts = dict.fromkeys(PARTS, 0)
    _add_entry(parts, entry, start)
    finish = _add_exit(parts, outcome, entry, sales, barriers)
    if start is not None and finish is not None:
        parts["market_move"] = finish - start
    for one in executions:
        if one.event in FILLS:
            gas = micros(one.costs_usd.get("gas")) or 0
            parts["gas"] -= gas
            parts["venue_fees"] -= _paid(one.costs_usd) - gas
        else:
            parts["failed_orders"] -= _paid(one.costs_usd)
    parts["unexplained"] = result - sum(parts.values())
    return parts


def _add_entry(parts: dict[str, int], entry: _Leg, start: int | None) -> None:
    parts["pool_fees"] -= entry.pool
    parts["venue_fees"] -= entry.venue
    if entry.told or start is None:
        parts["own_impact"] -= entry.impact
        parts["slippage"] -= entry.rest
        if start is not None:
            parts["entry_timing"] = start - (entry.value - entry.inside)
    else:
        parts["slippage"] -= entry.value - entry.pool - entry.venue - start


def _add_exit(
    parts: dict[str, int],
    outcome: TradeOutcome,
    entry: _Leg,
    sales: _Leg,
    barriers: Barriers | None,
) -> int | None:
    """Add the exit's parts; returns what the tokens were worth at its decision or barrier."""
    reason = outcome.termination_reason
    lost = max(entry.tokens - sales.tokens, 0.0) if outcome.written_off else 0.0
    lost_at_barrier = _at_barrier(reason, entry, lost, barriers)
    at_barrier = _at_barrier(reason, entry, sales.tokens, barriers)
    worth: int | None
    if not sales.tokens:
        worth = 0 if lost else None
    elif reason is TerminationReason.RUGPULL_EXIT and at_barrier is None:
        worth = None
    elif reason is TerminationReason.RUGPULL_EXIT and sales.value < (at_barrier or 0):
        worth = at_barrier
        parts["rug_loss"] += sales.value - (at_barrier or 0)
    else:
        worth = _add_sales(parts, reason, sales, at_barrier)
    if worth is None:
        return None
    if not outcome.written_off:
        return whole(worth * (entry.tokens / sales.tokens)) if entry.tokens else None
    if not lost:
        return worth
    if lost_at_barrier is None:
        return None
    parts["rug_loss"] -= lost_at_barrier
    return worth + lost_at_barrier


def _add_sales(
    parts: dict[str, int], reason: TerminationReason, sales: _Leg, at_barrier: int | None
) -> int | None:
    """Add the parts of sales that were no rug's; returns ``X`` of the tokens sold."""
    parts["pool_fees"] -= sales.pool
    parts["venue_fees"] -= sales.venue
    has_barrier = reason in (TerminationReason.STOP_LOSS, TerminationReason.PROFIT_TARGET)
    worth = sales.decided
    if has_barrier and sales.told and at_barrier is not None:
        counted = sales.spread if sales.quoted else sales.inside - sales.rest
        worth = at_barrier + counted
    elif worth is not None and not sales.told:
        parts["slippage"] -= worth - sales.value - sales.pool - sales.venue
        return worth
    parts["own_impact"] -= sales.impact
    parts["slippage"] -= sales.rest
    if worth is not None:
        parts["exit_timing"] = sales.value + sales.inside - worth
    return worth


def _at_barrier(
    reason: TerminationReason, entry: _Leg, tokens: float, barriers: Barriers | None
) -> int | None:
    """What tokens are worth at the barrier that an exit for this reason begins with."""
    if barriers is None or not entry.tokens:
        return None
    if reason is TerminationReason.PROFIT_TARGET:
        factor = 1 + barriers.profit_target
    else:
        factor = 1 - barriers.stop_loss
    return whole(entry.value * factor * (tokens / entry.tokens))


def _decided(
    leg: str, price: float | None, size: float | None, slippage: float | None
) -> int | None:
    """What a fill's tokens were worth at the price that its order was decided at."""
    if price is None or size is None or slippage is None:
        return None
    ratio = 1 + slippage if leg == "entry" else 1 - slippage
    return micros(size * (price / ratio)) if ratio > 0 else None


def _paid(costs: Mapping[str, float]) -> int:
    return _total(micros(usd) for usd in costs.values())


def _total(amounts: Iterable[int | None]) -> int:
    return sum(amount or 0 for amount in amounts)


def _sane(number: float | None) -> float | None:
    """None for a number with which nobody trades; the database would overflow on it."""
    if number is None or not math.isfinite(number):
        return None
    return number if number == 0 or 1e-60 <= abs(number) <= 1e60 else None
