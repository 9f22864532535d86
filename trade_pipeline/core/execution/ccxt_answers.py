"""What ccxt's unified answers say, as orders, fills and rules of ours."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from trade_pipeline.core.execution.exchange_venue import InstrumentRules
from trade_pipeline.core.execution.orders import OrderFill, OrderState, OrderStatus
from trade_pipeline.core.ids import moment_of

_STATUSES = {
    "open": OrderStatus.ACKNOWLEDGED,
    "canceling": OrderStatus.ACKNOWLEDGED,
    "closed": OrderStatus.FILLED,
    "canceled": OrderStatus.CANCELLED,
    "expired": OrderStatus.EXPIRED,
    "rejected": OrderStatus.REJECTED,
}


class Unreadable(Exception):
    """An answer that does not say what it has to."""


def _number(answer: dict[str, Any], name: str) -> Decimal:
    try:
        return Decimal(answer[name])
    except (KeyError, TypeError, InvalidOperation):
        raise Unreadable(f"{name}={answer.get(name)!r}: no number") from None


def _text(answer: dict[str, Any], name: str) -> str:
    if not isinstance(text := answer.get(name), str) or not text:
        raise Unreadable(f"{name}={text!r}: no text")
    return text


def order_of(answer: dict[str, Any]) -> OrderState:
    """An order, without its fills.

    Raises:
        Unreadable: something is missing.
    """
    status = answer.get("status")
    if status not in _STATUSES:
        raise Unreadable(f"status={status!r}: unknown")
    amount, filled = _number(answer, "amount"), _number(answer, "filled")
    known = _STATUSES[status]
    if known is OrderStatus.FILLED and filled < amount:
        # Some exchanges call every ended order closed.
        known = OrderStatus.CANCELLED
    elif known is OrderStatus.ACKNOWLEDGED and filled > 0:
        known = OrderStatus.PARTLY_FILLED
    created = answer.get("timestamp")
    changed = answer.get("lastUpdateTimestamp") or created
    return OrderState(
        client_order_id=_text(answer, "clientOrderId"),
        symbol=_text(answer, "symbol"),
        side="buy" if _text(answer, "side") == "buy" else "sell",
        amount=amount,
        status=known,
        filled=filled,
        venue_order_id=_text(answer, "id"),
        created_at=None if created is None else moment_of(1_000 * int(created)),
        at=None if changed is None else moment_of(1_000 * int(changed)),
    )


def fill_of(answer: dict[str, Any]) -> OrderFill:
    """A fill.

    Raises:
        Unreadable: something is missing.
    """
    if (at := answer.get("timestamp")) is None:
        raise Unreadable("timestamp=None: no moment of a fill")
    fee = answer.get("fee") or {}
    paid = fee.get("cost") is not None
    return OrderFill(
        trade_id=_text(answer, "id"),
        order_id=_text(answer, "order"),
        symbol=_text(answer, "symbol"),
        side="buy" if _text(answer, "side") == "buy" else "sell",
        at=moment_of(1_000 * int(at)),
        price=_number(answer, "price"),
        amount=_number(answer, "amount"),
        value=_number(answer, "cost"),
        fee=_number(fee, "cost") if paid else Decimal(0),
        fee_asset=_text(fee, "currency") if paid else "",
    )


def last_price(answer: dict[str, Any]) -> Decimal:
    """The last price of a ticker.

    Raises:
        Unreadable: there is none.
    """
    return _number(answer, "last")


def rules_of(market: dict[str, Any], stops: bool) -> InstrumentRules:
    """The rules of a symbol.

    Args:
        stops: whether the exchange says that a stop can rest there.

    Raises:
        Unreadable: it tells no step of the amount or the price.
    """
    limits = market["limits"]
    # Binance tells by symbol; elsewhere what the exchange says holds for all.
    types = market["info"].get("orderTypes")
    return InstrumentRules(
        symbol=market["symbol"],
        base=market["base"],
        quote=market["quote"],
        amount_step=_number(market["precision"], "amount"),
        price_step=_number(market["precision"], "price"),
        min_amount=Decimal(limits["amount"]["min"] or 0),
        min_notional=Decimal(limits["cost"]["min"] or 0),
        holds_stops=stops and (types is None or "STOP_LOSS" in types),
    )
