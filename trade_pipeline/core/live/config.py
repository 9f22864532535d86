"""Every setting of a live session."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import ClassVar, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trade_pipeline.core.config import Config
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.markets import MarketConfig
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.settings import Settings


class LiveLimits(BaseModel):
    """What stops entries besides the strategy's own protections.  Exits are never stopped."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    max_token_usd: float | None = Field(None, gt=0, description="largest stake in one token, USD")
    max_exposure_usd: float | None = Field(
        None, gt=0, description="largest sum of what is in open positions and entries, USD"
    )
    max_orders_per_minute: int = Field(10, ge=1, description="entries sent in a minute")
    max_event_age_seconds: float = Field(
        60, gt=0, description="an event that happened longer before it was known decides nothing"
    )
    max_silence_seconds: float = Field(
        120, gt=0, description="after a feed was silent for longer, entries wait for a minute of it"
    )
    max_price_jump: float = Field(
        5,
        gt=1,
        description="a price this many times the one before is not believed",
    )
    min_free_mb: float = Field(
        512,
        ge=0,
        description="entries and the recording stop while a disk of this machine that the store is "
        "on has less free, MB; 0: nobody looks",
    )


class ReplayConfig(BaseModel):
    """A recorded or simulated market that a paper session trades as if it were arriving."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    market: Literal["uniswap-v2", "spot-1h", "simulated"] = "simulated"
    data: Path | None = None
    start: datetime
    end: datetime
    seed: int = 7
    speed: float = Field(60, ge=0, description="times the wall's time; 0: without waits")
    cell_seconds: float = Field(
        1, gt=0, le=10, description="market time in one batch, shorter than from order to fill"
    )


class LiveConfig(Config):
    """How an account is traded."""

    CALLED: ClassVar[str] = "live"

    account: str = Field("paper", pattern=r"^[a-z0-9][a-z0-9_.-]{0,62}$")
    mode: Literal["paper", "live"] = "paper"
    venue: str = Field("default", description="venue of the account, as deployments name it")
    orders: Literal["simulated", "exchange"] = Field(
        "simulated",
        description="simulated fills, or orders at the exchange of TRADE_PIPELINE_VENUE",
    )
    stops_at_venue: bool = Field(
        False, description="every position's stop rests at the exchange, also while nobody watches"
    )
    confirm: str | None = Field(None, description="for real money: 'real money on ACCOUNT'")
    window_hours: float = Field(24, gt=0, description="a session hands over after this, wall time")
    reconcile_seconds: float = Field(30, gt=0, description="between two looks at the venue")
    resend_seconds: float = Field(
        30, ge=0, description="an entry that never arrived is sent again within this, market time"
    )
    max_behind_seconds: float = Field(
        2, gt=0, description="behind the market by more, scans are dropped and exits go on"
    )
    lease_seconds: float = Field(10, ge=1, description="a lease without heartbeat ends after this")
    record: bool | None = Field(
        None, description="store the market's events as they come; unset: those of real markets"
    )
    limits: LiveLimits = LiveLimits()
    replay: ReplayConfig | None = None
    market: MarketConfig | None = Field(None, description="a real market, instead of a replay")
    trading: TradingConfig = TradingConfig()

    @model_validator(mode="after")
    def _is_meant(self) -> Self:
        if self.replay is not None and self.market is not None:
            raise ValueError("market: a session trades either this or a replay")
        if self.stops_at_venue and self.orders != "exchange":
            raise ValueError("stops_at_venue: simulated orders do not rest; set orders='exchange'")
        if self.mode == "paper":
            return self
        wanted = f"real money on {self.account}"
        if self.confirm != wanted:
            raise ValueError(f"confirm={self.confirm!r}: a live session needs {wanted!r}")
        for name in ("max_token_usd", "max_exposure_usd"):
            if getattr(self.limits, name) is None:
                raise ValueError(f"limits.{name}=None: a live session needs this limit")
        if self.replay is not None:
            raise ValueError("replay: a live session trades no recorded market")
        if self.orders != "exchange":
            raise ValueError(f"orders={self.orders!r}: a live session's orders go to an exchange")
        return self

    @property
    def is_recorded(self) -> bool:
        """Whether the market's events are stored; a replay's are stored somewhere already."""
        return self.replay is None if self.record is None else self.record

    def require_allowed(self, settings: Settings) -> None:
        """Refuse real money where this installation is not set up for it.

        Raises:
            BadConfig: the mode is live and the setting does not allow it, or the mode is paper and
                its orders would trade real money.
        """
        if self.mode == "live" and not settings.live_trading:
            raise BadConfig(
                "mode='live': this installation trades no real money; set "
                "TRADE_PIPELINE_LIVE_TRADING=true where it should"
            )
        played = settings.venue_sandbox or is_local(settings.venue_url)
        if self.mode == "paper" and self.orders == "exchange" and not played:
            raise BadConfig(
                "orders='exchange': a paper session trades no real money; set "
                "TRADE_PIPELINE_VENUE_URL to a server on this machine, such as the one of "
                "`trade-pipeline exchange serve`, or TRADE_PIPELINE_VENUE_SANDBOX=true"
            )


def is_local(url: str | None) -> bool:
    """Whether a server is on this machine."""
    return url is not None and urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")
