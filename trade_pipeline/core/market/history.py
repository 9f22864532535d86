"""What a session has seen of each token: columns that only grow.

A batch is appended at once, but every question names the moment, or how many of the token's events
count (``upto``), so that an answer never sees an event that comes after the moment asked about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import HOUR, Floats, Ints, MarketBatch

_COLUMNS = (
    "price_usd", "open_usd", "high_usd", "low_usd", "volume_usd", "flow_usd", "liquidity_usd",
    "liquidity_change_usd", "market_cap_usd", "reserve_quote", "reserve_token",
)  # fmt: skip
_INDEX = {name: i for i, name in enumerate(_COLUMNS)}


@dataclass(frozen=True, slots=True)
class TokenState:
    """A token as its newest event left it; NaN is unknown.  Units as in `MarketBatch`."""

    token: int
    known_at: int
    quote_usd: float
    price_usd: float
    open_usd: float
    high_usd: float
    low_usd: float
    volume_usd: float
    flow_usd: float
    liquidity_usd: float
    liquidity_change_usd: float
    market_cap_usd: float
    reserve_quote: float
    reserve_token: float


@dataclass(frozen=True, slots=True)
class GatheredEvents:
    """Events of some tokens in flat columns.

    Attributes:
        bounds: where each token's events begin; one more for the end.
        known_at: of each event; rising within a token.
        columns: by name, one value an event and a zero at the end.
    """

    bounds: Ints
    known_at: Ints
    columns: Mapping[str, Floats]


class MarketHistory:
    """The events of ``tokens`` tokens so far."""

    def __init__(self, tokens: int) -> None:
        self._times: list[Ints] = [np.empty(0, np.int64)] * tokens
        self._values: list[Floats] = [np.empty((len(_COLUMNS), 0))] * tokens
        self._lengths = [0] * tokens
        # Where it changed and at each hour's first event; before them all it is unknown.
        self._quote_times: list[Ints] = [np.full(1, np.iinfo(np.int64).min)]
        self._quotes: list[Floats] = [np.full(1, np.nan)]

    def grow(self, tokens: int) -> None:
        """Make room for instruments that came into the market meanwhile."""
        new = tokens - len(self._lengths)
        self._times.extend(np.empty(0, np.int64) for _ in range(new))
        self._values.extend(np.empty((len(_COLUMNS), 0)) for _ in range(new))
        self._lengths.extend(0 for _ in range(new))

    def extend(self, batch: MarketBatch) -> npt.NDArray[np.int64]:
        """Append a batch; for each row, how many events its token has up to and with that row."""
        if not len(batch):
            return np.empty(0, np.int64)
        order = np.argsort(batch.token, kind="stable")
        tokens = batch.token[order]
        bounds = np.flatnonzero(np.diff(tokens, prepend=-1))
        times = batch.known_at[order]
        values = np.stack([getattr(batch, name) for name in _COLUMNS])[:, order]
        touched = tokens[bounds].tolist()
        lengths = [self._lengths[token] for token in touched]
        stops = np.append(bounds[1:], len(tokens))
        spans = zip(touched, lengths, bounds.tolist(), stops.tolist(), strict=True)
        for token, before, start, stop in spans:
            after = before + stop - start
            self._reserve(token, after)
            self._times[token][before:after] = times[start:stop]
            self._values[token][:, before:after] = values[:, start:stop]
            self._lengths[token] = after
        upto = np.empty(len(batch), np.int64)
        upto[order] = np.arange(1, len(tokens) + 1) + np.repeat(lengths - bounds, stops - bounds)
        changed = np.diff(batch.quote_usd, prepend=np.nan) != 0
        changed |= np.diff(batch.known_at // HOUR, prepend=-1) != 0
        self._quote_times.append(batch.known_at[changed])
        self._quotes.append(batch.quote_usd[changed])
        return upto

    def state(self, token: int, upto: int, quote_usd: float) -> TokenState:
        """The token after its first ``upto`` events, at a price of the quote token."""
        last = upto - 1
        values = self._values[token][:, last].tolist()
        return TokenState(token, int(self._times[token][last]), quote_usd, *values)

    def gather(self, tokens: Sequence[int], since: int) -> GatheredEvents:
        """The events of some tokens, later than a moment, one token after the other.

        Args:
            tokens: which, each once.
        """
        firsts = [
            int(self._times[t][: self._lengths[t]].searchsorted(since, "right")) for t in tokens
        ]
        spans = [(t, first, self._lengths[t]) for t, first in zip(tokens, firsts, strict=True)]
        bounds = np.cumsum([0, *(stop - first for _, first, stop in spans)])
        times = np.empty(bounds[-1], np.int64)
        values = np.zeros((len(_COLUMNS), int(bounds[-1]) + 1))
        for (token, first, stop), start in zip(spans, bounds.tolist(), strict=False):
            times[start : start + stop - first] = self._times[token][first:stop]
            values[:, start : start + stop - first] = self._values[token][:, first:stop]
        columns = dict(zip(_COLUMNS, values, strict=True))
        return GatheredEvents(bounds, times, columns)

    def quote_at(self, moments: Ints, oldest: Ints) -> Floats:
        """USD price of the quote token as the newest event of any token knew it.

        Args:
            oldest: NaN where no event came in an hour (UTC) after that of this moment.
        """
        if len(self._quotes) > 1:
            # A live session asks after each of many small batches: what was joined stays joined.
            self._quote_times = [np.concatenate(self._quote_times)]
            self._quotes = [np.concatenate(self._quotes)]
        times, quotes = self._quote_times[0], self._quotes[0]
        index = times.searchsorted(moments, side="right") - 1
        return np.where(times[index] // HOUR > oldest // HOUR, quotes[index], np.nan)

    def _reserve(self, token: int, length: int) -> None:
        capacity = len(self._times[token])
        if length <= capacity:
            return
        capacity = max(length, 2 * capacity)
        used = self._lengths[token]
        times = np.empty(capacity, np.int64)
        times[:used] = self._times[token][:used]
        values = np.empty((len(_COLUMNS), capacity))
        values[:, :used] = self._values[token][:, :used]
        self._times[token], self._values[token] = times, values
