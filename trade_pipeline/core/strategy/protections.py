"""Protections: when entries stop.  Exits never do."""

from __future__ import annotations

from collections.abc import Mapping

from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.records import TerminationReason
from trade_pipeline.core.strategy.config import ProtectionConfig

_BAD_ENDS = (TerminationReason.STOP_LOSS, TerminationReason.RUGPULL_EXIT)


class Protections:
    """Follows the equity and the outcomes, and says why an entry is refused."""

    def __init__(self, config: ProtectionConfig, equity_usd: float) -> None:
        self._config = config
        self._peak = equity_usd
        self._day = -1
        self._day_start = equity_usd
        self._paused_until = 0
        self._cooldowns: dict[int, int] = {}

    def observe(self, at: int, equity_usd: float) -> float:
        """Note the equity at a moment; returns the drawdown from the highest so far."""
        day = at // DAY
        if day != self._day:
            self._day, self._day_start = day, equity_usd
        if self._paused_until and at >= self._paused_until:
            self._paused_until, self._peak = 0, equity_usd
        self._peak = max(self._peak, equity_usd)
        drawdown = 1.0 - equity_usd / self._peak if self._peak > 0 else 1.0
        if drawdown >= self._config.max_drawdown and not self._paused_until:
            self._paused_until = at + int(self._config.drawdown_pause_hours * HOUR)
        return drawdown

    def closed(self, at: int, token: int, reason: TerminationReason) -> None:
        """Note why a trade of a token ended."""
        if reason in _BAD_ENDS:
            self._cooldowns[token] = at + int(self._config.cooldown_hours * HOUR)

    def state(self) -> dict[str, float]:
        """What a successor has to know, besides the outcomes."""
        return {
            "peak": self._peak,
            "day": self._day,
            "day_start": self._day_start,
            "paused_until": self._paused_until,
        }

    def restore(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` told; the outcomes are noted by `closed`."""
        self._peak, self._day_start = state["peak"], state["day_start"]
        self._day, self._paused_until = int(state["day"]), int(state["paused_until"])

    def refusal(self, at: int, token: int, equity_usd: float) -> str | None:
        """Why no entry is allowed now, or None."""
        if at < self._paused_until:
            return "max_drawdown"
        if equity_usd <= self._day_start * (1.0 - self._config.daily_loss_limit):
            return "daily_loss_limit"
        if at < self._cooldowns.get(token, 0):
            return "cooldown"
        return None
