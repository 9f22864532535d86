"""A live session under a steady load of the wall's own time: 1,000 events in every second.

`benchmarks/live.py --sustained MINUTES` runs it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import numpy as np
import psutil
from report.record import measured

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.engine import LiveEngine
from trade_pipeline.core.live.feed import ReplayFeed
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.live.session import LiveSession
from trade_pipeline.core.market.event import (
    HOUR,
    Instrument,
    Ints,
    MarketBatch,
)
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.store.store import Store

SECOND = 1_000_000
EVENTS_A_SECOND = 1_000
TOKENS = 2_000
# A batch of the market holds so much of its time.
_STRETCH = 10 * SECOND


class DenseMarket(EventsOnly):
    """Tokens whose prices walk: an event of each an hour before ``start``, then many a second."""

    kind = "simulated"

    def __init__(self, start: int) -> None:
        self.instruments = [Instrument(f"token-{number}") for number in range(TOKENS)]
        self._start = start
        self._log_price = np.full(TOKENS, np.log(0.01))

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        at = start - start % HOUR
        while at < min(end, self._start):
            if at >= start:
                yield self._events(np.arange(TOKENS), np.full(TOKENS, at), 0.03)
            at += HOUR
        at = max(start, self._start)
        while at < end:
            stretch = min(_STRETCH, end - at)
            number = EVENTS_A_SECOND * stretch // SECOND
            random = np.random.default_rng(at)
            moments = at + np.sort(random.integers(0, stretch, number))
            yield self._events(random.integers(0, TOKENS, number), moments, 0.002)
            at += stretch

    def _events(self, token: Ints, at: Ints, step: float) -> MarketBatch:
        random = np.random.default_rng(int(at[0]) + 1)
        number = len(token)
        moves = random.normal(0, step, number)
        np.add.at(self._log_price, token, moves)
        price = np.exp(self._log_price[token])
        ones, nan = np.ones(number), np.full(number, np.nan)
        return MarketBatch(
            token.astype(np.int32), at, at, price, nan, nan, nan, 200 * ones, ones, 100_000 * ones,
            0 * ones, 1e6 * ones, 25 * ones, 50_000 / price, 200 * ones,
        )  # fmt: skip


class TimedFeed(ReplayFeed):
    """Knows when each batch was due by the wall's clock."""

    began = 0.0

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        # Where `ReplayFeed` begins to count, too.
        self.began = time.monotonic()
        async for batch in super().read(since, resume):
            yield batch


class Timed:
    """Wraps the engine: how late each batch was worked off, and the memory of every minute."""

    def __init__(self, feed: TimedFeed, start: int) -> None:
        self._feed, self._start = feed, start
        self._process = psutil.Process(os.getpid())
        self._printed = 0
        self.late: list[float] = []
        self.events = 0
        self.memory: list[float] = []

    def wrap(self, on_batch: Any) -> Any:
        async def timed(engine: LiveEngine, batch: LiveBatch, *, scan: bool) -> None:
            await on_batch(engine, batch, scan=scan)
            due = self._feed.began + (batch.upto - self._start) / SECOND
            self.late.append(time.monotonic() - due)
            self.events += len(batch.events)
            self._minute(engine, (batch.upto - self._start) // (60 * SECOND))

        return timed

    def _minute(self, engine: LiveEngine, minute: int) -> None:
        if minute == self._printed:
            return
        self._printed = minute
        self.memory.append(self._process.memory_info().rss / 2**20)
        middle, high, worst = np.quantile(self.late, [0.5, 0.99, 1])
        print(
            f"minute {minute:3}: {self.events:9,} events, {1e3 * middle:6.0f} ms late in the "
            f"median, {1e3 * high:.0f} ms p99, {1e3 * worst:.0f} ms worst, "
            f"{engine.decisions:,} decisions, {engine.dropped_looks} looks dropped, "
            f"{self.memory[-1]:.0f} MiB",
            flush=True,
        )


def sustained(store: Store, trading: dict[str, Any], start: int, minutes: float) -> Timed:
    """Trade the dense market for so long."""
    from unittest import mock

    end = start + int(minutes * 60) * SECOND
    config = LiveConfig.parse(
        {
            "account": "sustained", "trading": trading,
            "replay": {"start": moment_of(start), "end": moment_of(end), "speed": 1},
        }
    )  # fmt: skip
    feed = TimedFeed(DenseMarket(start), start=start, end=end, speed=1.0)
    timed = Timed(feed, start)
    with ExitStack() as opened:
        opened.enter_context(
            mock.patch.object(LiveEngine, "on_batch", timed.wrap(LiveEngine.on_batch))
        )
        connection = opened.enter_context(store.database.connect(autocommit=True))
        lease = opened.enter_context(
            Lease(store.database, config.account, holder="benchmark", mode="paper")
        )
        venue = PaperVenue(connection, config.account, config.trading.venue(feed.kind))
        session = LiveSession(store, config, feed, venue, MarketClock(0), lease)
        began = time.monotonic()
        done = asyncio.run(session.run())
        seconds = time.monotonic() - began
    print(
        f"{timed.events / seconds:,.0f} events a second of the wall's time over {seconds:.0f} s, "
        f"{done.decisions:,} decisions, {done.open_positions} positions open, "
        f"{done.dropped_looks} looks dropped, "
        f"{sum(not one.explained for one in done.findings)} findings unexplained"
    )
    size = f"{EVENTS_A_SECOND:,} events a second for {minutes:g} minutes"
    measured("live.sustained_per_s", [timed.events / seconds], size=size)
    measured("live.sustained_late_p99_ms", [1e3 * np.quantile(timed.late, 0.99)], size=size)
    half = len(timed.memory) // 2
    measured("live.sustained_growth_mib", [timed.memory[-1] - timed.memory[half]], size=size)
    return timed
