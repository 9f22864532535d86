"""What a production model must keep up with."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trade_pipeline.core.config import Config


class MonitoringConfig(Config):
    """Limits of the monitoring.  Those that keep money safe can only be made stricter.

    The tolerance is the margin by which a canary may be worse: what a model enters is what it
    overestimates most, so that an honest one earns a little less than it expects.
    """

    CALLED: ClassVar[str] = "monitoring"

    block_hours: int = Field(24, ge=1, le=168, description="of a block of decisions")
    min_blocks: int = Field(
        5, ge=3, le=14, description="closed ones, before returns are judged by them"
    )
    tolerance: float = Field(
        0.0225, gt=0, le=0.0225, description="return per unit stake that it may miss on average"
    )
    level: float = Field(
        0.05,
        ge=0.05,
        le=0.2,
        description="chance that a model whose shortfall is the tolerance is ever broken by it; a "
        "higher one finds harm sooner",
    )
    restart_blocks: int = Field(
        28, ge=7, le=56, description="after which another sequence begins, so that harm is not "
        "lost in a long good past",
    )  # fmt: skip
    max_calibration_error: float = Field(
        0.1, gt=0, le=0.1, description="over tenths of the confidence, its level taken off"
    )
    calibration_days: int = Field(28, ge=7, le=56, description="newest days with ended labels")
    min_labels: int = Field(
        200, ge=100, le=1000, description="ended ones, before calibration is judged"
    )
    window_days: int = Field(
        14, ge=1, le=28, description="newest days whose inputs and predictions are looked at"
    )
    min_rows: int = Field(100, ge=50, le=500, description="decisions in them, before they are")
    max_drift: float = Field(
        0.25, gt=0, le=0.25, description="population stability index of what has not drifted"
    )
    max_drifted_share: float = Field(
        0.5, gt=0, le=0.5, description="of the features by importance, that may have drifted"
    )
    performance_margin: float = Field(
        0.01,
        gt=0,
        le=0.01,
        description="return by which what it enters may be estimated below the average candidate",
    )
    max_missing: float = Field(
        0.1, gt=0, le=0.1, description="share of unknown inputs above that in training"
    )
    max_decision_hours: float = Field(48, gt=0, le=48, description="age of the newest decision")
    max_market_hours: float = Field(24, gt=0, le=24, description="age of the newest market look")
    fund_share: float = Field(
        0.5,
        gt=0,
        le=0.5,
        description="of the fund for the heuristic in the place of a broken model",
    )
