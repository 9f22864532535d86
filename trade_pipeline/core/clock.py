"""The clock port: core code never reads the system's time by itself."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Protocol

from trade_pipeline.core.ids import moment_of


class Clock(Protocol):
    """Tells the time of the market that a session trades in."""

    def micros(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        ...

    def advance(self, micros: int) -> None:
        """The market has reached a moment."""
        ...


class SystemClock:
    """The machine's own time."""

    def micros(self) -> int:
        return time.time_ns() // 1000

    def advance(self, micros: int) -> None:
        """Nothing to do: it moves by itself."""


class MarketClock:
    """The time of a replayed market: it stands at the newest event that was read."""

    def __init__(self, start: int) -> None:
        self._now = start

    def micros(self) -> int:
        return self._now

    def advance(self, micros: int) -> None:
        """Move to a later moment; an earlier one leaves the clock where it is."""
        self._now = max(self._now, micros)


def now(clock: Clock) -> datetime:
    """A clock's time as an aware datetime."""
    return moment_of(clock.micros())
