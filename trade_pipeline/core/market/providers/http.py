"""One client for every provider: rate limit, deadline, retries with jitter, circuit, cache.

A key goes into a header and nowhere else: not into URLs, logs, errors or stored answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Self, TypeVar

import httpx
from cachetools import TLRUCache
from pydantic import BaseModel, SecretStr, TypeAdapter, ValidationError

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.providers.errors import (
    ProviderAnswerInvalid,
    ProviderRefused,
    ProviderUnavailable,
)
from trade_pipeline.core.market.providers.guard import ClientConfig, Guard

MAX_BYTES = 32 << 20
_CACHED_ANSWERS = 512
_TRANSIENT = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
M = TypeVar("M")

# At INFO httpx logs whole URLs, which may hold a key (a node's often does).
logging.getLogger("httpx").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a provider sent.

    Attributes:
        content: its body, byte for byte (a key that it repeats is taken out).
        received_at: microseconds since 1970-01-01 UTC; of a cached answer, when it first came.
    """

    provider: str
    content: bytes
    received_at: int

    @property
    def address(self) -> str:
        """Its content address."""
        return address_of(self.content)

    def read(self, model: type[M]) -> M:
        """The fields that are needed, checked.

        Raises:
            ProviderAnswerInvalid: no JSON, or a field is missing, changed or impossible.
        """
        try:
            return TypeAdapter(model).validate_json(self.content)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            field = ".".join(map(str, problem["loc"])) or "body"
            value = self.content if field == "body" else problem["input"]
            raise ProviderAnswerInvalid(self.provider, field, value, problem["msg"]) from None


class ProviderClient:
    """Asks one provider.  Use with ``async with``.

    Args:
        secrets: headers that hold keys.

    Raises, from every request:
        CircuitOpen, ProviderUnavailable: there is no answer now.
        ProviderRefused: there will be none.
    """

    def __init__(
        self,
        provider: str,
        url: str,
        clock: Clock,
        config: ClientConfig | None = None,
        secrets: Mapping[str, SecretStr] | None = None,
    ) -> None:
        self.provider = provider
        self.config = config = config or ClientConfig()
        self._url = url.rstrip("/")
        self._clock = clock
        self._secrets = {name: key.get_secret_value() for name, key in (secrets or {}).items()}
        self._guard = Guard(provider, clock, config)
        lifetime = round(config.cache_seconds * 1e6)
        self._cache: TLRUCache[Any, Answer] = TLRUCache(
            _CACHED_ANSWERS, lambda _key, answer, _now: answer.received_at + lifetime, clock.micros
        )
        self._http = httpx.AsyncClient(
            timeout=config.timeout_seconds, follow_redirects=False, trust_env=True
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        check: Callable[[Answer], None] | None = None,
    ) -> Answer:
        """Ask, unless a young enough answer is there; ``check`` as in `request`."""
        key = path, tuple(sorted((params or {}).items()))
        if (cached := self._cache.get(key)) is not None:
            return cached
        answer = await self.request("GET", path, params=params, check=check)
        self._cache[key] = answer
        return answer

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        check: Callable[[Answer], None] | None = None,
        **given: Any,
    ) -> Answer:
        """Send a request as often as it takes; the arguments are those of httpx.

        Args:
            check: raises for an answer that tells of a failure with HTTP 200; a
                `ProviderUnavailable` is tried again.
        """

        async def attempt() -> Answer:
            answer = await self._attempt(method, path, headers or {}, given)
            if check is not None:
                check(answer)
            return answer

        return await self._guard.run(attempt)

    async def _attempt(
        self, method: str, path: str, headers: Mapping[str, str], given: Mapping[str, Any]
    ) -> Answer:
        headers = {"Accept": "application/json", **self._secrets, **headers}
        try:
            async with (
                asyncio.timeout(self.config.timeout_seconds),
                self._http.stream(method, self._url + path, headers=headers, **given) as response,
            ):
                content = await self._body(response)
        except TimeoutError:
            raise ProviderUnavailable(
                self.provider, f"no answer within {self.config.timeout_seconds:g} s"
            ) from None
        except (httpx.TransportError, httpx.DecodingError, httpx.InvalidURL) as error:
            # Its text may hold the URL.
            raise ProviderUnavailable(self.provider, type(error).__name__) from None
        if response.status_code in _TRANSIENT:
            raise ProviderUnavailable(
                self.provider, f"HTTP {response.status_code}", self._retry_after(response)
            )
        if response.status_code != 200:
            raise ProviderRefused(
                self.provider, f"HTTP {response.status_code}", response.status_code
            )
        return Answer(self.provider, content, self._clock.micros())

    async def _body(self, response: httpx.Response) -> bytes:
        chunks, size = [], 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > MAX_BYTES:
                raise ProviderRefused(self.provider, f"answered more than {MAX_BYTES:,} bytes", 200)
            chunks.append(chunk)
        content = b"".join(chunks)
        for secret in self._secrets.values():
            content = content.replace(secret.split()[-1].encode(), b"[key]")
        return content

    def _retry_after(self, response: httpx.Response) -> float | None:
        """Seconds, from a number or a date; None where it says nothing that can be read."""
        text = response.headers.get("Retry-After", "")
        try:
            return max(0.0, float(text))
        except ValueError:
            pass
        try:
            until = parsedate_to_datetime(text)
        except ValueError:
            return None
        now = datetime.fromtimestamp(self._clock.micros() / 1e6, UTC)
        return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - now).total_seconds())


class Fields(BaseModel):
    """Fields of an answer that are read; others may be there."""
