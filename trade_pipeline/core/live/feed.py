"""A recorded or simulated market, replayed as if it were arriving now."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.market.event import Floats, Ints, MarketBatch, TradeRules
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.moments import joined

# In a quiet market a batch comes after so much market time.
_QUIET = 60_000_000
# The waits between two cells are added up until they are worth a timer.
_SHORTEST_WAIT = 0.005


class ReplayFeed:
    """A market from ``start`` to ``end`` at ``speed`` times the wall's time.

    Events come in cells of a grid of market time that does not depend on when somebody begins to
    read: a reader that starts again meets the same batches.

    Args:
        speed: 0: as fast as they are read.
        cell: microseconds of market time in one batch.

    Raises:
        BadConfig: an impossible speed or range.
    """

    knows_past = True

    def __init__(
        self, market: MarketFeed, *, start: int, end: int, speed: float = 0.0, cell: int = 1_000_000
    ) -> None:
        if not 0 <= speed < math.inf:
            raise BadConfig(f"speed={speed!r}: expected times the wall's time, or 0 for no waits")
        if end <= start:
            raise BadConfig(f"end={end}: must be after start={start}")
        self.kind, self.instruments = market.kind, market.instruments
        self._market = market
        self._start, self._end = start, end
        self._speed = speed
        self._cell = cell

    def first_moment(self) -> int:
        return self._start

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        began, origin = time.monotonic(), resume
        for known in self._market.batches(since, resume):
            yield LiveBatch(resume, known, warm_up=True)
            await asyncio.sleep(0)
        upto = resume
        for cell, events in self._cells(resume):
            while (cell + 1) * self._cell - upto > _QUIET:
                # Time goes on where nothing happens.
                upto += _QUIET - upto % _QUIET
                yield LiveBatch(upto, nothing(), behind=await self._wait(began, upto - origin))
            upto = min((cell + 1) * self._cell, self._end)
            behind = await self._wait(began, upto - origin)
            yield LiveBatch(upto, events, behind=behind)
        if upto < self._end:
            yield LiveBatch(self._end, nothing())

    def _cells(self, resume: int) -> Iterator[tuple[int, MarketBatch]]:
        """The events from a moment on by the number of their cell, each cell whole."""
        carry: MarketBatch | None = None
        for fresh in self._market.batches(resume, self._end):
            batch = fresh if carry is None else joined(carry, fresh)
            cells = batch.known_at // self._cell
            bounds = [0, *(np.flatnonzero(np.diff(cells)) + 1).tolist()]
            for first, stop in pairwise(bounds):
                yield int(cells[first]), batch.rows(first, stop)
            carry = batch.rows(bounds[-1], len(batch))
        if carry is not None and len(carry):
            yield int(carry.known_at[0]) // self._cell, carry

    async def _wait(self, began: float, market: int) -> float:
        """Wait until a length of market time has passed; how far behind it this is, seconds."""
        if not self._speed:
            await asyncio.sleep(0)
            return 0.0
        early = began + market / 1_000_000 / self._speed - time.monotonic()
        await asyncio.sleep(early if early > _SHORTEST_WAIT else 0)
        return max(0.0, -early)

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return self._market.facts_at(token, at)

    def mentions_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return self._market.mentions_at(token, at)

    def raw_answers_at(self, token: int, at: int) -> Sequence[str]:
        return self._market.raw_answers_at(token, at)

    def rules(self, token: int) -> TradeRules:
        return self._market.rules(token)


def nothing() -> MarketBatch:
    """A batch without events."""
    whole = np.empty(0, np.int64)
    return MarketBatch(np.empty(0, np.int32), whole, whole, *[np.empty(0)] * 12)
