"""Windows over the events of many tokens at many moments, all at once.

Each window is one reduction over its own events in their order (`numpy.ufunc.reduceat`), never a
running sum: the same events give the same bits, asked about alone or among a million.
"""

from __future__ import annotations

from copy import copy

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.market.history import MarketHistory

# Nothing older than this before a moment is looked at, so that no answer depends on when somebody
# began to listen.  A window of three days begins with a price of the day before, at the oldest.
LOOKBACK = 4 * DAY


class EventWindows:
    """The events known at each of some (token, moment) pairs.

    Args:
        history: must hold every event that was known by the last of the moments.
        token, at: the pairs, sorted by both; microseconds since 1970-01-01 UTC.
    """

    def __init__(self, history: MarketHistory, token: npt.NDArray[np.int32], at: Ints) -> None:
        self.token = token
        self.at = at
        self._history = history
        tokens, self._segment = np.unique(token, return_inverse=True)
        self._origin = int(at.min()) - LOOKBACK
        gathered = history.gather(tokens.tolist(), self._origin)
        self.columns = gathered.columns
        self.known_at = gathered.known_at
        # One key that rises through all tokens: the token's number, then the time.
        self._span = max(int(at.max()), int(gathered.known_at.max(initial=0))) - self._origin + 2
        if len(tokens) * self._span >= 1 << 63:
            raise ValueError(f"{len(tokens)} tokens over {self._span} microseconds: ask in parts")
        lengths = np.diff(gathered.bounds)
        self._key = np.repeat(np.arange(len(tokens)), lengths) * self._span
        self._key += gathered.known_at - self._origin
        self._oldest = self._later_than(self.at - LOOKBACK)
        self.stop = self._later_than(self.at)

    def __len__(self) -> int:
        return len(self.at)

    def select(self, rows: npt.NDArray[np.bool_]) -> EventWindows:
        """The windows of some of the pairs."""
        chosen = copy(self)
        for name in ("token", "at", "_segment", "_oldest", "stop"):
            setattr(chosen, name, getattr(self, name)[rows])
        return chosen

    def start(self, length: int) -> Ints:
        """Index of the first event of each window ``(at - length, at]``."""
        return self._later_than(self.at - length)

    def as_of(self, name: str, ago: int = 0) -> Floats:
        """A column as it was known some microseconds ago; NaN where no event was."""
        stop = self._later_than(self.at - ago) if ago else self.stop
        return self._newest(self.columns[name], stop)

    def newest_known_at(self) -> Ints:
        """When the newest event was known; the moment itself where there is none."""
        found, there = self.at.copy(), self.stop > self._oldest
        found[there] = self.known_at[self.stop[there] - 1]
        return found

    def quote_at(self, ago: int) -> Floats:
        """USD price of the quote token some microseconds ago."""
        return self._history.quote_at(self.at - ago, self.at - LOOKBACK)

    def total(self, values: Floats, length: int) -> Floats:
        """Sum of a value per event over each window; 0 over none."""
        return self._reduce(np.add, values, self.start(length), 0.0)

    def highest(self, values: Floats, length: int) -> Floats:
        """Largest value over each window; NaN over none."""
        return self._reduce(np.maximum, values, self.start(length), np.nan)

    def lowest(self, values: Floats, length: int) -> Floats:
        """Smallest value over each window; NaN over none."""
        return self._reduce(np.minimum, values, self.start(length), np.nan)

    def count(self, length: int) -> Floats:
        """Number of events in each window."""
        return (self.stop - self.start(length)).astype(np.float64)

    def hourly(self, name: str, hours: int) -> Floats:
        """A column at each full hour back from the moments: rows of ``hours + 1``, oldest first."""
        ago = np.arange(hours, -1, -1) * (DAY // 24)
        offset = np.maximum(self.at[:, None] - ago - self._origin, 0)
        key = (self._segment * self._span)[:, None] + offset
        stop = self._key.searchsorted(key, side="right")
        found = self.columns[name][np.maximum(stop - 1, 0)]
        return np.where(stop > self._oldest[:, None], found, np.nan)

    def _later_than(self, moments: Ints) -> Ints:
        """Index of the first event of each pair's token that is later than a moment."""
        offset = np.maximum(moments - self._origin, 0)
        return self._key.searchsorted(self._segment * self._span + offset, side="right")

    def _newest(self, values: Floats, stop: Ints) -> Floats:
        found = values[np.maximum(stop - 1, 0)]
        return np.where(stop > self._oldest, found, np.nan)

    def _reduce(self, how: np.ufunc, values: Floats, start: Ints, empty: float) -> Floats:
        # reduceat takes (start, stop) pairs; what lies between two windows is reduced for nothing.
        edges = np.empty(2 * len(start), np.intp)
        edges[0::2], edges[1::2] = start, self.stop
        found: Floats = how.reduceat(values, edges)[0::2]
        return np.where(self.stop > start, found, empty)
