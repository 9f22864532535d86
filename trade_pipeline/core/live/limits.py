"""Limits of a live account: exposure, stale data, prices that cannot be, and the rate of orders."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from trade_pipeline.core.execution.book import Position, to_usd
from trade_pipeline.core.live.config import LiveLimits

_MINUTE = 60_000_000
_SECOND = 1_000_000


class Limits:
    """Says why an entry is refused, and how much it may be.

    Args:
        sent: when the entries of the last minute were sent, microseconds.
    """

    def __init__(self, config: LiveLimits, sent: Iterable[int] = ()) -> None:
        self._config = config
        self._sent = deque(sent)
        self._last_batch: int | None = None
        self._stale_until = 0

    def batch(self, upto: int) -> None:
        """The market has told that it has reached a moment."""
        silence = 0 if self._last_batch is None else upto - self._last_batch
        if silence > self._config.max_silence_seconds * _SECOND:
            self._stale_until = upto + _MINUTE
        self._last_batch = upto

    def entered(self, at: int) -> None:
        """An entry is sent."""
        self._sent.append(at)

    def refusal(self, at: int, happened_at: int, price: float, before: float) -> str | None:
        """Why no entry is allowed now, or None.

        Args:
            happened_at: when the event happened that is decided on.
            price, before: the token's last two prices, USD; NaN: unknown.
        """
        config = self._config
        if at < self._stale_until or at - happened_at > config.max_event_age_seconds * _SECOND:
            return "stale_data"
        jump = price / before if before > 0 else 1.0
        if jump > config.max_price_jump or jump < 1.0 / config.max_price_jump:
            return "price_sanity"
        while self._sent and self._sent[0] <= at - _MINUTE:
            self._sent.popleft()
        if len(self._sent) >= config.max_orders_per_minute:
            return "order_rate"
        return None

    def stake_bound(
        self, capacity_usd: float | None, positions: Iterable[Position]
    ) -> float | None:
        """The largest stake that is allowed beside some positions; None: no bound."""
        config = self._config
        bounds = [bound for bound in (capacity_usd, config.max_token_usd) if bound is not None]
        if config.max_exposure_usd is not None:
            bounds.append(max(0.0, config.max_exposure_usd - exposure_usd(positions)))
        return min(bounds, default=None)


def exposure_usd(positions: Iterable[Position]) -> float:
    """What is in open positions, at what they cost, and in entries on their way."""
    return sum(
        to_usd(p.value_in) * (p.tokens / p.bought if p.bought else 1.0)
        + (p.entry_order.stake_usd if p.entry_order is not None else 0.0)
        for p in positions
    )
