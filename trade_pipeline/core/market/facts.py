"""Facts at many moments at once, with two times each: of when they are, and when they were known.

A late fact about an older moment never replaces a newer state, and a correction that was known
later changes nothing earlier.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import Floats, Ints

Tokens = npt.NDArray[np.int32]

# (token, moment) pairs whose rows are looked at together in a window of counts.
_CHUNK = 10_000
_NEVER = np.iinfo(np.int64).max


class FactTable:
    """States of tokens over time.

    Args:
        token: of each row, which may come in any order.
        event_time, known_at: microseconds since 1970-01-01 UTC.
        values: columns by name; NaN is unknown.

    Raises:
        BadMarketData: a row was known before it was true.
    """

    def __init__(
        self, token: Tokens, event_time: Ints, known_at: Ints, values: Mapping[str, Floats]
    ) -> None:
        import polars as pl

        _require_known_after(event_time, known_at)
        rows = pl.DataFrame(
            {
                "token": np.asarray(token, np.int32),
                "event_time": event_time,
                "known_at": known_at,
                "row": np.arange(len(token)),
            }
        )
        if (np.diff(known_at) < 0).any():
            rows = rows.sort("known_at", maintain_order=True)
        if (event_time != known_at).any():
            # What is no newer than the newest moment that was known changes no state.
            newest = pl.col("event_time").cum_max().over("token")
            rows = rows.filter(pl.col("event_time") >= newest)
        self._rows = rows.select("token", "known_at", "row")
        self._values = values

    def as_of(self, token: Tokens, at: Ints) -> dict[str, Floats]:
        """The newest state that was known at each (token, moment); NaN where none was."""
        import polars as pl

        pairs = pl.DataFrame(
            {"token": np.asarray(token, np.int32), "at": at, "pair": np.arange(len(at))}
        )
        joined = pairs.sort("at").join_asof(
            self._rows, left_on="at", right_on="known_at", by="token", check_sortedness=False
        )
        row = joined.sort("pair")["row"].fill_null(-1).to_numpy()
        return {
            name: np.where(row < 0, np.nan, column[row] if len(column) else np.nan)
            for name, column in self._values.items()
        }


class CountTable:
    """Counts of tokens by interval, such as mentions in an hour.

    Args:
        token: of each row, which may come in any order.
        event_time: the interval's end; a row of the same token and interval that was known later
            is its correction.
        known_at: microseconds since 1970-01-01 UTC, as ``event_time``.

    Raises:
        BadMarketData: a row was known before its interval ended.
    """

    def __init__(self, token: Tokens, event_time: Ints, known_at: Ints, count: Floats) -> None:
        _require_known_after(event_time, known_at)
        corrected = np.lexsort((known_at, event_time, token))
        same = (np.diff(token[corrected]) == 0) & (np.diff(event_time[corrected]) == 0)
        superseded_at = np.full(len(token), _NEVER)
        superseded_at[corrected[:-1][same]] = known_at[corrected[1:][same]]
        order = np.lexsort((event_time, known_at, token))
        self._event_time, self._superseded_at = event_time[order], superseded_at[order]
        self._count = count[order]
        self._tokens, owner = np.unique(token[order], return_inverse=True)
        self._first = int(known_at.min(initial=_NEVER))
        self._last = int(known_at.max(initial=self._first))
        # One key that rises through all tokens: the token's place, then the time.
        self._key = self._key_of(owner, known_at[order])

    def window(self, token: Tokens, at: Ints, length: int) -> Floats:
        """Sum of the counts of the intervals that ended in ``(at - length, at]``, as known then."""
        found = np.zeros(len(at))
        for start in range(0, len(at), _CHUNK):
            rows = slice(start, start + _CHUNK)
            found[rows] = self._window(token[rows], at[rows], length)
        return found

    def _window(self, token: Tokens, at: Ints, length: int) -> Floats:
        first, stop = self._later_than(token, at - length), self._later_than(token, at)
        lengths = stop - first
        ends = np.cumsum(lengths)
        pair = np.repeat(np.arange(len(at)), lengths)
        row = np.arange(int(lengths.sum())) + np.repeat(first - (ends - lengths), lengths)
        counts = (self._event_time[row] > at[pair] - length) & (self._superseded_at[row] > at[pair])
        # Counts are whole numbers, whose sums are exact in any order.
        values = np.where(counts, self._count[row], 0.0)
        return np.bincount(pair, values, minlength=len(at)).astype(np.float64)

    def _later_than(self, token: Tokens, moments: Ints) -> Ints:
        """Index of the first row of each pair's token that was known after a moment."""
        place = self._tokens.searchsorted(token)
        known = np.isin(token, self._tokens)
        found = self._key.searchsorted(self._key_of(place, moments), side="right")
        return np.where(known, found, 0)

    def _key_of(self, place: Ints, moments: Ints) -> Ints:
        # Before the first row all moments are alike, and after the last.
        since: Ints = np.clip(moments, self._first - 1, self._last) - self._first
        return place * (self._last - self._first + 2) + since


def _require_known_after(event_time: Ints, known_at: Ints) -> None:
    wrong = known_at < event_time
    if wrong.any():
        row = int(wrong.argmax())
        raise BadMarketData(
            f"facts: row {row}: known_at {moment_of(int(known_at[row])).isoformat()} is before "
            f"event_time {moment_of(int(event_time[row])).isoformat()}"
        )
