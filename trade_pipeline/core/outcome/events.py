"""The market as the labels need it: the events of each candidate's token, and the quote's price."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import TokenState

_COLUMNS = tuple(f.name for f in fields(TokenState) if f.name not in ("token", "known_at"))
_QUOTE = _COLUMNS.index("quote_usd")


@dataclass(frozen=True, slots=True)
class TokenEvents:
    """A token's events in their order.

    Attributes:
        times: when each was known.
        values: float64[columns of a state, events].
    """

    token: int
    times: Ints
    values: Floats

    def column(self, name: str) -> Floats:
        """A column over all events."""
        column: Floats = self.values[_COLUMNS.index(name)]
        return column

    def newest(self, at: int) -> int:
        """The row of the newest event known at a moment; -1 before the first."""
        return int(self.times.searchsorted(at, "right")) - 1

    def state(self, row: int, quote_usd: float | None = None) -> TokenState:
        """The token after an event; at the event's price of the quote token unless given."""
        values = self.values[:, row].tolist()
        if quote_usd is not None:
            values[_QUOTE] = quote_usd
        return TokenState(self.token, int(self.times[row]), *values)


@dataclass(frozen=True, slots=True)
class QuotePrices:
    """The USD price of the quote token where it changed."""

    times: Ints
    prices: Floats

    def at(self, moment: int) -> float:
        """As the newest event of any token knew it; NaN where none did."""
        row = int(self.times.searchsorted(moment, "right")) - 1
        return float(self.prices[row]) if row >= 0 else np.nan


def read_events(
    feed: MarketFeed, windows: Mapping[int, tuple[int, int]]
) -> tuple[dict[int, TokenEvents], QuotePrices]:
    """Read a market once.

    Args:
        windows: by token, the first and the last moment (inclusive) whose events are kept.

    Raises:
        BadMarketData: the market is wrong.
    """
    if not windows:
        return {}, QuotePrices(np.empty(0, np.int64), np.empty(0))
    first = np.full(len(feed.instruments), np.iinfo(np.int64).max)
    last = np.full(len(feed.instruments), -1)
    for number, window in windows.items():
        first[number], last[number] = window
    parts: list[tuple[npt.NDArray[np.int32], Ints, Floats]] = []
    changes: list[tuple[Ints, Floats]] = []
    for batch in feed.batches(int(first.min()), int(last.max()) + 1):
        at, quote = batch.known_at, batch.quote_usd
        kept = (at >= first[batch.token]) & (at <= last[batch.token])
        values = np.stack([getattr(batch, name)[kept] for name in _COLUMNS])
        parts.append((batch.token[kept], at[kept], values))
        changed = (np.diff(quote, prepend=np.nan) != 0) & ~np.isnan(quote)
        changes.append((at[changed], quote[changed]))
    token, times, columns = (np.concatenate(c, axis=-1) for c in zip(*parts, strict=True))
    order = np.argsort(token, kind="stable")
    heads = np.flatnonzero(np.diff(token[order], prepend=-1))
    events = {}
    for rows in np.split(order, heads[1:]):
        number = int(token[rows[0]])
        events[number] = TokenEvents(number, times[rows], columns[:, rows])
    return events, QuotePrices(*(np.concatenate(c) for c in zip(*changes, strict=True)))
