"""What the strategy's own records tell before a decision: its fills, its ends, its open trades.

Known before a decision is what stands before it in the session's chain.  That order is exact where
times are not: a bar's fill bears the time of the bar's opening and is known at its close.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from datetime import datetime

import numpy as np

from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import HOUR, Floats, Ints
from trade_pipeline.core.records import (
    FILLS,
    ExecutionRecord,
    OrderEvent,
    TerminationReason,
    TradeOutcome,
)

RECENT = 10
ENDS = (OrderEvent.FILLED, OrderEvent.REJECTED, OrderEvent.CANCELLED)
_BAD_ENDS = (TerminationReason.STOP_LOSS, TerminationReason.RUGPULL_EXIT)


@dataclass(slots=True)
class OwnRecords:
    """A session's fills, ended orders and closed trades in the order of its chain.

    Attributes:
        slippage: of each fill.
        failed: of each ended order: 1 rejected or cancelled, 0 filled.
        returns, stopped, closed_at: of each closed trade: return after costs as a fraction, 1 for a
            stop or rug exit, when (microseconds).
    """

    slippage: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)
    returns: list[float] = field(default_factory=list)
    stopped: list[float] = field(default_factory=list)
    closed_at: list[int] = field(default_factory=list)

    def observe(self, record: object) -> None:
        """Note a record that was appended to the session's chain."""
        if isinstance(record, ExecutionRecord):
            self.order_event(record.event, record.slippage)
        elif isinstance(record, TradeOutcome):
            self.closed(record.realized_pnl_percent, record.termination_reason, record.closed_at)

    def order_event(self, event: OrderEvent, slippage: float | None) -> None:
        """Note an order event; a fill without a known slippage tells nothing of quality."""
        if event in FILLS and slippage is not None:
            self.slippage.append(slippage)
        if event in ENDS:
            self.failed.append(float(event is not OrderEvent.FILLED))

    def closed(
        self, pnl_percent: float, reason: TerminationReason, closed_at: datetime | None
    ) -> None:
        """Note a closed trade."""
        assert closed_at is not None
        self.returns.append(pnl_percent / 100.0)
        self.stopped.append(float(reason in _BAD_ENDS))
        self.closed_at.append(micros(closed_at))

    def newest(self) -> OwnRecords:
        """The records that decide the features of a decision made now."""
        return OwnRecords(*(getattr(self, f.name)[-RECENT:] for f in fields(self)))

    def counts(self) -> tuple[int, int, int]:
        """How many fills, ended orders and closed trades there are."""
        return len(self.slippage), len(self.failed), len(self.returns)


def own_columns(
    records: OwnRecords, fills: Ints, orders: Ints, trades: Ints, open_positions: Ints
) -> dict[str, Floats]:
    """The features of decisions of a session that do not move with the clock.

    Args:
        fills, orders, trades: how many of each stood before each decision.
        open_positions: how many were open.
    """
    return {
        "recent_slippage": _mean_of_last(records.slippage, fills),
        "recent_failed_orders": _mean_of_last(records.failed, orders),
        "open_positions": open_positions.astype(np.float64),
        "recent_win_rate": _mean_of_last([float(r > 0) for r in records.returns], trades),
        "recent_mean_return": _mean_of_last(records.returns, trades),
        "recent_stops": _mean_of_last(records.stopped, trades),
    }


def hours_since_last_close(records: OwnRecords, trades: Ints, at: Ints) -> Floats:
    """Hours from the strategy's last closed trade to each decision; NaN before the first."""
    closed = np.array([0, *records.closed_at], np.int64)
    return np.where(trades > 0, (at - closed[trades]) / HOUR, np.nan)


def _mean_of_last(values: list[float], count: Ints) -> Floats:
    """Mean of the last `RECENT` of the first ``count`` values, the newest first; NaN of none."""
    padded = np.concatenate([np.zeros(RECENT), np.asarray(values, np.float64)])
    total = np.zeros(len(count))
    for back in range(RECENT):
        total = total + padded[count + RECENT - 1 - back]
    there = np.minimum(count, RECENT)
    return np.where(there > 0, total / np.where(there > 0, there, 1), np.nan)
