"""Reads a node's blocks one after the other, and goes back where the chain was replaced."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.live.pools import SECOND, PoolEvent, Pools
from trade_pipeline.core.market.recorder.contracts import (
    PAIR_CREATED,
    Deployment,
    Pool,
    created_pool,
    described,
    listed_pool,
)
from trade_pipeline.core.market.recorder.node import (
    CONFIRMATIONS,
    EthereumNode,
    Header,
    Log,
    RangeRefused,
)
from trade_pipeline.core.market.recorder.reading import ChainChanged, read_blocks
from trade_pipeline.core.market.recorder.uniswap_v2 import (
    FIRST_RANGE,
    LARGEST_RANGE,
    WARM_UP_BLOCKS,
)

log = logging.getLogger("trade_pipeline.live")


class BlockReader:
    """Reads on from the blocks before a moment, into `Pools`.

    Args:
        confirmations: blocks on top of one until it is read.
        since: microseconds since 1970-01-01 UTC.

    Attributes:
        is_at_head: nothing more is there to be read now.
        newest_time: of the last block that was read, seconds.
        reorganisations: how often blocks were replaced that had been read.
    """

    def __init__(
        self,
        node: EthereumNode,
        pools: Pools,
        deployment: Deployment,
        confirmations: int,
        since: int,
    ) -> None:
        self._node, self._pools, self._deployment = node, pools, deployment
        self._confirmations, self._since = confirmations, since // SECOND
        self._start = self._created_from = 0
        self._head = -1
        self._size = FIRST_RANGE
        self._events: list[PoolEvent] = []
        self._touched: set[int] = set()
        self._replaced_at = 0
        self.is_at_head = False
        self.newest_time = 0
        self.reorganisations = 0

    async def begin(self, listed: Sequence[str], pool_seconds: int) -> None:
        """Find the first block, and the pools that were there before it.

        Args:
            listed: addresses of pools, whenever they were created.
            pool_seconds: pools that were created so long before are followed, too.

        Raises:
            BadConfig: a listed address is no pool of WETH.
            ProviderError: the node fails; begin again.
        """
        head = await self._node.newest_block()
        self._start = max(0, await self._block_at(self._since, head) - WARM_UP_BLOCKS)
        self._created_from = await self._block_at(self._since - pool_seconds, head)
        found = []
        for address in listed:
            pool = await listed_pool(self._node, address, self._deployment, head.number)
            if pool is None:
                raise BadConfig(f"pools: {address!r} is no pool of WETH at this node")
            found.append(replace(pool, created_block=self._start))
        await self._follow(found, head, created=False)
        logs = await self._creations(self._created_from, self._start - 1)
        new = [pool for log in logs if (pool := created_pool(log, self._deployment)) is not None]
        await self._follow(
            [pool for pool in new if pool.address not in self._pools.tracked], head, created=True
        )

    async def advance(self) -> None:
        """Read the next range of blocks, if there is one; or go back to where the chain forks.

        Raises:
            ProviderError: the node fails; nothing is lost.
            BadMarketData: more was replaced than can be taken back.
        """
        known = self._pools.newest
        first = self._start if known is None else known[0] + 1
        if first > self._head:
            self._head = (await self._node.newest_block()).number - self._confirmations
        head = self._head
        if first > head:
            self.is_at_head = True
            return
        # Blocks that may yet be replaced are read one by one, so that each can be taken back.
        final = head - CONFIRMATIONS
        last = min(final, first + self._size - 1) if first <= final else first
        try:
            read = await read_blocks(
                self._node, first, last, self._deployment, self._pools.tracked,
                created_from=self._created_from,
                before=None if known is None else {known[0]: known[1]},
            )  # fmt: skip
        except RangeRefused:
            if first == last:
                raise
            self._size = (last - first + 1) // 2
            return
        except ChainChanged:
            await self._go_back()
            return
        self._size = min(LARGEST_RANGE, self._size + self._size // 4 + 1)
        self._events += self._pools.apply(last, read)
        self.newest_time = read.headers[last].timestamp
        self.is_at_head = last == head

    def taken(self) -> list[PoolEvent]:
        """What has happened since this was asked last."""
        found, self._events = self._events, []
        return found

    async def _go_back(self) -> None:
        """Take back what the chain no longer has."""
        while (newest := self._pools.newest) is not None:
            number, known, time = newest
            if (await self._node.headers([number]))[number].hash == known:
                break
            # Should the node fail on the way, the rest follows next time.
            self._replaced_at = max(self._replaced_at, time)
            self._touched.update(self._pools.take_back())
        else:
            raise BadMarketData(
                "the chain was replaced further back than can be taken back; begin again"
            )
        if self._replaced_at:
            self.reorganisations += 1
            log.warning("blocks after %s were replaced", number)
            self._events += self._pools.corrected(self._touched, self._replaced_at * SECOND)
            self._touched, self._replaced_at = set(), 0

    async def _follow(self, pools: Sequence[Pool], head: Header, *, created: bool) -> None:
        """Follow pools that hold something already."""
        found = await described(self._node, pools)
        # A node without old states knows the supply of now, and it is known from now on.
        unknown = [
            replace(pool, created_block=head.number) for pool in found if pool.total_supply is None
        ]
        late = {pool.address: pool for pool in await described(self._node, unknown)}
        headers = await self._node.headers(sorted({pool.created_block for pool in found}))
        for pool in found:
            at = headers[pool.created_block].timestamp * SECOND
            known_from = head.timestamp * SECOND if pool.address in late else at
            self._pools.add(
                late.get(pool.address, pool), at if created else None,
                supply_from=known_from, is_new=False,
            )  # fmt: skip

    async def _creations(self, first: int, last: int) -> list[Log]:
        found: list[Log] = []
        size = LARGEST_RANGE
        while first <= last:
            end = min(last, first + size - 1)
            try:
                found += await self._node.logs(first, end, [PAIR_CREATED], self._deployment.factory)
            except RangeRefused:
                if first == end:
                    raise
                size = (end - first + 1) // 2
                continue
            first = end + 1
        return found

    async def _block_at(self, time: int, head: Header) -> int:
        """The first block at a time (seconds) or later; the one after the head where none is."""
        low, high = 0, head.number + 1
        while low < high:
            middle = (low + high) // 2
            header = (await self._node.headers([middle]))[middle]
            low, high = (middle + 1, high) if header.timestamp < time else (low, middle)
        return low
