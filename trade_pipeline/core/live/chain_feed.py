"""Uniswap V2's pools from a node's newest blocks.

Events of blocks before the session's part of the market are history, known at their block's time as
a tape tells them.  Later ones are known when they have arrived here.  A reorganisation rewrites
nothing: the pools' true reserves follow as their newest state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.live.blocks import BlockReader
from trade_pipeline.core.live.facts import FactLog
from trade_pipeline.core.live.feed import nothing
from trade_pipeline.core.live.inquiry import Asked, Inquiry
from trade_pipeline.core.live.markets import ChainMarketConfig
from trade_pipeline.core.live.pools import SECOND, PoolEvent, Pools, events_batch
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.market.event import Floats, Instrument, Ints, MarketBatch
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.providers.errors import ProviderError
from trade_pipeline.core.market.recorder.contracts import Deployment
from trade_pipeline.core.market.recorder.node import EthereumNode

log = logging.getLogger("trade_pipeline.live")
# In a quiet market a batch comes after so much of its time.
_QUIET = 45 * SECOND
# Far behind, a batch comes after so many seconds of reading.
_GATHERED = 1.0
# Events that happened so shortly before a session's part of the market were perhaps on their way
# when the one before it ended: the newest of a pool is looked at again, which doubles nothing.
_ON_THE_WAY = 120 * SECOND


class ChainFeed(EventsOnly):
    """A market of pools that arrives.

    Args:
        open_node: gives the node; it is closed when the reading ends.
        facts: what is known of the tokens; ``inquiry`` fills it, None: nobody does.
        held: pools in which the account has something, asked when the reading begins.

    Attributes:
        failure: why the node could not be read last; None: it could.
        reorganisations: how often blocks were replaced that had been told of.
    """

    kind = "uniswap-v2"
    # Providers tell what is, not what was.
    knows_past = False

    def __init__(
        self,
        config: ChainMarketConfig,
        clock: Clock,
        open_node: Callable[[], EthereumNode],
        facts: FactLog,
        inquiry: Inquiry | None = None,
        held: Callable[[], Iterable[str]] = tuple,
        *,
        deployment: Deployment | None = None,
    ) -> None:
        self._config, self._clock, self._open = config, clock, open_node
        self._facts, self._inquiry, self._held = facts, inquiry, held
        self._deployment = deployment or Deployment()
        self._pools = Pools(self._deployment)
        self.instruments: Sequence[Instrument] = self._pools.instruments
        self.failure: str | None = None
        self.reorganisations = 0

    def first_moment(self) -> int:
        return self._clock.micros()

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        self._pools.start()
        async with AsyncExitStack() as opened:
            node = await opened.enter_async_context(self._open())
            if self._inquiry is not None:
                await opened.enter_async_context(self._inquiry.running())
            blocks = BlockReader(
                node, self._pools, self._deployment, self._config.confirmations, since
            )
            listed = sorted({*self._config.pools, *self._held()})
            while not await self._tried(
                blocks.begin(listed, round(self._config.pool_days * 86_400))
            ):
                await asyncio.sleep(self._config.poll_seconds)
            # All until the head that was met at the beginning; then what arrives.
            waiting: list[PoolEvent] = []
            reached = 0
            while not blocks.is_at_head:
                if not await self._tried(blocks.advance()):
                    await asyncio.sleep(self._config.poll_seconds)
                events = [one for one in blocks.taken() if one.happened_at >= since]
                old = [one for one in events if one.happened_at < resume - _ON_THE_WAY]
                waiting += [one for one in events if one.happened_at >= resume - _ON_THE_WAY]
                if old:
                    early = events_batch(old, None, reached)
                    reached = int(early.known_at[-1])
                    yield LiveBatch(resume, early, warm_up=True)
            newest = {one.token: number for number, one in enumerate(waiting)}
            late = [one for number, one in enumerate(waiting) if newest[one.token] == number]
            if missed := [one for n, one in enumerate(waiting) if newest[one.token] != n]:
                yield LiveBatch(resume, events_batch(missed, None, reached), warm_up=True)
            now = max(self._clock.micros(), resume)
            for one in self._pools.present(now):
                self._ask_about(one)
            # Whoever goes on after a batch must not be told its events again.
            upto = now + 1
            yield LiveBatch(upto, self._arrived(late, now), behind=self._behind(blocks, now))
            while True:
                if self._inquiry is not None:
                    self._inquiry.require_working()
                await asyncio.sleep(self._config.poll_seconds)
                # What is there at once is told at once.
                until = time.monotonic() + _GATHERED
                while await self._tried(blocks.advance()) and not blocks.is_at_head:
                    if time.monotonic() >= until:
                        break
                events, now = blocks.taken(), max(self._clock.micros(), upto)
                self.reorganisations = blocks.reorganisations
                if events or now - upto >= _QUIET:
                    upto = now + 1
                    yield LiveBatch(
                        upto, self._arrived(events, now), behind=self._behind(blocks, now)
                    )

    async def _tried(self, question: Awaitable[None]) -> bool:
        """Whether the node answered; where it did not, that is noted."""
        try:
            await question
        except ProviderError as error:
            if self.failure is None:
                log.warning("the node cannot be read: %s", error)
            self.failure = str(error)
            return False
        self.failure = None
        return True

    def _arrived(self, events: Sequence[PoolEvent], now: int) -> MarketBatch:
        for one in events:
            self._ask_about(one)
        return events_batch(events, now) if events else nothing()

    def _ask_about(self, event: PoolEvent) -> None:
        """Providers are asked about a token as long as its pool holds enough."""
        if self._inquiry is None:
            return
        liquidity, least = (
            2.0 * event.reserves[0] * event.quote_usd,
            self._config.facts_min_liquidity_usd,
        )
        if liquidity >= least:
            pool = self.instruments[event.token]
            symbol = pool.symbol or pool.contract_address or pool.name
            self._inquiry.add(event.token, Asked(symbol, self._config.chain, pool.contract_address))
        elif liquidity < least / 2:
            self._inquiry.forget(event.token)

    def _behind(self, blocks: BlockReader, now: int) -> float:
        """Seconds since the newest block that was read; 0 where it is as new as can be."""
        age = now / SECOND - blocks.newest_time
        return age if age > self._config.late_seconds else 0.0

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """What providers told."""
        return self._facts.facts_at(token, at)

    def raw_answers_at(self, token: int, at: int) -> Sequence[str]:
        return self._facts.raw_at(token, at)
