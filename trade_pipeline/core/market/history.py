"""What a session has seen of each token: columns that only grow.

A batch is appended at once, but every question names how many of the token's events count
(``upto``), so that an answer never sees an event that comes after the moment asked about.  A window
is one reduction over its events in their order, never a running sum: the same events give the same
bits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Floats, Ints, MarketBatch

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


class MarketHistory:
    """The events of ``tokens`` tokens so far."""

    def __init__(self, tokens: int) -> None:
        self._times: list[Ints] = [np.empty(0, np.int64)] * tokens
        self._values: list[Floats] = [np.empty((len(_COLUMNS), 0))] * tokens
        self._lengths = [0] * tokens

    def extend(self, batch: MarketBatch) -> npt.NDArray[np.int64]:
        """Append a batch; for each row, how many events its token has up to and with that row."""
        upto = np.empty(len(batch), np.int64)
        if not len(batch):
            return upto
        order = np.argsort(batch.token, kind="stable")
        tokens = batch.token[order]
        bounds = np.flatnonzero(np.diff(tokens, prepend=-1))
        times = batch.known_at[order]
        values = np.stack([getattr(batch, name) for name in _COLUMNS])[:, order]
        for start, stop in zip(bounds.tolist(), [*bounds[1:].tolist(), len(tokens)], strict=True):
            token = int(tokens[start])
            before = self._lengths[token]
            after = before + stop - start
            self._reserve(token, after)
            self._times[token][before:after] = times[start:stop]
            self._values[token][:, before:after] = values[:, start:stop]
            self._lengths[token] = after
            upto[order[start:stop]] = np.arange(before + 1, after + 1)
        return upto

    def state(self, token: int, upto: int, quote_usd: float) -> TokenState:
        """The token after its first ``upto`` events, at a price of the quote token."""
        last = upto - 1
        values = self._values[token][:, last].tolist()
        return TokenState(token, int(self._times[token][last]), quote_usd, *values)

    def since(self, token: int, upto: int, moment: int) -> int:
        """Index of the first of the ``upto`` events that is later than a moment."""
        return int(self._times[token][:upto].searchsorted(moment, side="right"))

    def column(self, token: int, name: str, first: int, upto: int) -> Floats:
        """A column over the events ``first`` to ``upto`` (exclusive)."""
        values: Floats = self._values[token][_INDEX[name], first:upto]
        return values

    def at_moments(self, token: int, name: str, upto: int, moments: Ints) -> Floats:
        """A column as each of some moments knew it; NaN before the token's first event."""
        index = self._times[token][:upto].searchsorted(moments, side="right") - 1
        values: Floats = self._values[token][_INDEX[name]][index]
        values[index < 0] = np.nan
        return values

    def first_known_at(self, token: int) -> int:
        """When the token's first event was known."""
        return int(self._times[token][0])

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
