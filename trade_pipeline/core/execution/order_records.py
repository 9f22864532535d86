"""The records of an order: what its state adds to those that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.execution.orders import OrderFill, OrderIntent, OrderState, OrderStatus
from trade_pipeline.core.records import FILLS, ExecutionRecord, OrderEvent

_ENDS = {
    OrderStatus.CANCELLED: (OrderEvent.CANCELLED, "cancelled"),
    OrderStatus.EXPIRED: (OrderEvent.CANCELLED, "expired at the venue"),
    OrderStatus.REJECTED: (OrderEvent.REJECTED, "rejected by the venue"),
}
_MICRO = Decimal("0.000001")


def new_records(
    intent: OrderIntent,
    state: OrderState,
    recorded: Sequence[ExecutionRecord],
    submitted_at: datetime,
    fee_prices: Mapping[str, Decimal] | None = None,
) -> list[ExecutionRecord]:
    """The records that a state adds to those of the same order; none, when it tells nothing new.

    A fill is known again by the venue's trade id in its note.  The end of an order that was not
    filled whole is recorded when every fill is.

    Args:
        fee_prices: quote per unit of assets that fees are paid in, for neither base nor quote.

    Raises:
        BadConfig: a fee in an asset whose price is not given.
    """
    added: list[ExecutionRecord] = []

    def add(event: OrderEvent, at: datetime | None, **facts: Any) -> None:
        sequence = sum(record.event is event for record in (*recorded, *added))
        record = ExecutionRecord(
            intent.uuid, intent.client_order_id, leg=intent.leg, event=event, sequence=sequence,
            occurred_at=at, **facts,
        )  # fmt: skip
        added.append(record)

    events = {record.event for record in recorded}
    if OrderEvent.SUBMITTED not in events:
        add(OrderEvent.SUBMITTED, submitted_at, size=float(intent.amount))
    if state.venue_order_id is not None and OrderEvent.ACKNOWLEDGED not in events:
        add(OrderEvent.ACKNOWLEDGED, state.at, size=float(state.amount))
    known = {record.note for record in recorded if record.event in FILLS}
    new = [fill for fill in state.fills if _note(fill) not in known]
    done = sum((fill.amount for fill in state.fills if fill not in new), Decimal(0))
    for fill in new:
        done += fill.amount
        whole = done == state.amount
        event = OrderEvent.FILLED if whole else OrderEvent.PARTLY_FILLED
        add(event, fill.at, **_fill_facts(intent, fill, fee_prices or {}))
    if state.is_settled and state.status in _ENDS:
        event, note = _ENDS[state.status]
        if event not in events:
            add(event, state.at, size=float(state.remaining), note=note)
    return added


def _note(fill: OrderFill) -> str:
    return f"trade {fill.trade_id}"


def _fill_facts(
    intent: OrderIntent, fill: OrderFill, fee_prices: Mapping[str, Decimal]
) -> dict[str, Any]:
    """A fee in the base asset makes the tokens fewer and so is inside the price."""
    base, quote = fill.symbol.split("/")
    tokens = fill.amount
    costs: dict[str, float] = {}
    inside: dict[str, float] = {}
    if fill.fee_asset == base:
        tokens -= fill.fee if fill.side == "buy" else Decimal(0)
        fee = _usd(fill.fee * fill.price)
        (inside if fill.side == "buy" else costs)["exchange_fee"] = fee
    elif fill.fee:
        if fill.fee_asset != quote and fill.fee_asset not in fee_prices:
            raise BadConfig(f"fee_prices: no price of {fill.fee_asset}, in which fees are paid")
        costs["exchange_fee"] = _usd(fill.fee * fee_prices.get(fill.fee_asset, Decimal(1)))
    price = float(fill.value / tokens)
    decided = float(intent.decision_price)
    worse = price - decided if fill.side == "buy" else decided - price
    return {
        f"{intent.leg}_price": price,
        "size": float(tokens),
        "slippage": worse / decided,
        "value_usd": _usd(fill.value),
        "costs_usd": costs,
        "inside_usd": inside,
        "note": _note(fill),
    }


def _usd(amount: Decimal) -> float:
    """Whole millionths; the quote asset is taken for USD."""
    return float(amount.quantize(_MICRO))
