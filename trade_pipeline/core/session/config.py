"""Every setting of a session.  ``params_ptr`` is the address of their canonical form."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.config import Config
from trade_pipeline.core.execution.amm import AmmConfig, AmmVenue
from trade_pipeline.core.execution.bars import BarConfig, BarVenue
from trade_pipeline.core.execution.venue import Venue
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.market.simulator.config import SimulatorConfig
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.traffic import Traffic

BAR_MARKETS = ("spot-1h",)


class TradingConfig(Config):
    """The settings of the strategy, of both kinds of venue and of the simulated market, the rug
    model that the features use, the model that decides, and a canary beside it.
    """

    CALLED: ClassVar[str] = "config"

    strategy: StrategyConfig = StrategyConfig()
    amm: AmmConfig = AmmConfig()
    bars: BarConfig = BarConfig()
    simulator: SimulatorConfig = SimulatorConfig()
    rug_risk_model: str | None = Field(
        None,
        pattern="^sha256:[0-9a-f]{64}$",
        description="address of the model of the rug probability; unset: it is unknown",
    )
    model: str | None = Field(
        None,
        pattern="^sha256:[0-9a-f]{64}$",
        description="version of the registered model that decides; unset: the heuristic",
    )
    canary: Traffic | None = Field(
        None, description="a model on trial, and what it decides; unset: there is none"
    )
    fund_share: float = Field(
        1.0, gt=0, le=1, description="part of its fund with which production decides"
    )

    @field_validator("canary")
    @classmethod
    def _is_another_model(cls, canary: Traffic | None, info: ValidationInfo) -> Traffic | None:
        if canary is not None and canary.model == info.data.get("model"):
            raise ValueError(f"canary.model={canary.model!r}: is that of model, too")
        return canary

    def canonical(self) -> bytes:
        """The canonical bytes that ``params_ptr`` addresses."""
        return canonical_bytes(self.model_dump(mode="json"))

    def venue(self, market: str) -> Venue:
        """The venue of a kind of market."""
        return BarVenue(self.bars) if market in BAR_MARKETS else AmmVenue(self.amm)

    def interval(self, market: str) -> int:
        """Microseconds between two evaluations of a token."""
        universe = self.strategy.universe
        minutes = (
            universe.bar_interval_minutes
            if market in BAR_MARKETS
            else universe.pool_interval_minutes
        )
        return minutes * HOUR // 60
