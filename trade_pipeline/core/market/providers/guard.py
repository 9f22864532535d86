"""How a provider is asked: within its rate limit, again with jitter, and not while it is down."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

import stamina
import stamina.instrumentation
from aiolimiter import AsyncLimiter
from pydantic import Field

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.config import Config
from trade_pipeline.core.market.providers.circuit import CircuitBreaker
from trade_pipeline.core.market.providers.errors import (
    CircuitOpen,
    ProviderRefused,
    ProviderUnavailable,
    TokenNotListed,
)

T = TypeVar("T")
log = logging.getLogger("trade_pipeline.providers")


def _tell(details: stamina.instrumentation.RetryDetails) -> None:
    log.info("%s; asked again in %.1f s", details.caused_by, details.wait_for)


# The default prints every retry to standard output, where programs read JSON.
stamina.instrumentation.set_on_retry_hooks([_tell])


class ClientConfig(Config):
    """How a provider is asked.

    Attributes:
        requests, per_seconds: its rate limit.
        timeout_seconds: deadline of one attempt, body included.
        attempts: how often a request is sent before it has failed.
        wait_initial_seconds, wait_max_seconds: waits between attempts grow, with jitter; a provider
            that asks for a longer wait than the longest is left alone for as long.
        failures_to_open, open_seconds: the circuit breaker's.
        cache_seconds: how old an answer may be that is given again.
    """

    CALLED = "provider"

    requests: int = Field(default=30, ge=1)
    per_seconds: float = Field(default=60.0, gt=0)
    timeout_seconds: float = Field(default=10.0, gt=0)
    attempts: int = Field(default=3, ge=1)
    wait_initial_seconds: float = Field(default=0.5, ge=0)
    wait_max_seconds: float = Field(default=10.0, ge=0)
    failures_to_open: int = Field(default=5, ge=1)
    open_seconds: float = Field(default=60.0, ge=0)
    cache_seconds: float = Field(default=30.0, ge=0)


class Guard:
    """Runs requests to one provider."""

    def __init__(self, provider: str, clock: Clock, config: ClientConfig) -> None:
        self._provider = provider
        self._config = config
        self._limiter = AsyncLimiter(config.requests, config.per_seconds)
        self._circuit = CircuitBreaker(clock, config.failures_to_open, config.open_seconds)

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """What an attempt gives, as soon as one succeeds.

        Raises:
            CircuitOpen: the provider is left alone now.
            ProviderError: the last attempt's.
        """
        if wait := self._circuit.wait_seconds():
            raise CircuitOpen(self._provider, f"failed before, not asked for {wait:.0f} s more")
        try:
            async for trial in stamina.retry_context(
                on=self._backoff,
                attempts=self._config.attempts,
                timeout=None,
                wait_initial=self._config.wait_initial_seconds,
                wait_max=self._config.wait_max_seconds,
                wait_jitter=self._config.wait_initial_seconds,
            ):
                with trial:
                    await self._limiter.acquire()
                    found = await attempt()
        except ProviderUnavailable as error:
            self._circuit.failed(error.retry_after)
            raise
        except (ProviderRefused, TokenNotListed):
            # It works: it is the request that it does not like.
            self._circuit.succeeded()
            raise
        except BaseException:
            self._circuit.abandoned()
            raise
        self._circuit.succeeded()
        return found

    def _backoff(self, error: Exception) -> bool | float:
        """Whether to try again; seconds where the provider named them."""
        if not isinstance(error, ProviderUnavailable):
            return False
        if error.retry_after is None:
            return True
        return error.retry_after if error.retry_after <= self._config.wait_max_seconds else False
