"""Prices and volumes by minute."""

from __future__ import annotations

from collections.abc import Iterable

MINUTE = 60_000
KEPT = 7 * 24 * 60
INTERVALS = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "4h": 240, "1d": 1440}

# Open moment in milliseconds, then open, high, low, close and volume in units.
Candle = tuple[int, int, int, int, int, int]


class Candles:
    """The candles of the last week, a minute each.

    Attributes:
        touched: candles that changed since they were stored last.
    """

    def __init__(self, stored: Iterable[Candle] = ()) -> None:
        self._minutes: dict[int, Candle] = {candle[0]: candle for candle in stored}
        self.touched: dict[int, Candle] = {}

    def add(self, at: int, price: int, volume: int) -> None:
        """A price at a moment, and what was traded at it."""
        minute = at // MINUTE * MINUTE
        known = self._minutes.get(minute, (minute, price, price, price, price, 0))
        _, first, high, low, _, before = known
        candle = (minute, first, max(high, price), min(low, price), price, before + volume)
        self._minutes[minute] = self.touched[minute] = candle
        while len(self._minutes) > KEPT:
            del self._minutes[next(iter(self._minutes))]

    def since(self, start: int, minutes: int = 1) -> list[Candle]:
        """Candles of some minutes each that open at a moment or later, the oldest first."""
        joined: dict[int, Candle] = {}
        width = minutes * MINUTE
        for at in sorted(self._minutes):
            opens = at // width * width
            if opens < start:
                continue
            _, first, high, low, close, volume = self._minutes[at]
            if opens in joined:
                _, first, higher, lower, _, before = joined[opens]
                high, low, volume = max(high, higher), min(low, lower), volume + before
            joined[opens] = (opens, first, high, low, close, volume)
        return list(joined.values())
