"""A circuit breaker: a provider that fails again and again is left alone for a while."""

from __future__ import annotations

from trade_pipeline.core.clock import Clock


class CircuitBreaker:
    """Opens after some failures in a row; when its time is up, one request may try again.

    Args:
        failures_to_open: failures in a row.
        open_seconds: how long it stays open, at least.
    """

    def __init__(self, clock: Clock, failures_to_open: int, open_seconds: float) -> None:
        self._clock = clock
        self._failures_to_open = failures_to_open
        self._open_seconds = open_seconds
        self._failures = 0
        self._open_until: int | None = None
        self._trying = False

    def wait_seconds(self) -> float:
        """How long nobody may ask; 0: ask now, and report how it went.

        Of many that ask when the time is up, one is let through.
        """
        if self._open_until is None:
            return 0.0
        left = (self._open_until - self._clock.micros()) / 1e6
        if left <= 0 and not self._trying:
            self._trying = True
            return 0.0
        return max(left, 0.001)

    def succeeded(self) -> None:
        """The provider works."""
        self._failures, self._open_until, self._trying = 0, None, False

    def failed(self, retry_after: float | None = None) -> None:
        """One more failure; ``retry_after``: seconds for which the provider asked to be left."""
        self._failures += 1
        self._trying = False
        enough = self._failures >= self._failures_to_open
        seconds = max(self._open_seconds if enough else 0.0, retry_after or 0.0)
        if seconds > 0:
            self._open_until = self._clock.micros() + round(seconds * 1e6)

    def abandoned(self) -> None:
        """The request was given up by us: it tells nothing of the provider."""
        self._trying = False
