"""What a model must show before it may decide."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trade_pipeline.core.config import Config


class GateConfig(Config):
    """Thresholds of the gates.

    The defaults are the weakest that are accepted, and each can only be made stricter: a threshold
    that a launchpad could lower would be a way around the gate.  They are chosen from evidence on
    hourly spot of 2021 and 2022: an R2 of .0024 with a rank correlation of .16 is worth money
    there, because single returns are nearly all noise; so R2 only has to be above zero, and the
    ranks must tell something beyond doubt.
    """

    CALLED: ClassVar[str] = "gates"

    min_trades: int = Field(1000, ge=1000, description="members of the dataset")
    min_days: int = Field(30, ge=30, description="UTC days of their decisions")
    min_r2: float = Field(0.0, ge=0, lt=1, description="on validation, market-adjusted")
    min_rank_correlation: float = Field(
        0.03, ge=0.03, lt=1, description="on validation, market-adjusted"
    )
    min_positive_folds: float = Field(
        0.75, ge=0.75, le=1, description="share of folds with a positive rank correlation"
    )
    min_entries: int = Field(30, ge=30, description="candidates of the holdout that it enters")
    min_tokens: int = Field(10, ge=10, description="tokens of the holdout that it enters")
    linear_margin: float = Field(
        0.01,
        ge=0,
        le=0.01,
        description="return per stake that it may earn less than a linear model",
    )
    harm_margin: float = Field(
        0.01, ge=0, le=0.01, description="return per stake that it may earn less than the incumbent"
    )
    drawdown_margin: float = Field(
        0.25, ge=0, le=0.25, description="stakes of an average day that its drawdown may be deeper"
    )
    tail_margin: float = Field(
        0.05, ge=0, le=0.05, description="by which the mean of its worst 5 % may be lower"
    )
    max_calibration_error: float = Field(
        0.1, gt=0, le=0.1, description="expected calibration error over tenths of the confidence"
    )
    max_overfitting: float = Field(
        0.5, gt=0, le=0.5, description="probability of backtest overfitting"
    )
    min_deflated_sharpe: float = Field(
        0.95, ge=0.95, lt=1, description="probability that the Sharpe ratio is above luck's"
    )
    max_feature_share: float = Field(
        0.6, gt=0, le=0.6, description="of the contributions, by one feature"
    )
