"""Everything that live providers know about tokens, as one.

One provider that is down, slow or wrong is noted and never stops the others.  Without a key those
that need none serve.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Protocol, Self, TypeVar, runtime_checkable

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.coinmarketcap import CoinMarketCap
from trade_pipeline.core.market.providers.dexscreener import DexScreener
from trade_pipeline.core.market.providers.errors import NoProviderAnswered, ProviderError
from trade_pipeline.core.market.providers.exchange import Exchange
from trade_pipeline.core.market.providers.geckoterminal import GeckoTerminal
from trade_pipeline.core.market.providers.goplus import GoPlus
from trade_pipeline.core.market.providers.honeypot_is import HoneypotIs
from trade_pipeline.core.market.providers.http import Answer, ProviderClient
from trade_pipeline.core.market.providers.merge import LiveToken, merge
from trade_pipeline.core.market.providers.observation import (
    CHAINS,
    Bounds,
    TokenObservation,
    canonical_contract,
)
from trade_pipeline.core.market.providers.rugcheck import RugCheck
from trade_pipeline.core.store.artifacts import record_artifact
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings

DEADLINE_SECONDS = 30.0
RAW_KEPT = timedelta(days=365)
T = TypeVar("T")


class TokenProvider(Protocol):
    """An adapter: what one provider knows about a token."""

    @property
    def provider(self) -> str: ...

    @property
    def client(self) -> ProviderClient: ...

    async def token(self, chain: str, contract: str) -> TokenObservation: ...


@runtime_checkable
class Listing(Protocol):
    """An adapter that can also be asked for tokens within bounds."""

    @property
    def provider(self) -> str: ...

    async def low_caps(self, chain: str, bounds: Bounds) -> list[TokenObservation]: ...


@dataclass(frozen=True, slots=True)
class Discovery:
    """Tokens within the bounds, and why providers told none.

    Attributes:
        tokens: by volume, the largest first.
        failures: why, by provider (of `scan_low_caps` also by contract).
    """

    tokens: tuple[LiveToken, ...]
    failures: dict[str, str]


def providers_of(settings: Settings, clock: Clock) -> list[TokenProvider]:
    """Every adapter that the settings allow: those without a key, and those whose key is given."""
    found: list[TokenProvider] = [
        DexScreener(clock),
        GeckoTerminal(clock),
        CoinGecko(clock, key=settings.coingecko_api_key, pro=settings.coingecko_pro),
        HoneypotIs(clock),
        GoPlus(clock),
        RugCheck(clock),
    ]
    if settings.coinmarketcap_api_key is not None:
        found.append(CoinMarketCap(clock, key=settings.coinmarketcap_api_key))
    return found


class UnifiedMarketProvider:
    """Asks all providers at once.  Use with ``async with``.

    Args:
        providers: the adapters that are asked; they are closed with this.
        store: where the raw answers go for a year; None: nowhere (their addresses are told).
        exchange: for pairs such as ``PEPE/USDT``; it is closed with this.
        deadline_seconds: when a provider counts as failed, whatever it still tries.
    """

    def __init__(
        self,
        providers: Sequence[TokenProvider],
        *,
        store: Store | None = None,
        exchange: Exchange | None = None,
        deadline_seconds: float = DEADLINE_SECONDS,
    ) -> None:
        self._providers = providers
        self._store = store
        self._exchange = exchange
        self._deadline_seconds = deadline_seconds
        self._opened = AsyncExitStack()

    @classmethod
    def open(cls, settings: Settings, clock: Clock, store: Store | None = None) -> Self:
        """The providers that the settings name.

        Raises:
            BadConfig: ccxt does not know the exchange.
        """
        exchange = None if settings.exchange is None else Exchange(settings.exchange, clock)
        return cls(providers_of(settings, clock), store=store, exchange=exchange)

    async def __aenter__(self) -> Self:
        for provider in self._providers:
            await self._opened.enter_async_context(provider.client)
        if self._exchange is not None:
            await self._opened.enter_async_context(self._exchange)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    @property
    def exchange(self) -> Exchange:
        """The exchange, for its bars and for watching pairs.

        Raises:
            BadConfig: none is named.
        """
        if self._exchange is None:
            raise BadConfig("exchange=None: name one, such as TRADE_PIPELINE_EXCHANGE=binance")
        return self._exchange

    async def token(self, chain: str, contract: str) -> LiveToken:
        """A token by its contract, as all providers know it; the raw answers are stored.

        Raises:
            BadConfig: the chain is none of `CHAINS`.
            NoProviderAnswered: nobody told anything.
        """
        _require_chain(chain)
        address = canonical_contract(contract)
        seen, failures = await self._ask(
            {p.provider: partial(p.token, chain, address) for p in self._providers}
        )
        if not seen:
            raise NoProviderAnswered(f"{chain} {address}", failures)
        token = merge(seen, failures)
        await self._keep([token])
        return token

    @property
    def coingecko(self) -> CoinGecko:
        """CoinGecko among the providers, whose answers others may share.

        Raises:
            BadConfig: it is none of them.
        """
        for provider in self._providers:
            if isinstance(provider, CoinGecko):
                return provider
        raise BadConfig("providers: CoinGecko is none of them")

    async def coin(self, coin: str) -> LiveToken:
        """A coin by CoinGecko's id, such as ``bitcoin``; the raw answer is stored.

        Raises:
            ProviderError: it did not answer.
        """
        token = merge([await self.coingecko.coin(coin)], {})
        await self._keep([token])
        return token

    async def pair(self, symbol: str) -> LiveToken:
        """An exchange's pair now; the raw answer is stored.

        Raises:
            BadConfig: no exchange is named.
            ProviderError: it did not answer.
        """
        token = merge([await self.exchange.pair(symbol)], {})
        await self._keep([token])
        return token

    async def discover(self, chain: str, bounds: Bounds | None = None) -> Discovery:
        """Tokens of a chain within the bounds, from every provider that lists tokens.

        Raises:
            BadConfig: the chain is none of `CHAINS`.
            NoProviderAnswered: nobody told anything.
        """
        _require_chain(chain)
        within = bounds or Bounds()
        listings = [p for p in self._providers if isinstance(p, Listing)]
        lists, failures = await self._ask(
            {p.provider: partial(p.low_caps, chain, within) for p in listings}
        )
        if not lists:
            raise NoProviderAnswered(f"low caps of {chain}", failures)
        by_contract: dict[str, list[TokenObservation]] = {}
        for seen in (one for found in lists for one in found):
            assert seen.contract is not None
            by_contract.setdefault(canonical_contract(seen.contract), []).append(seen)
        tokens = sorted(
            (merge(seen, failures) for seen in by_contract.values()),
            key=lambda token: (-(token.volume_24h_usd or 0.0), token.contract or ""),
        )
        await self._keep(tokens)
        return Discovery(tuple(tokens), failures)

    async def scan_low_caps(
        self, chain: str, bounds: Bounds | None = None, most: int = 20
    ) -> Discovery:
        """The discovered tokens with most volume, each asked of all providers, within the bounds.

        Raises:
            BadConfig, NoProviderAnswered: see `discover`.
        """
        within = bounds or Bounds()
        found = await self.discover(chain, within)
        tokens, failures = [], dict(found.failures)
        for candidate in found.tokens[:most]:
            assert candidate.contract is not None
            try:
                token = await self.token(chain, candidate.contract)
            except NoProviderAnswered as error:
                failures[candidate.contract] = str(error)
                continue
            if within.admit(token.market_cap_usd, token.volume_24h_usd):
                tokens.append(token)
        return Discovery(tuple(tokens), failures)

    async def _ask(
        self, questions: dict[str, Callable[[], Awaitable[T]]]
    ) -> tuple[list[T], dict[str, str]]:
        """The answers of those who answered in time, and why the others did not."""

        async def one(question: Callable[[], Awaitable[T]]) -> T | str:
            try:
                async with asyncio.timeout(self._deadline_seconds):
                    return await question()
            except ProviderError as error:
                return str(error)
            except TimeoutError:
                return f"no answer within {self._deadline_seconds:g} s"

        answers = await asyncio.gather(*map(one, questions.values()))
        by_provider = dict(zip(questions, answers, strict=True))
        failures = {name: a for name, a in by_provider.items() if isinstance(a, str)}
        return [a for a in answers if not isinstance(a, str)], failures

    async def _keep(self, tokens: Sequence[LiveToken]) -> None:
        """Store the answers behind tokens; returns once they are safe."""
        if self._store is not None:
            answers = {a.address: a for t in tokens for o in t.observations for a in o.answers}
            await asyncio.to_thread(keep_answers, self._store, list(answers.values()))


def keep_answers(store: Store, answers: Sequence[Answer]) -> None:
    """Store raw answers as artifacts that expire after a year.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """
    with store.database.connect() as connection:
        for answer in answers:
            record_artifact(
                connection,
                store.artifacts,
                answer.content,
                media_type="application/json",
                expires_at=moment_of(answer.received_at) + RAW_KEPT,
            )


def _require_chain(chain: str) -> None:
    if chain not in CHAINS:
        raise BadConfig(f"chain={chain!r}: expected one of {', '.join(CHAINS)}")
