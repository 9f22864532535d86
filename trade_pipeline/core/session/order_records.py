"""The record of each thing that happens to an order."""

from __future__ import annotations

import math

from trade_pipeline.core.execution.book import to_micros, to_usd
from trade_pipeline.core.execution.venue import Fill, Order, Refusal
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.records import ExecutionRecord, OrderEvent


def submitted(order: Order, tokens: float, stake_usd: float | None) -> ExecutionRecord:
    """An order that was sent, for so many tokens; ``stake_usd`` is what an entry may cost."""
    return ExecutionRecord(
        uuid=order.uuid,
        order_id=order.order_id,
        size=tokens,
        leg=order.leg,
        event=OrderEvent.SUBMITTED,
        occurred_at=moment_of(order.submitted_at),
        value_usd=stake_usd,
    )


def filled(order: Order, fill: Fill, *, rests: bool) -> ExecutionRecord:
    """A fill; an order that rests at the venue has no latency."""
    buying = order.leg == "entry"
    # An emptied pool had no price when its exit was decided.
    worse = fill.price / order.decision_price - 1.0 if order.decision_price > 0 else None
    latency_ms = max(0, fill.at - order.submitted_at) / 1_000
    return ExecutionRecord(
        uuid=order.uuid,
        order_id=order.order_id,
        entry_price=fill.price if buying else None,
        exit_price=None if buying else fill.price,
        size=fill.tokens,
        slippage=worse if buying or worse is None else -worse,
        latency_metrics={} if rests else {"latency_ms": latency_ms},
        leg=order.leg,
        event=OrderEvent.FILLED if fill.complete else OrderEvent.PARTLY_FILLED,
        sequence=order.fills,
        occurred_at=moment_of(fill.at),
        value_usd=to_usd(to_micros(fill.value_usd)),
        costs_usd={k: to_usd(to_micros(v)) for k, v in fill.costs_usd.items()},
        inside_usd=fill.inside_usd,
    )


def refused(order: Order, refusal: Refusal, event: OrderEvent) -> ExecutionRecord:
    """An order that was cancelled or rejected, and what that cost."""
    size = order.tokens
    if order.leg == "entry":
        size = order.stake_usd / order.decision_price
    return ExecutionRecord(
        uuid=order.uuid,
        order_id=order.order_id,
        size=size if math.isfinite(size) else 0.0,
        leg=order.leg,
        event=event,
        sequence=0,
        occurred_at=moment_of(refusal.at),
        costs_usd={k: to_usd(to_micros(v)) for k, v in refusal.costs_usd.items()},
        note=refusal.why,
    )
