"""Hourly bars of an exchange's pairs, as they close.

A bar is known when it has arrived here, which is after it has closed.  Where several bars of a pair
are missing (before the session, or because the exchange was down), all but the newest are history
as a recording tells it: known when they closed, and nothing is decided on them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.live.facts import FactLog
from trade_pipeline.core.live.feed import nothing
from trade_pipeline.core.live.inquiry import Asked, Inquiry
from trade_pipeline.core.live.markets import ExchangeMarketConfig, SymbolConfig
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.market.bars import bar_batch
from trade_pipeline.core.market.event import (
    DAY,
    HOUR,
    Floats,
    Instrument,
    Ints,
    MarketBatch,
)
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.providers.errors import ProviderError
from trade_pipeline.core.market.providers.exchange import Bar, Exchange
from trade_pipeline.core.research.columns import REFERENCE

log = logging.getLogger("trade_pipeline.live")
_SECOND = 1_000_000
# In a quiet market a batch comes after so much of its time.
_QUIET = 45 * _SECOND
# A missing bar is asked for less and less often.
_LONGEST_RETRY = 300 * _SECOND

# (token, bar)
Arrived = tuple[int, Bar]


class ExchangeFeed(EventsOnly):
    """A market of hourly bars that arrives.

    Args:
        open_exchange: gives the exchange; it is closed when the reading ends.
        facts: what is known of the coins; ``inquiry`` fills it, None: nobody does.
        held: pairs in which the account has something, asked when the reading begins.

    Attributes:
        failures: why, by pair whose bars could not be read last.
    """

    kind = "spot-1h"
    # Providers tell what is, not what was.
    knows_past = False

    def __init__(
        self,
        config: ExchangeMarketConfig,
        clock: Clock,
        open_exchange: Callable[[], Exchange],
        facts: FactLog,
        inquiry: Inquiry | None = None,
        held: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._config, self._clock, self._open = config, clock, open_exchange
        self._facts, self._inquiry, self._held = facts, inquiry, held
        self._instruments: list[Instrument] = []
        self.instruments: Sequence[Instrument] = self._instruments
        for symbol in config.symbols:
            self._list(symbol)
        self.failures: dict[str, str] = {}

    def first_moment(self) -> int:
        return self._clock.micros()

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        held = set(self._held())
        for name in sorted(held - {one.name for one in self._instruments}):
            self._list(SymbolConfig(symbol=name))
        needed = {token for token, one in enumerate(self._instruments) if one.name in held}
        # The bars that close at ``since`` or later.
        begin = -(-(since - HOUR) // HOUR) * HOUR
        async with AsyncExitStack() as opened:
            exchange = await opened.enter_async_context(self._open())
            if self._inquiry is not None:
                await opened.enter_async_context(self._inquiry.running())
            asking = _Asking(self._config, self._clock, exchange, self._instruments, begin)
            opened.push_async_callback(asking.stop)
            self.failures = asking.failures
            upto, began, told = resume, False, False
            while True:
                if self._inquiry is not None:
                    self._inquiry.require_working()
                arrived = await asking.arrived(whole=not began)
                if not began:
                    # Without the history of what is held nothing can be decided about it.
                    needed -= {token for token, _ in arrived}
                    began = not needed and asking.has_answered
                now = max(self._clock.micros(), upto)
                early, new = _apart(arrived, resume)
                if early:
                    yield LiveBatch(upto, self._batch(early, None), warm_up=True)
                if began and (new or not told or now - upto >= _QUIET):
                    # Whoever goes on after a batch must not be told its bars again.
                    upto, told = now + 1, True
                    yield LiveBatch(upto, self._batch(new, now), behind=asking.behind(now))

    def _list(self, symbol: SymbolConfig) -> None:
        token, base = len(self._instruments), symbol.symbol.partition("/")[0]
        self._instruments.append(Instrument(symbol.symbol, base, symbol.contract))
        if self._inquiry is not None:
            self._inquiry.add(
                token,
                Asked(base, symbol.chain, symbol.contract, symbol.coingecko, symbol.symbol),
            )

    def _batch(self, bars: Sequence[Arrived], now: int | None) -> MarketBatch:
        """Bars as events, known at a moment, or (None) when they closed."""
        if not bars:
            return nothing()
        token = np.array([owner for owner, _ in bars], np.int32)
        opened = np.array([bar.opened_at for _, bar in bars], np.int64)
        known_at = opened + HOUR if now is None else np.maximum(opened + HOUR, now)
        price = {
            name: np.array([getattr(bar, name) for _, bar in bars])
            for name in ("open", "high", "low", "close")
        }
        supplies = map(self._facts.supply_at, token.tolist(), known_at.tolist())
        supply = np.array([math.nan if one is None else one[0] for one in supplies])
        return bar_batch(
            token, opened, price, np.array([bar.volume for _, bar in bars]),
            market_cap=price["close"] * supply, known_at=known_at,
        )  # fmt: skip

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """What providers told; the market cap is an estimate where the supply is an old one."""
        found = self._facts.facts_at(token, at)
        supplies = map(self._facts.supply_at, token.tolist(), at.tolist())
        found["market_cap_estimated"] = np.array(
            [
                1.0 if one is not None and moment - one[1] > DAY else math.nan
                for one, moment in zip(supplies, at.tolist(), strict=True)
            ]
        )
        return found

    def raw_answers_at(self, token: int, at: int) -> Sequence[str]:
        return self._facts.raw_at(token, at)


def _apart(arrived: Sequence[Arrived], resume: int) -> tuple[list[Arrived], list[Arrived]]:
    """The bars on which nothing is decided, and the newest of each pair that closed since then."""
    newest = {token: bar.opened_at for token, bar in arrived}
    early: list[Arrived] = []
    new: list[Arrived] = []
    for token, bar in arrived:
        is_new = bar.opened_at == newest[token] and bar.opened_at + HOUR >= resume
        (new if is_new else early).append((token, bar))
    return early, new


class _Asking:
    """Asks for the bars that have closed, pair by pair, and again for what did not come."""

    def __init__(
        self,
        config: ExchangeMarketConfig,
        clock: Clock,
        exchange: Exchange,
        instruments: Sequence[Instrument],
        begin: int,
    ) -> None:
        self._config, self._clock, self._exchange = config, clock, exchange
        self._names = [one.name for one in instruments]
        # When the next missing bar opens, and when and how often it was asked for.
        self._next = [begin] * len(instruments)
        self._again = [0] * len(instruments)
        self._attempts = [0] * len(instruments)
        # The pair that moves the others comes first.
        self._order = sorted(range(len(instruments)), key=lambda t: self._names[t] != REFERENCE)
        self._room = asyncio.Semaphore(config.parallel)
        self._tasks: dict[int, asyncio.Task[list[Bar]]] = {}
        self._began = clock.micros()
        self.failures: dict[str, str] = {}
        self.has_answered = False

    async def arrived(self, *, whole: bool) -> list[Arrived]:
        """The bars that came, in order; none after a while in which none did.

        Args:
            whole: wait for all that were asked for, however long they take.
        """
        found: list[Arrived] = []
        self._ask()
        begin = asyncio.get_running_loop().time()
        while True:
            await self._look()
            for token in [token for token, task in self._tasks.items() if task.done()]:
                found += self._take(token)
            waited = asyncio.get_running_loop().time() - begin
            if not self._tasks or (not whole and waited >= self._config.gather_seconds):
                return sorted(found, key=lambda one: (one[1].opened_at, one[0]))

    async def stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def behind(self, now: int) -> float:
        """Seconds since the oldest hour closed of which no pair's bar has come; 0 in due time."""
        closed = max(self._next) + HOUR
        late = (now - max(closed, self._began)) / _SECOND
        return late if late > self._config.late_seconds else 0.0

    def _ask(self) -> None:
        now = self._clock.micros()
        closed = (now - round(self._config.delay_seconds * _SECOND)) // HOUR * HOUR
        for token in self._order:
            missing = self._next[token] + HOUR <= closed
            if missing and token not in self._tasks and now >= self._again[token]:
                self._tasks[token] = asyncio.create_task(self._bars(token))

    async def _look(self) -> None:
        """Wait for the first of: all answers, and the next look at the clock."""
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=self._config.look_seconds)
        else:
            await asyncio.sleep(self._config.look_seconds)

    def _take(self, token: int) -> list[Arrived]:
        name = self._names[token]
        try:
            bars = self._tasks.pop(token).result()
        except ProviderError as error:
            self._fail(name, str(error))
            bars = []
        else:
            self.has_answered = True
            good = [bar for bar in bars if _is_possible(bar)]
            if len(good) < len(bars):
                self._fail(name, f"an impossible bar of {len(bars)}")
            else:
                self.failures.pop(name, None)
            bars = good
        if bars:
            self._next[token], self._attempts[token] = bars[-1].opened_at + HOUR, 0
            self._again[token] = 0
        else:
            wait = self._config.retry_seconds * _SECOND * 2 ** min(self._attempts[token], 10)
            self._attempts[token] += 1
            self._again[token] = self._clock.micros() + min(round(wait), _LONGEST_RETRY)
        return [(token, bar) for bar in bars]

    def _fail(self, name: str, why: str) -> None:
        if name not in self.failures:
            log.warning("bars of %s: %s", name, why)
        self.failures[name] = why

    async def _bars(self, token: int) -> list[Bar]:
        """The missing bars that have closed; an exchange tells so many at once."""
        since, found = self._next[token], list[Bar]()
        async with self._room:
            while True:
                bars = await self._exchange.bars(self._names[token], since)
                found += bars
                if not bars or bars[-1].opened_at + 2 * HOUR > self._clock.micros():
                    return found
                since = bars[-1].opened_at + HOUR


def _is_possible(bar: Bar) -> bool:
    """Whether the prices are prices and in order, as in a recording."""
    prices = (bar.open, bar.high, bar.low, bar.close)
    return (
        all(0 < price < math.inf for price in prices)
        and bar.low <= min(bar.open, bar.close)
        and bar.high >= max(bar.open, bar.close)
        and 0 <= bar.volume < math.inf
        and bar.opened_at % HOUR == 0
    )
