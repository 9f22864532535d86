"""A made-up market: hourly paths of tokens that live for some weeks and partly end in a rug.

Prices are moved by a common hourly factor, heavy-tailed noise and, weakly, a hidden quality that
sentiment and holders show with noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from trade_pipeline.core.market.event import Floats, Ints

START = datetime(2025, 1, 6, tzinfo=UTC)
HOURS = 24 * 120
TOKENS = 60
HORIZON = 24
STOP, TARGET, COST, RUG_RETURN = -0.2, 0.4, 0.02, -0.8
DELAY = 4


@dataclass(frozen=True, slots=True)
class Facts:
    """Numbers said of a token: what about which hour, and when it was known."""

    hour: Ints
    known: Ints
    value: Floats


@dataclass(frozen=True, slots=True)
class Market:
    """All that is recorded; arrays (tokens, hours), NaN while a token does not trade.

    ``feed`` is stamped with the hour that its maker was in, and holds what moves the price in the
    `DELAY` hours after it.
    """

    listed: Ints
    price: Floats
    volume: Floats
    feed: Floats
    sentiment: list[Facts]
    supply: list[Facts]
    holders: Floats
    tax: Floats
    rugged: Ints
    addresses: list[str]


@dataclass(frozen=True, slots=True)
class View:
    """A market as known at an hour; None: all of it."""

    market: Market
    cut: int | None = None

    def price(self, token: int) -> Floats:
        return self.market.price[token, : self._end]

    def prices(self) -> Floats:
        return self.market.price[:, : self._end]

    def volume(self, token: int) -> Floats:
        return self.market.volume[token, : self._end]

    def feed(self, token: int) -> Floats:
        return self.market.feed[token, : self._end]

    def holders(self, token: int) -> Floats:
        return self.market.holders[token, : self._end]

    def sentiment(self, token: int) -> Facts:
        return self._known(self.market.sentiment[token])

    def supply(self, token: int) -> Facts:
        return self._known(self.market.supply[token])

    @property
    def _end(self) -> int:
        return HOURS if self.cut is None else self.cut + 1

    def _known(self, facts: Facts) -> Facts:
        if self.cut is None:
            return facts
        there = facts.known <= self.cut
        return Facts(facts.hour[there], facts.known[there], facts.value[there])


Feature = Callable[[View, int, int], float]


def make_market(seed: int) -> Market:
    rng = np.random.default_rng(seed)
    listed = np.sort(rng.integers(0, HOURS - 24 * 25, TOKENS))
    life = rng.integers(24 * 10, 24 * 25, TOKENS)
    rugged = np.where(rng.random(TOKENS) < 0.45, listed + life - 1, HOURS * 2)
    common = 0.006 * rng.standard_t(4, HOURS) + np.repeat(
        0.002 * rng.standard_normal(HOURS // 24), 24
    )
    price = np.full((TOKENS, HOURS), np.nan)
    volume, feed, holders = price.copy(), price.copy(), price.copy()
    sentiment, supply = [], []
    for i in range(TOKENS):
        first, last = int(listed[i]), int(min(listed[i] + life[i], HOURS))
        hours = last - first
        quality = _slow(rng, hours, 72)
        shock = rng.standard_t(3, hours) * 0.010 * np.exp(0.4 * rng.standard_normal())
        news = _slow(rng, hours, 2) * 0.012
        moves = rng.uniform(0.5, 1.5) * common[first:last] + shock + 0.0020 * quality
        moves[1:] += news[:-1]
        if rugged[i] < last:
            moves[-1] = -3.0
        price[i, first:last] = np.exp(rng.normal(-3, 2) + np.cumsum(moves))
        activity = 9 + rng.normal() + 0.5 * _slow(rng, hours, 24) + 8 * np.abs(moves).clip(0, 0.3)
        volume[i, first:last] = np.exp(activity)
        holders[i, first:last] = 100 + np.cumsum(rng.poisson(np.exp(0.6 * quality.clip(-3, 3))))
        later = np.append(moves[1:], np.zeros(DELAY))
        ahead = np.array([later[h : h + DELAY].sum() for h in range(hours)])
        feed[i, first:last] = ahead + 0.3 * ahead.std() * rng.standard_normal(hours)
        when = np.flatnonzero(rng.random(hours) < 0.12)
        said = quality[when] + 1.5 * rng.standard_normal(len(when))
        sentiment.append(Facts(first + when, first + when + rng.integers(0, 8, len(when)), said))
        # Revised after some days, upwards where the quality is going to be high.
        early = np.arange(first, last, 48)
        drift = np.array([quality[h - first : h - first + 48].mean() for h in early])
        revised = 1e9 * np.exp(0.5 * drift)
        supply.append(
            Facts(
                np.repeat(early, 2),
                np.column_stack([early, early + 60]).ravel(),
                np.column_stack([np.full(len(early), 1e9), revised]).ravel(),
            )
        )
    tax = np.where(rugged < HOURS, rng.choice([0.0, 0.05, 0.1], TOKENS), rng.choice(
        [0.0, 0.0, 0.05], TOKENS))  # fmt: skip
    addresses = [f"0x{rng.bytes(20).hex()}" for _ in range(TOKENS)]
    return Market(listed, price, volume, feed, sentiment, supply, holders, tax, rugged, addresses)


def _slow(rng: np.random.Generator, hours: int, memory: float) -> Floats:
    """A first-order autoregression with variance 1."""
    decay = np.exp(-1 / memory)
    noise = rng.standard_normal(hours) * np.sqrt(1 - decay**2)
    found = np.empty(hours)
    level = rng.standard_normal()
    for h in range(hours):
        level = decay * level + noise[h]
        found[h] = level
    return found
