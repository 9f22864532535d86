"""A wild market of hourly bars that arrives fast, and moves the exchange's prices as it does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress

import aiohttp
import numpy as np

from trade_pipeline.core.live.feed import nothing
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.market.event import HOUR, Instrument, MarketBatch
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.windows import LOOKBACK

START = 1_767_571_200_000_000  # 2026-01-05
TOKENS, HOURS, FLATTEN = 4, 36, 28
END = START + HOURS * HOUR
_WARM_UP = LOOKBACK // HOUR
_MINUTES = 10 * 60_000_000
# Seconds until a session that does not come to its end has failed.
_PATIENCE = 30.0


class WildMarket(EventsOnly):
    """Bars of some tokens; ``pace`` seconds pass between two hours.

    Args:
        exchange: URL whose prices follow the bars.
        flatten: called when everything is to be sold, some hours before the end.
        is_flat: whether nothing is open any more.
    """

    kind = "spot-1h"
    knows_past = True

    def __init__(
        self,
        seed: int,
        exchange: str,
        pace: float,
        flatten: Callable[[], None],
    ) -> None:
        self._exchange, self._pace, self._flatten = exchange, pace, flatten
        self.is_flat: Callable[[], bool] = lambda: False
        self.instruments: Sequence[Instrument] = [
            Instrument(f"T{number}/USDT", f"T{number}") for number in range(TOKENS)
        ]
        rng = np.random.default_rng(seed)
        moves = rng.standard_normal((_WARM_UP + HOURS + 1, TOKENS)) * 0.06
        self._closes = np.exp(np.cumsum(moves, axis=0)).clip(0.01, 100).round(6)

    def first_moment(self) -> int:
        return START

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        for hour in range(-_WARM_UP, 0):
            yield LiveBatch(_at(hour), self._bars(hour), warm_up=True)
        async with aiohttp.ClientSession() as client:
            for hour in range(HOURS):
                known = _at(hour) < resume
                if not known:
                    await asyncio.sleep(self._pace)
                    await self._move(client, hour)
                if hour == FLATTEN and not known:
                    await asyncio.to_thread(self._flatten)
                yield LiveBatch(_at(hour) + 1, self._bars(hour), warm_up=known)
        upto, end = max(resume, END), time.monotonic() + _PATIENCE
        while not self.is_flat() and time.monotonic() < end:
            # Sales that failed are tried again, in market time.
            upto += _MINUTES
            yield LiveBatch(upto, nothing())
            await asyncio.sleep(self._pace)

    async def _move(self, client: aiohttp.ClientSession, hour: int) -> None:
        for token, price in enumerate(self._closes[hour + _WARM_UP]):
            body = {"symbol": f"T{token}USDT", "price": f"{price:.6f}"}
            # While the exchange is down, its prices stand still.
            with suppress(aiohttp.ClientError):
                async with client.post(f"{self._exchange}/control/price", json=body):
                    pass

    def _bars(self, hour: int) -> MarketBatch:
        row = hour + _WARM_UP
        close, before = self._closes[row], self._closes[max(0, row - 1)]
        at, ones = np.full(TOKENS, _at(hour)), np.ones(TOKENS)
        nan = np.full(TOKENS, np.nan)
        return MarketBatch(
            np.arange(TOKENS, dtype=np.int32), at, at, close, before, np.maximum(close, before),
            np.minimum(close, before), 500_000 * ones, 0 * ones, nan, nan, 1e6 * close, nan, nan,
            ones,
        )  # fmt: skip


def _at(hour: int) -> int:
    return START + hour * HOUR
