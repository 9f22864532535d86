"""All sources of sentiment as one: level, momentum, consensus."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Self

import numpy as np

from trade_pipeline.core.canonical import known
from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.event import SENTIMENT
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.errors import ProviderError
from trade_pipeline.core.market.providers.unified import keep_answers
from trade_pipeline.core.research.columns import SENTIMENT_LAG
from trade_pipeline.core.research.sentiment import sentiment_columns
from trade_pipeline.core.research.social.reading import SocialReading, Subject
from trade_pipeline.core.research.social.sources import (
    CoinGeckoVotes,
    Feed,
    Reddit,
    SocialSource,
    Telegram,
    X,
)
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings


@dataclass(frozen=True, slots=True)
class SocialSentiment:
    """What is said about a token now; None is unknown.

    Attributes:
        levels: by source, 0..1; for `TokenFacts.sentiment`.
        level, momentum, consensus: see `sentiment_columns`.
        failures: why, by source that told nothing.
        raw: addresses of what is kept, for a research document's ``raw_answers``.
    """

    observed_at: int
    levels: Mapping[str, float]
    level: float | None
    momentum: float | None
    consensus: float | None
    readings: tuple[SocialReading, ...]
    failures: Mapping[str, str]
    raw: tuple[str, ...]


def sources_of(settings: Settings, clock: Clock, coingecko: CoinGecko) -> list[SocialSource]:
    """Every source that the settings allow."""
    found: list[SocialSource] = [CoinGeckoVotes(coingecko)]
    most = settings.social_excerpts
    if settings.x_bearer_token is not None:
        found.append(X(clock, settings.x_bearer_token, excerpts=most))
    if settings.reddit_client_id is not None and settings.reddit_client_secret is not None:
        reddit = settings.reddit_client_id, settings.reddit_client_secret
        found.append(Reddit(clock, *reddit, excerpts=most))
    if channels := [name.strip() for name in settings.telegram_channels.split(",") if name.strip()]:
        found.append(Telegram(clock, channels, excerpts=most))
    if settings.social_feed_url is not None:
        found.append(Feed(clock, settings.social_feed_url, excerpts=most))
    return found


class Social:
    """Asks all sources at once.  Use with ``async with``.

    It remembers levels for half a day: the momentum is against those of six hours ago.

    Args:
        store: where what is kept goes for a year; None: nowhere.
    """

    def __init__(
        self, clock: Clock, sources: Sequence[SocialSource], *, store: Store | None = None
    ) -> None:
        self._clock = clock
        self._sources = sources
        self._store = store
        self._earlier: dict[Subject, deque[tuple[int, Mapping[str, float]]]] = {}
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for source in self._sources:
            for client in source.clients:
                await self._opened.enter_async_context(client)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def read(self, subject: Subject) -> SocialSentiment:
        """What all sources say; one that fails is noted and stops no other."""
        answers = await asyncio.gather(*(self._one(source, subject) for source in self._sources))
        readings = tuple(a for a in answers if not isinstance(a, str))
        failures = {
            source.source: answer
            for source, answer in zip(self._sources, answers, strict=True)
            if isinstance(answer, str)
        }
        now = self._clock.micros()
        levels = {r.source: r.level for r in readings if r.level is not None}
        combined = sentiment_columns(
            *_columns(levels, self._levels_before(subject, now - SENTIMENT_LAG)), 1
        )
        self._remember(subject, now, levels)
        if self._store is not None:
            await asyncio.to_thread(keep_answers, self._store, [r.answer for r in readings])
        return SocialSentiment(
            observed_at=now,
            levels=levels,
            level=known(float(combined["sentiment_level"][0])),
            momentum=known(float(combined["sentiment_momentum"][0])),
            consensus=known(float(combined["sentiment_consensus"][0])),
            readings=readings,
            failures=failures,
            raw=tuple(r.answer.address for r in readings),
        )

    async def _one(self, source: SocialSource, subject: Subject) -> SocialReading | str:
        try:
            return await source.read(subject)
        except ProviderError as error:
            return str(error)

    def _levels_before(self, subject: Subject, moment: int) -> Mapping[str, float]:
        """The newest levels that are that old, and not twice as old."""
        for at, levels in reversed(self._earlier.get(subject, ())):
            if at <= moment:
                return levels if at > moment - SENTIMENT_LAG else {}
        return {}

    def _remember(self, subject: Subject, now: int, levels: Mapping[str, float]) -> None:
        past = self._earlier.setdefault(subject, deque())
        past.append((now, levels))
        while past[0][0] <= now - 2 * SENTIMENT_LAG:
            past.popleft()


def _columns(
    now: Mapping[str, float], earlier: Mapping[str, float]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Levels of two moments as columns of one row, NaN where a source was silent."""
    sources = {*now, *earlier}
    return (
        {SENTIMENT + s: np.array([now.get(s, np.nan)]) for s in sources},
        {SENTIMENT + s: np.array([earlier.get(s, np.nan)]) for s in sources},
    )
