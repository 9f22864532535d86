"""The simulated market as a `MarketFeed`."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import fields
from functools import cached_property

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import (
    DAY,
    HOUR,
    Floats,
    Instrument,
    Ints,
    MarketBatch,
    TradeRules,
    unknown_column,
)
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.simulator.config import Fate, SimulatorConfig
from trade_pipeline.core.market.simulator.plan import PoolPlan, block_time, draw_plan
from trade_pipeline.core.market.simulator.pool import (
    DEVELOPER_SELL,
    TRADE,
    PoolHistory,
    play,
)
from trade_pipeline.core.market.simulator.traits import COLUMNS, TokenTraits

GENERATOR_VERSION = 1
"""Part of every content address: a change that changes any event must raise it."""

BATCH_ROWS = 65_536

# Spawn keys of the market's own random streams; a pool's key is its number, which is smaller.
_BIRTHS = 1 << 31
_QUOTE_PRICE = _BIRTHS + 1


class SimulatedMarket(EventsOnly):
    """A market of constant-product pools with seeded, reproducible fates.

    The same config, seed and start give the same events, up to the end, in every process; a later
    end only adds events.  Every pool has its own random stream, so only the pools that live in a
    range are generated when it is asked for; then they are kept, at about 25 bytes an event.
    """

    kind = "simulated"

    def __init__(self, config: SimulatorConfig, seed: int, start: int, end: int) -> None:
        """Prepares the market.

        Args:
            config: how the market behaves.
            seed: which of the possible markets; not negative.
            start: from when the market is alive, microseconds since 1970-01-01 UTC.
            end: until when events are made.  Events exist from `burn_in_days` before the start.

        Raises:
            BadConfig: the seed is negative, or the range is empty or before 1970.
        """
        if seed < 0:
            raise BadConfig(f"seed={seed}: expected an integer of at least 0")
        self.config = config
        self.seed = seed
        self.start = start
        self.end = end
        self._first = block_time(start - config.burn_in_days * DAY)
        if self._first < 0 or end <= start:
            raise BadConfig(
                f"start={start}, end={end}: expected a range that is not empty and lies at least "
                f"burn_in_days={config.burn_in_days:g} days after 1970-01-01"
            )
        self._births = self._draw_births()
        # All pools that are born before the end, in order of birth.
        self.instruments: Sequence[Instrument] = [
            self._instrument(number, born) for number, born in enumerate(self._births)
        ]
        self._histories: dict[int, PoolHistory] = {}
        self._traits: dict[int, TokenTraits] = {}

    def content_address(self) -> str:
        """The address of everything that determines the events."""
        content = {
            "kind": self.kind,
            "generator": GENERATOR_VERSION,
            "config": self.config.model_dump(mode="json"),
            "seed": self.seed,
            "start": self.start,
            "end": self.end,
        }
        return address_of(canonical_bytes(content))

    def span(self) -> tuple[int, int]:
        """From the first possible birth to the end."""
        return self._first, self.end

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        """Events with ``start <= known_at < end``, in order, at most 65,536 at a time.

        There are none before the burn-in or from the market's own end on.
        """
        events = self._events(start, min(end, self.end))
        for row in range(0, len(events), BATCH_ROWS):
            yield events.rows(row, min(row + BATCH_ROWS, len(events)))

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """What scanners and social media had told about tokens by some moments."""
        order = np.argsort(token, kind="stable")
        found = np.empty((len(COLUMNS), len(token)))
        for rows in np.split(order, np.flatnonzero(np.diff(token[order])) + 1):
            if len(rows):
                found[:, rows] = self._traits_of(int(token[rows[0]])).at(at[rows])
        return dict(zip(COLUMNS, found, strict=True))

    def _traits_of(self, token: int) -> TokenTraits:
        traits = self._traits.get(token)
        if traits is None:
            rng = self._rng(token, 1)
            traits = self._traits[token] = TokenTraits(self.config, self._history(token), rng)
        return traits

    def until(self, moment: int) -> SimulatedMarket:
        """The same market, whose events end with a moment; one before the start is the start."""
        return SimulatedMarket(self.config, self.seed, self.start, max(moment, self.start) + 1)

    def rules(self, token: int) -> TradeRules:
        """What the token's contract truly does to trades."""
        plan = self.plan(token)
        blocked = None if plan.blocked_at is None else plan.created_at + plan.blocked_at
        return TradeRules(plan.buy_tax, plan.sell_tax, sells_blocked_from=blocked)

    def plan(self, token: int) -> PoolPlan:
        """The pool's hidden truth: for tests and reports, never for a strategy."""
        return self._history(token).plan

    def fate(self, token: int) -> Fate:
        """What becomes of the token: for tests and reports, never for a strategy."""
        return self.plan(token).fate

    def _rng(self, *key: int) -> np.random.Generator:
        return np.random.Generator(
            np.random.PCG64(np.random.SeedSequence(self.seed, spawn_key=key))
        )

    def _draw_births(self) -> list[int]:
        rng = self._rng(_BIRTHS)
        gap = DAY / self.config.pools_per_day
        births: list[int] = []
        moment = float(self._first)
        # A pool is born with its block, so the block is what lies before the end.
        while (born := block_time(moment := moment + gap * rng.standard_exponential())) < self.end:
            births.append(born)
        return births

    @cached_property
    def _quote_usd(self) -> Floats:
        """The quote token's USD price, by hours since the beginning of the burn-in."""
        hours = (self.end - self._first) // HOUR + 1
        steps = self._rng(_QUOTE_PRICE).standard_normal(hours) * self.config.quote_volatility
        steps[0] = 0.0
        price = self.config.quote_usd * np.exp(np.cumsum(steps))
        return price.astype(np.float32).astype(np.float64)

    def _instrument(self, number: int, born: int) -> Instrument:
        digest = hashlib.sha256(f"{self.seed}\0{number}".encode()).hexdigest()
        letters = "".join(chr(ord("A") + int(digest[-i], 16)) for i in range(1, 5))
        return Instrument(f"sim-{number:06d}", letters, f"0x{digest[:40]}", born)

    def _history(self, number: int) -> PoolHistory:
        history = self._histories.get(number)
        if history is None:
            rng = self._rng(number)
            born = self._births[number]
            quote_usd = float(self._quote_usd[(born - self._first) // HOUR])
            plan = draw_plan(self.config, rng, number, born, quote_usd)
            history = self._histories[number] = play(self.config, plan, rng)
        return history

    def _events(self, start: int, end: int) -> MarketBatch:
        oldest = int(start - self.config.life_days_max * DAY)
        first, last = bisect_left(self._births, oldest), bisect_left(self._births, end)
        histories = [self._history(number) for number in range(first, last)]
        if not histories:
            return _no_events()
        lengths = np.array([len(history.time) for history in histories], dtype=np.int64)
        token = np.repeat(np.arange(first, last, dtype=np.int32), lengths)
        supply = np.array([_known_supply(history.plan) for history in histories])
        supply = np.repeat(supply, lengths)
        time = np.concatenate([history.time for history in histories])
        action = np.concatenate([history.action for history in histories])
        x = np.concatenate([history.reserve_quote for history in histories])
        y = np.concatenate([history.reserve_token for history in histories])

        change = np.diff(x, prepend=0.0)
        births = np.cumsum(lengths) - lengths
        change[births] = x[births]
        swap = (action == TRADE) | (action == DEVELOPER_SELL)

        # Pools in the order of their number, each in its own order, so ties keep that order.
        order = np.argsort(time, kind="stable")
        order = order[slice(*np.searchsorted(time[order], [start, end], "left"))]
        time, x, y, token = time[order], x[order], y[order], token[order]
        change, swap = change[order], swap[order]
        quote = self._quote_usd[(time - self._first) // HOUR]
        price = x / y * quote
        flow = np.where(swap, change * quote, 0.0)
        none = unknown_column(len(time))
        return MarketBatch(
            token=token,
            event_time=time,
            known_at=time,
            price_usd=price,
            open_usd=none,
            high_usd=none,
            low_usd=none,
            volume_usd=np.abs(flow),
            flow_usd=flow,
            liquidity_usd=2 * x * quote,
            liquidity_change_usd=np.where(swap, 0.0, 2 * change * quote),
            market_cap_usd=price * supply[order],
            reserve_quote=x,
            reserve_token=y,
            quote_usd=quote,
        )


def _no_events() -> MarketBatch:
    ints, floats = np.empty(0, np.int64), np.empty(0)
    columns = [floats] * (len(fields(MarketBatch)) - 3)
    return MarketBatch(np.empty(0, np.int32), ints, ints, *columns)


def _known_supply(plan: PoolPlan) -> float:
    return plan.supply if plan.supply_known else float("nan")
