"""What can go wrong with a provider.  No message holds a key or a URL's query."""

from __future__ import annotations

from trade_pipeline.core.errors import TradePipelineError

# How much of a wrong value is told.
_TOLD = 80


class ProviderError(TradePipelineError):
    """The root of what a provider can do wrong; the others go on without it."""

    def __init__(self, provider: str, why: str) -> None:
        super().__init__(f"{provider}: {why}")
        self.provider = provider


class ProviderUnavailable(ProviderError):
    """No answer after all attempts, or none before the time was up.

    Attributes:
        retry_after: seconds that the provider asked to wait, where it did.
    """

    def __init__(self, provider: str, why: str, retry_after: float | None = None) -> None:
        super().__init__(provider, why)
        self.retry_after = retry_after


class ProviderRefused(ProviderError):
    """The provider answered and will answer the same again: a wrong key or a bad request.

    Attributes:
        status: the HTTP status, where there was one.
    """

    def __init__(self, provider: str, why: str, status: int | None = None) -> None:
        super().__init__(provider, why)
        self.status = status


class CircuitOpen(ProviderError):
    """The provider failed so often that it is not asked for a while."""


class TokenNotListed(ProviderError):
    """The provider does not know the token, or not its chain."""


class ProviderAnswerInvalid(ProviderError):
    """A field of an answer is missing, changed or impossible.

    Attributes:
        field, value: where, and what stood there.
    """

    def __init__(self, provider: str, field: str, value: object, expected: str) -> None:
        text = repr(value)
        told = text if len(text) <= _TOLD else text[:_TOLD] + "..."
        super().__init__(provider, f"{field}={told}: {expected}")
        self.field = field
        self.value = value


class NoProviderAnswered(TradePipelineError):
    """None of the providers told anything about a token.

    Attributes:
        failures: why, by provider.
    """

    def __init__(self, what: str, failures: dict[str, str]) -> None:
        super().__init__(f"{what}: no provider answered: {'; '.join(failures.values())}")
        self.failures = failures
