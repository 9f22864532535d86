"""The trade log of an older bot: one closed trade a row, in USD or in the currency of its pair."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

from trade_pipeline.core.imports.trade import OldFill, OldTrade
from trade_pipeline.core.imports.values import Row
from trade_pipeline.core.records import TerminationReason

# What can be told of a trade, and what it means.
FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "instrument": "token or pair",
        "opened_at": "time of the entry",
        "closed_at": "time of the exit; empty: the trade is open",
        "time_in_market_seconds": "instead of closed_at",
        "entry_price": "per token",
        "exit_price": "per token",
        "size": "tokens",
        "termination_reason": "why it ended",
        "quote": "currency of prices and money; unset: that of the pair, or USD",
        "entry_fee": "paid at the entry",
        "exit_fee": "paid at the exit",
        "fees": "both together, instead",
        "pnl": "profit or loss after costs",
        "return_percent": "the same, of what the entry cost",
        "id": "the bot's own id",
        "confidence": "of the decision, 0..1",
        "model_version": "which model or strategy decided",
        "reason": "why it was entered",
    }
)

# What the same is called elsewhere: the first that the file has is taken.
OTHER_NAMES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "instrument": ("symbol", "pair", "token"),
        "opened_at": ("entry_time", "open_time", "entry_date", "open_date", "decided_at"),
        "closed_at": ("exit_time", "close_time", "exit_date", "close_date"),
        "size": ("amount", "quantity", "qty"),
        "termination_reason": ("exit_reason", "close_reason"),
        "fees": ("fees_usd", "fee", "total_fees"),
        "pnl": ("pnl_usd", "realized_pnl", "profit_usd"),
        "return_percent": ("realized_pnl_percent", "pnl_percent", "profit_percent"),
        "id": ("uuid", "trade_id", "order_id"),
        "model_version": ("strategy", "model"),
        "reason": ("entry_reason", "trade_rationale"),
    }
)

REASONS: Mapping[str, TerminationReason] = MappingProxyType(
    {
        **{
            reason.value: reason
            for reason in TerminationReason
            if reason is not TerminationReason.NOT_FILLED
        },
        "stoploss": TerminationReason.STOP_LOSS,
        "trailing_stop": TerminationReason.STOP_LOSS,
        "take_profit": TerminationReason.PROFIT_TARGET,
        "max_hold_time": TerminationReason.MAX_HOLD,
        "time_limit": TerminationReason.MAX_HOLD,
        "timeout": TerminationReason.MAX_HOLD,
        "rugpull": TerminationReason.RUGPULL_EXIT,
        "rug_pull": TerminationReason.RUGPULL_EXIT,
    }
)


def is_open(row: Row) -> bool:
    """Whether the trade had not ended when the file was written."""
    return (
        row.get("closed_at") is None
        and row.get("time_in_market_seconds") is None
        and row.get("exit_price") is None
    )


def read_row(number: int, row: Row) -> OldTrade:
    """One closed trade.

    Raises:
        Refused: a value is missing or impossible.
    """
    instrument, reason = row.text("instrument"), row.text("termination_reason")
    if instrument is None:
        raise row.refuse("instrument", "a token or a pair")
    opened, closed = row.moment("opened_at"), row.moment("closed_at")
    if opened is None:
        raise row.refuse("opened_at", "the time of the entry")
    seconds = row.number("time_in_market_seconds", 0)
    if closed is None and seconds is not None:
        # No trade lasts longer than there are chains.
        if seconds > 1e9:
            raise row.refuse("time_in_market_seconds", "at most 1e9 seconds")
        closed = opened + timedelta(seconds=seconds)
        if closed > row.now:
            raise row.refuse("time_in_market_seconds", "a trade that has ended by now")
    if closed is None:
        raise row.refuse("closed_at", "the time of the exit")
    if closed < opened:
        raise row.refuse("closed_at", f"a time after the entry at {opened.isoformat()}")
    if reason is None:
        raise row.refuse("termination_reason", "why it ended")
    size = row.positive("size")
    entry_fee, exit_fee = row.number("entry_fee", 0), row.number("exit_fee", 0)
    fees = row.number("fees", 0)
    if fees is not None:
        if entry_fee is not None or exit_fee is not None:
            raise row.refuse("fees", "nothing beside entry_fee and exit_fee")
        exit_fee = fees
    confidence = row.number("confidence", 0)
    if confidence is not None and confidence > 1:
        raise row.refuse("confidence", "a number in 0..1")
    return OldTrade(
        row=number,
        instrument=instrument,
        opened_at=opened,
        closed_at=closed,
        fills=(
            OldFill("entry", opened, row.positive("entry_price"), size, entry_fee),
            OldFill("exit", closed, row.positive("exit_price"), size, exit_fee),
        ),
        reason=reason,
        old_id=row.text("id"),
        pnl=row.number("pnl"),
        return_percent=row.number("return_percent"),
        confidence=confidence,
        model=row.text("model_version"),
        entry_reason=row.text("reason"),
    )


def quote_of(row: Row) -> str:
    """The currency of a trade's money."""
    told = row.text("quote")
    if told is not None:
        return told
    _, slash, quote = (row.text("instrument") or "").partition("/")
    return quote.partition(":")[0] if slash else "USD"
