"""Exchanges by ccxt: tickers and bars by REST, tickers as they come by websocket."""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import orjson

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.providers.errors import (
    ProviderAnswerInvalid,
    ProviderRefused,
    ProviderUnavailable,
    TokenNotListed,
)
from trade_pipeline.core.market.providers.guard import ClientConfig, Guard
from trade_pipeline.core.market.providers.http import Answer, Fields
from trade_pipeline.core.market.providers.observation import Amount, TokenObservation, positive

# Quotes that count as USD.
USD_QUOTES = ("USD", "USDT", "USDC", "FDUSD", "BUSD", "DAI")
T = TypeVar("T")


class _Ticker(Fields):
    last: Amount
    quoteVolume: Amount  # noqa: N815 - the name in ccxt


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar; ``opened_at`` in microseconds since 1970-01-01 UTC, volume in the base currency."""

    opened_at: int
    open: float
    high: float
    low: float
    close: float
    volume: float


def exchange_class(name: str) -> Any:
    """ccxt's class of an exchange, by its id.

    Raises:
        BadConfig: ccxt knows none of this id that has websockets.
    """
    # Seconds to import: only who trades on an exchange waits for it.
    pro = importlib.import_module("ccxt.pro")
    if name not in pro.exchanges:
        raise BadConfig(f"exchange={name!r}: ccxt knows no exchange of this id with websockets")
    return getattr(pro, name)


def moved(urls: Any, to: str) -> Any:
    """URLs of ccxt, with the same paths on another server."""
    if isinstance(urls, dict):
        return {name: moved(url, to) for name, url in urls.items()}
    parts = urlsplit(urls)
    return f"{to}{parts.path}"


class Exchange:
    """One exchange's public data.  Use with ``async with``.

    Args:
        name: its id in ccxt, such as ``binance``.
        given: further settings of ccxt's exchange.
        url: another server that speaks its dialect, such as the local exchange.

    Raises:
        BadConfig: ccxt knows no such exchange.
    """

    def __init__(
        self,
        name: str,
        clock: Clock,
        *,
        config: ClientConfig | None = None,
        given: Mapping[str, Any] | None = None,
        url: str | None = None,
    ) -> None:
        self.provider = name
        self._clock = clock
        self._config = config = config or ClientConfig(requests=120)
        self._guard = Guard(name, clock, config)
        self._exchange = exchange_class(name)(
            {"enableRateLimit": True, "timeout": round(config.timeout_seconds * 1000)}
            | dict(given or {})
        )
        if url is not None:
            self._exchange.urls["api"] = moved(self._exchange.urls["api"], url.rstrip("/"))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exchange.close()

    async def pair(self, symbol: str) -> TokenObservation:
        """Price and volume of a pair now, such as ``PEPE/USDT``.

        Raises:
            ProviderError: as the other providers.
        """
        await self._loaded()
        return self._observation(
            symbol, await self._guard.run(lambda: self._call(self._exchange.fetch_ticker, symbol))
        )

    async def bars(self, symbol: str, since: int, timeframe: str = "1h") -> list[Bar]:
        """Bars that opened from a moment on and have closed, oldest first.

        Raises:
            ProviderError: as the other providers.
        """
        await self._loaded()
        rows = await self._guard.run(
            lambda: self._call(self._exchange.fetch_ohlcv, symbol, timeframe, since // 1000)
        )
        length = self._exchange.parse_timeframe(timeframe) * 1_000_000
        try:
            bars = [Bar(int(opened) * 1000, *map(float, values)) for opened, *values in rows]
        except (TypeError, ValueError):
            raise ProviderAnswerInvalid(
                self.provider, f"bars of {symbol}", rows[:1], "a time and five numbers each"
            ) from None
        now = self._clock.micros()
        return [bar for bar in bars if bar.opened_at >= since and bar.opened_at + length <= now]

    async def watch(self, symbol: str) -> AsyncIterator[TokenObservation]:
        """A pair as it changes: by websocket where the exchange has one, else asked for.

        A lost connection is opened again; only when it fails as often as a request may, it ends.

        Raises:
            ProviderError: as the other providers.
        """
        await self._loaded()
        streams = bool(self._exchange.has.get("watchTicker"))
        fetch = self._exchange.watch_ticker if streams else self._exchange.fetch_ticker
        while True:
            ticker = await self._guard.run(lambda: self._call(fetch, symbol))
            yield self._observation(symbol, ticker)
            if not streams:
                await asyncio.sleep(self._config.cache_seconds)

    async def _loaded(self) -> None:
        """The exchange's pairs, which ccxt asks for once."""
        await self._guard.run(lambda: self._call(self._exchange.load_markets))

    def _observation(self, symbol: str, ticker: Mapping[str, Any]) -> TokenObservation:
        try:
            content = orjson.dumps(dict(ticker), option=orjson.OPT_SORT_KEYS, default=str)
        except orjson.JSONEncodeError as error:
            raise ProviderAnswerInvalid(self.provider, "ticker", ticker, str(error)) from None
        answer = Answer(self.provider, content, self._clock.micros())
        said = answer.read(_Ticker)
        base, _, quote = symbol.partition("/")
        usd = quote.partition(":")[0] in USD_QUOTES
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            instrument=symbol,
            symbol=base,
            price_usd=positive(said.last) if usd else None,
            volume_24h_usd=said.quoteVolume if usd else None,
        )

    async def _call(self, method: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """One call of ccxt; its errors hold URLs and answers, ours say their kind."""
        import ccxt

        try:
            return await method(*arguments)
        except ccxt.BadSymbol:
            raise TokenNotListed(self.provider, f"pair={arguments[0]!r}: not listed") from None
        except ccxt.NullResponse:
            raise ProviderAnswerInvalid(self.provider, "body", None, "an answer") from None
        except ccxt.NetworkError as error:
            raise ProviderUnavailable(self.provider, type(error).__name__) from None
        except ccxt.BaseError as error:
            raise ProviderRefused(self.provider, type(error).__name__) from None
