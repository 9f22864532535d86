"""Asks live providers about a market's tokens, in the background of a session.

Raw answers are stored before what they say is known here.  A provider or a store that fails is
noted, and what it would have told stays unknown; nothing waits for it.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.live.facts import FactLog, fact_columns
from trade_pipeline.core.market.event import SENTIMENT
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.errors import NoProviderAnswered, ProviderError
from trade_pipeline.core.market.providers.merge import LiveToken
from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider
from trade_pipeline.core.research.social.reading import Subject
from trade_pipeline.core.research.social.social import Social

log = logging.getLogger("trade_pipeline.live")
# Tokens that are asked about at once; each provider keeps its own rate limit.
_PARALLEL = 4
# A free worker looks for new tokens so often.
_LOOK_SECONDS = 0.25
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Asked:
    """A token to ask about; what is None is not asked for.

    Attributes:
        coin: CoinGecko's id of it.
        pair: of an exchange.
    """

    symbol: str
    chain: str | None = None
    contract: str | None = None
    coin: str | None = None
    pair: str | None = None


class Inquiry:
    """Keeps a `FactLog` fresh while it is `running`.

    Args:
        open_providers: gives whom to ask; they are opened and closed by this.
        seconds: a token is asked about so often; a new one at once.

    Attributes:
        failures: why, by what could not be asked last.
    """

    def __init__(
        self,
        facts: FactLog,
        clock: Clock,
        open_providers: Callable[[], tuple[UnifiedMarketProvider, Social | None]],
        seconds: float,
    ) -> None:
        self._facts, self._clock = facts, clock
        self._open = open_providers
        self._seconds = seconds
        self._asked: dict[int, Asked] = {}
        self._due: list[tuple[float, int, int]] = []
        self._number = itertools.count()
        # Those in the heap, and those that are being asked about.
        self._queued: set[int] = set()
        self._task: asyncio.Task[None] | None = None
        self.failures: dict[str, str] = {}

    def add(self, token: int, asked: Asked) -> None:
        """Ask about a token, now and from now on."""
        if token not in self._asked and token not in self._queued:
            # Before all that is only to be asked again.
            heapq.heappush(self._due, (0.0, next(self._number), token))
            self._queued.add(token)
        self._asked[token] = asked

    def forget(self, token: int) -> None:
        """Ask no more about a token."""
        self._asked.pop(token, None)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Ask as long as this is open."""
        self._due = [(0.0, next(self._number), token) for token in self._asked]
        self._queued = set(self._asked)
        self._task = asyncio.create_task(self._run())
        try:
            yield
        finally:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def require_working(self) -> None:
        """Raises what ended it, which no failing provider does."""
        if self._task is not None and self._task.done():
            self._task.result()

    async def _run(self) -> None:
        market, social = self._open()
        async with AsyncExitStack() as opened:
            await opened.enter_async_context(market)
            if social is not None:
                await opened.enter_async_context(social)
            async with asyncio.TaskGroup() as group:
                for _ in range(_PARALLEL):
                    group.create_task(self._work(market, social))

    async def _work(self, market: UnifiedMarketProvider, social: Social | None) -> None:
        while True:
            if not self._due or (wait := self._due[0][0] - time.monotonic()) > 0:
                await asyncio.sleep(min(wait, _LOOK_SECONDS) if self._due else _LOOK_SECONDS)
                continue
            token = heapq.heappop(self._due)[2]
            if token in self._asked:
                await self._ask(token, self._asked[token], market, social)
            if token in self._asked:
                again = time.monotonic() + self._seconds
                heapq.heappush(self._due, (again, next(self._number), token))
            else:
                self._queued.discard(token)

    async def _ask(
        self, token: int, asked: Asked, market: UnifiedMarketProvider, social: Social | None
    ) -> None:
        if asked.chain is not None and asked.contract is not None:
            chain, contract = asked.chain, asked.contract
            self._note(token, "token", await self._try(asked.symbol, market.token(chain, contract)))
            if social is not None:
                subject = Subject(chain, contract, asked.symbol)
                said = await self._try(f"{asked.symbol} social", social.read(subject))
                if said is not None:
                    levels = {SENTIMENT + source: level for source, level in said.levels.items()}
                    self._facts.note(token, "social", self._clock.micros(), levels, said.raw)
        if asked.coin is not None:
            self._note(
                token, "coin", await self._try(f"{asked.symbol} coin", market.coin(asked.coin))
            )
        if asked.pair is not None:
            self._note(
                token, "pair", await self._try(f"{asked.symbol} pair", market.pair(asked.pair))
            )

    async def _try(self, what: str, question: Awaitable[T]) -> T | None:
        """An answer, or None where there is none now; that is noted."""
        try:
            answer = await question
        except (
            ProviderError,
            NoProviderAnswered,
            StoreUnavailable,
            psycopg.Error,
            OSError,
        ) as error:
            if what not in self.failures:
                log.warning("facts of %s: %s: %s", what, type(error).__name__, error)
            self.failures[what] = str(error)
            return None
        self.failures.pop(what, None)
        return answer

    def _note(self, token: int, part: str, told: LiveToken | None) -> None:
        if told is None:
            return
        now = self._clock.micros()
        self._facts.note(token, part, now, fact_columns(told.facts), told.raw)
        for one in told.observations:
            cap, price = one.market_cap_usd, one.price_usd
            if one.provider == CoinGecko.provider and cap is not None and price is not None:
                self._facts.note_supply(token, now, cap / price)
