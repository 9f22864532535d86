"""How old what may be, in plain numbers: a pure function that alerts and asset checks share."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar

from pydantic import Field

from trade_pipeline.core.config import Config


class FreshnessConfig(Config):
    """When something of an account that is traded now counts as stale."""

    CALLED: ClassVar[str] = "freshness"

    session_seconds: float = Field(
        120, gt=0, description="an account that is wanted and that nobody trades for so long"
    )
    pools_minutes: float = Field(
        15, gt=0, description="no event of any pool for so long (uniswap-v2)"
    )
    bars_minutes: float = Field(
        75, gt=60, description="no closed hourly bar of any pair for so long (spot-1h)"
    )
    trained_days: float = Field(
        90, gt=0, description="a production model that was trained longer ago"
    )
    monitored_hours: float = Field(
        26, gt=0, description="a production model that nobody looked at for so long"
    )


@dataclass(frozen=True, slots=True)
class Freshness:
    """What can be stale, and how old it is.

    Attributes:
        asset: whose state it is in the UI.
        subject: what people call it, such as ``market data of account main``.
        newest: when it was last as it should be; None: never.
        since: from when on it should be; it is not stale before.
        allowed: how old it may be; ``what`` of it is meant, such as ``the newest event``.
    """

    asset: str
    subject: str
    what: str
    newest: datetime | None
    since: datetime
    allowed: timedelta

    def stale(self, now: datetime) -> str | None:
        """Why it is stale, or None."""
        reference = self.since if self.newest is None else max(self.newest, self.since)
        if now - reference <= self.allowed:
            return None
        allowed = _length(self.allowed)
        if self.newest is None:
            return f"{self.what} never came, and should be at most {allowed} old"
        return f"{self.what} is {_length(now - self.newest)} old, allowed {allowed}"


def _length(time: timedelta) -> str:
    seconds = time.total_seconds()
    for unit, size in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.0f} seconds"
