"""Pools made up for the tests of research, and a market that knows given facts about them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.market.event import (
    Floats,
    Instrument,
    Ints,
    MarketBatch,
    unknown_column,
)
from trade_pipeline.core.market.feed import EventsOnly

# What was known from a moment on: (moment, value), oldest first.
Steps = Sequence[tuple[int, float]]


@dataclass
class KnownFeed(EventsOnly):
    """A market whose facts, mentions and events are given; the same facts for every token."""

    instruments: Sequence[Instrument] = (Instrument("pool"),)
    facts: Mapping[str, float | Steps] = field(default_factory=dict)
    mentions: Mapping[str, float] = field(default_factory=dict)
    events: Sequence[MarketBatch] = ()
    kind: str = "simulated"

    def content_address(self) -> str:
        return address_of(b"known")

    def span(self) -> tuple[int, int]:
        return int(self.events[0].known_at[0]), int(self.events[-1].known_at[-1])

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        for batch in self.events:
            first, stop = batch.known_at.searchsorted([start, end]).tolist()
            yield batch.rows(first, stop)

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return {name: as_of(steps, at) for name, steps in self.facts.items()}

    def mentions_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return {name: np.full(len(at), count) for name, count in self.mentions.items()}

    def until(self, moment: int) -> KnownFeed:
        parts = [b.rows(0, int(b.known_at.searchsorted(moment, "right"))) for b in self.events]
        return replace(self, events=parts)


def as_of(steps: float | Steps, at: Ints) -> Floats:
    """The value that was known at each moment; a number was known always."""
    if isinstance(steps, (int, float)):
        return np.full(len(at), float(steps))
    found = np.full(len(at), math.nan)
    for moment, value in steps:
        found[at >= moment] = value
    return found


def pool_events(
    times: Sequence[int],
    prices: Sequence[float],
    flows: Sequence[float],
    *,
    token: int = 0,
    changes: Sequence[float] | None = None,
    liquidity: float | Sequence[float] = 100_000.0,
    market_cap: float | Sequence[float] = math.nan,
    quote_usd: float | Sequence[float] = 1_000.0,
) -> MarketBatch:
    """Events of one pool; what it holds is not moved by its trades."""
    length = len(times)
    known_at, price = np.array(times, np.int64), np.array(prices, np.float64)
    flow, none = np.array(flows, np.float64), unknown_column(length)

    def filled(values: float | Sequence[float]) -> Floats:
        return np.broadcast_to(np.array(values, np.float64), (length,))

    return MarketBatch(
        token=np.full(length, token, np.int32),
        event_time=known_at,
        known_at=known_at,
        price_usd=price,
        open_usd=none,
        high_usd=none,
        low_usd=none,
        volume_usd=np.abs(flow),
        flow_usd=flow,
        liquidity_usd=filled(liquidity),
        liquidity_change_usd=np.array(changes or [0.0] * length),
        market_cap_usd=filled(market_cap),
        reserve_quote=np.full(length, 50.0),
        reserve_token=50_000.0 / price,
        quote_usd=filled(quote_usd),
    )


def bar_events(
    times: Sequence[int], closes: Sequence[float], *, token: int = 0, spread: float = 0.0
) -> MarketBatch:
    """Hourly bars of 1,000 USD; high and low are as far apart as the spread, USD."""
    length = len(times)
    known_at, close = np.array(times, np.int64), np.array(closes, np.float64)
    none = unknown_column(length)
    return MarketBatch(
        np.full(length, token, np.int32),
        *(known_at, known_at, close, close, close + spread, close, np.full(length, 1_000.0)),
        *([none] * 7),
    )


def merged(*batches: MarketBatch) -> MarketBatch:
    """The events of several batches in the order in which they were known."""
    together = {
        f.name: np.concatenate([getattr(batch, f.name) for batch in batches])
        for f in fields(MarketBatch)
    }
    order = np.argsort(together["known_at"], kind="stable")
    return MarketBatch(**{name: values[order] for name, values in together.items()})
