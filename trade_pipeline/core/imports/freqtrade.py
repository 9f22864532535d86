"""Trades of freqtrade: exported backtests, `show-trades --print-json`, and its REST API's trades.

Money is in the currency of the pair.  Its own result counts the fee rates on the values of the
fills, and so do the records.  Only what this project trades itself can be taken: spot, long, no
leverage.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any

from trade_pipeline.core.imports.problems import Refused
from trade_pipeline.core.imports.trade import OldFill, OldTrade, require_sold
from trade_pipeline.core.imports.values import Row
from trade_pipeline.core.records import TerminationReason

FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "pair": "token and currency",
        "open_timestamp": "milliseconds since 1970",
        "open_date": "instead of it",
        "close_timestamp": "milliseconds since 1970",
        "close_date": "instead of it",
        "open_rate": "price of the entry",
        "close_rate": "price of the exit",
        "amount": "tokens",
        "exit_reason": "why it ended",
        "fee_open": "rate of the entry's fee",
        "fee_close": "rate of the exit's fee",
        "profit_abs": "result after fees",
        "profit_ratio": "the same, of what the entry cost",
        "is_open": "whether it had not ended",
        "is_short": "must not hold",
        "leverage": "must be 1",
        "funding_fees": "must be 0",
        "trade_id": "freqtrade's own id",
        "strategy": "which strategy decided",
        "enter_tag": "why it was entered",
        "quote_currency": "unset: that of the pair",
        "orders": "of a trade that was entered or left in several steps",
    }
)

# What older versions call the same.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "exit_reason": ("sell_reason",),
        "enter_tag": ("buy_tag",),
        "profit_abs": ("close_profit_abs",),
        "profit_ratio": ("close_profit",),
        "quote_currency": ("stake_currency",),
    }
)

REASONS: Mapping[str, TerminationReason] = MappingProxyType(
    {
        "roi": TerminationReason.PROFIT_TARGET,
        "stop_loss": TerminationReason.STOP_LOSS,
        "stoploss_on_exchange": TerminationReason.STOP_LOSS,
        "trailing_stop_loss": TerminationReason.STOP_LOSS,
        "force_exit": TerminationReason.MANUAL,
        "force_sell": TerminationReason.MANUAL,
    }
)
# A backtest forces out at its end whatever is still open; there is nobody who could do it by hand.
BACKTEST_REASONS: Mapping[str, TerminationReason] = MappingProxyType(
    {
        **REASONS,
        "force_exit": TerminationReason.SESSION_END,
        "force_sell": TerminationReason.SESSION_END,
    }
)


def is_open(row: Row) -> bool:
    """Whether the trade had not ended when the file was written."""
    return row.truth("is_open")


def read_row(number: int, row: Row) -> OldTrade:
    """One closed trade.

    Raises:
        Refused: a value is missing or impossible, or it is no long spot trade.
    """
    pair, reason = row.text("pair"), row.text("exit_reason")
    if pair is None:
        raise row.refuse("pair", "such as PEPE/USDT")
    if row.truth("is_short"):
        raise row.refuse("is_short", "false: only long trades have a place in the records")
    if row.number("leverage") not in (None, 1.0):
        raise row.refuse("leverage", "1: only spot trades have a place in the records")
    if row.number("funding_fees") not in (None, 0.0):
        raise row.refuse("funding_fees", "0: only spot trades have a place in the records")
    opened = _moment(row, "open")
    closed = _moment(row, "close")
    if closed < opened:
        raise row.refuse("close_timestamp", f"a time after the entry at {opened.isoformat()}")
    if reason is None:
        raise row.refuse("exit_reason", "why it ended")
    ratio = row.number("profit_ratio")
    return OldTrade(
        row=number,
        instrument=pair,
        opened_at=opened,
        closed_at=closed,
        fills=_fills(row, opened, closed),
        reason=reason,
        old_id=row.text("trade_id"),
        pnl=row.number("profit_abs"),
        return_percent=None if ratio is None else 100.0 * ratio,
        model=row.text("strategy"),
        entry_reason=row.text("enter_tag"),
    )


def quote_of(row: Row) -> str:
    """The currency of a trade's money."""
    told = row.text("quote_currency")
    return told or (row.text("pair") or "").partition("/")[2].partition(":")[0]


def _moment(row: Row, end: str) -> datetime:
    # The dates of live trades have no zone, and the milliseconds beside them need none.
    found = row.moment(f"{end}_timestamp") or row.moment(f"{end}_date")
    if found is None:
        raise row.refuse(f"{end}_timestamp", f"when the trade was {end.removesuffix('e')}ed")
    return found


def _fills(row: Row, opened: datetime, closed: datetime) -> tuple[OldFill, ...]:
    rates = {"entry": row.number("fee_open", 0), "exit": row.number("fee_close", 0)}
    orders = [order for order in _orders(row) if _is_filled(order)]
    if len(orders) <= 2:
        size = row.positive("amount")
        plain = (
            ("entry", opened, row.positive("open_rate")),
            ("exit", closed, row.positive("close_rate")),
        )
        return tuple(
            OldFill(leg, at, price, size, _fee(price * size, rates[leg]))
            for leg, at, price in plain
        )
    fills = [_fill(row, order, rates, opened, closed) for order in orders]
    require_sold(fills, "orders")
    return tuple(sorted(fills, key=lambda fill: fill.at))


def _orders(row: Row) -> list[Mapping[str, Any]]:
    orders = row.get("orders")
    if orders is None:
        return []
    if not isinstance(orders, list) or not all(isinstance(order, dict) for order in orders):
        raise row.refuse("orders", "a list of objects")
    return orders


def _is_filled(order: Mapping[str, Any]) -> bool:
    """Whether an order bought or sold something; what a backtest exports is filled."""
    return order.get("order_filled_timestamp") is not None and order.get("filled", 1) not in (
        0,
        None,
    )


def _fill(
    row: Row,
    order: Mapping[str, Any],
    rates: Mapping[str, float | None],
    opened: datetime,
    closed: datetime,
) -> OldFill:
    told = Row(order, {}, None, row.now)
    try:
        leg = "entry" if told.truth("ft_is_entry") else "exit"
        at = told.moment("order_filled_timestamp")
        price = told.positive("safe_price")
        size = told.positive("filled" if order.get("filled") is not None else "amount")
        name = told.text("order_id")
    except Refused as error:
        raise Refused(f"orders.{error.field}", error.value, error.expected) from None
    if at is None or not opened <= at <= closed:
        raise Refused(
            "orders.order_filled_timestamp",
            order.get("order_filled_timestamp"),
            f"a time between {opened.isoformat()} and {closed.isoformat()}",
        )
    return OldFill(leg, at, price, size, _fee(price * size, rates[leg]), name)


def _fee(value: float, rate: float | None) -> float | None:
    return None if rate is None else value * rate
