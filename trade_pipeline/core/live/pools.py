"""A chain's pools as its newest blocks leave them, and the way back when blocks are replaced."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from trade_pipeline.core.market.event import Instrument, MarketBatch
from trade_pipeline.core.market.recorder.contracts import Deployment, Pool
from trade_pipeline.core.market.recorder.reading import ReadBlocks, price_pool
from trade_pipeline.core.market.uniswap_v2 import QUOTE_MAX_AGE, pool_batch

SECOND = 1_000_000
_HOUR = 3_600
# Ranges of blocks that can be taken back.
_KEPT = 512

Reserves = tuple[float, float]


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """A change of a pool's reserves.

    Attributes:
        happened_at: microseconds since 1970-01-01 UTC.
        change: against the reserves before.
        quote_usd: the ETH price that was known; NaN is unknown.
    """

    token: int
    happened_at: int
    reserves: Reserves
    change: Reserves
    quote_usd: float
    supply: float


@dataclass(slots=True)
class _Range:
    """A range of blocks that has been read, and what it changed."""

    last: int
    hash: str
    time: int
    reserves: dict[int, Reserves | None] = field(default_factory=dict)
    closes: dict[int, float | None] = field(default_factory=dict)


class Pools:
    """Follows the pools that are traded, and the one that gives the ETH price.

    Attributes:
        instruments: grow with the pools.
        tracked: pools by address whose changes are wanted.
    """

    def __init__(self, deployment: Deployment) -> None:
        self.instruments: list[Instrument] = []
        self._price_pool = price_pool(deployment)
        self.tracked: dict[str, Pool] = {}
        self._token: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        """Forget all reserves and prices; the instruments stay."""
        self.tracked = {self._price_pool.address: self._price_pool}
        # Before its first event a pool that was created here was empty; of others nobody knows.
        self._reserves: dict[int, Reserves | None] = {}
        self._supply: dict[int, tuple[float, int]] = {}
        # Close of each hour by its number, as the price pool told it.
        self._closes: dict[int, float] = {}
        self._ranges: deque[_Range] = deque(maxlen=_KEPT)

    @property
    def newest(self) -> tuple[int, str, int] | None:
        """Number, hash and time (seconds) of the last block that was read."""
        return (
            (self._ranges[-1].last, self._ranges[-1].hash, self._ranges[-1].time)
            if (self._ranges)
            else None
        )

    def add(self, pool: Pool, created_at: int | None, *, supply_from: int = 0, is_new: bool) -> int:
        """Follow a pool; its token.

        Args:
            created_at: microseconds since 1970-01-01 UTC, where it is known.
            supply_from: the supply was not known before this moment.
            is_new: it was created in the blocks that are read, so that it was empty.
        """
        token = self._token.get(pool.address)
        if token is None:
            token = self._token[pool.address] = len(self.instruments)
            self.instruments.append(Instrument(pool.address, pool.symbol, pool.token, created_at))
        self.tracked[pool.address] = pool
        self._supply[token] = (
            math.nan if pool.total_supply is None else pool.total_supply, supply_from
        )  # fmt: skip
        if is_new:
            self._reserves.setdefault(token, (0.0, 0.0))
        return token

    def apply(self, end: int, read: ReadBlocks) -> list[PoolEvent]:
        """What a range of blocks that ends with ``end`` changes, in order."""
        last = read.headers[end]
        now = _Range(end, last.hash, last.timestamp)
        for pool in read.created:
            self.add(pool, read.headers[pool.created_block].timestamp * SECOND, is_new=True)
        events = []
        for log, pool in read.syncs:
            at = read.headers[log.block].timestamp
            weth, tokens = pool.reserves(log)
            if pool.address == self._price_pool.address:
                if weth > 0 and tokens > 0:
                    hour = at // _HOUR
                    now.closes.setdefault(hour, self._closes.get(hour))
                    self._closes[hour] = tokens / weth
                continue
            token = self._token[pool.address]
            before = self._reserves.get(token)
            now.reserves.setdefault(token, before)
            change = (0.0, 0.0) if before is None else (weth - before[0], tokens - before[1])
            self._reserves[token] = (weth, tokens)
            events.append(self._event(token, at * SECOND, (weth, tokens), change))
        self._ranges.append(now)
        return events

    def take_back(self) -> list[int]:
        """Undo the newest range; the tokens whose reserves it had changed."""
        gone = self._ranges.pop()
        for hour, close in gone.closes.items():
            if close is None:
                del self._closes[hour]
            else:
                self._closes[hour] = close
        self._reserves.update(gone.reserves)
        return list(gone.reserves)

    def present(self, at: int) -> list[PoolEvent]:
        """All pools' reserves as they are now."""
        return self.corrected(self._reserves, at)

    def corrected(self, tokens: Iterable[int], at: int) -> list[PoolEvent]:
        """Pools' reserves as they are now, where no trade made them so."""
        return [
            self._event(token, at, reserves, (0.0, 0.0))
            for token in sorted(set(tokens))
            if (reserves := self._reserves.get(token)) is not None
        ]

    def _event(self, token: int, at: int, reserves: Reserves, change: Reserves) -> PoolEvent:
        supply, since = self._supply[token]
        known = supply if at >= since else math.nan
        return PoolEvent(token, at, reserves, change, self._quote_usd(at // SECOND), known)

    def _quote_usd(self, at: int) -> float:
        """The close of the last hour that had ended, as a tape tells it."""
        hour = at // _HOUR - 1
        for back in range(QUOTE_MAX_AGE // (_HOUR * SECOND)):
            if (close := self._closes.get(hour - back)) is not None:
                return close
        return math.nan


def events_batch(
    events: Sequence[PoolEvent], known_at: int | None, earliest: int = 0
) -> MarketBatch:
    """Events in columns, known at a moment, or (None) when they happened, as a tape tells them.

    Args:
        earliest: nothing is known before; a block that replaces another may be older.
    """
    happened = np.array([one.happened_at for one in events], np.int64)
    known = np.maximum(happened, earliest if known_at is None else known_at)
    return pool_batch(
        np.array([one.token for one in events], np.int32),
        happened,
        np.maximum.accumulate(known),
        np.array([one.reserves[0] for one in events]),
        np.array([one.reserves[1] for one in events]),
        np.array([one.change[0] for one in events]),
        np.array([one.change[1] for one in events]),
        quote=np.array([one.quote_usd for one in events]),
        supply=np.array([one.supply for one in events]),
    )
