"""Every setting of a training; the model's record holds them."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from trade_pipeline.core.config import Config


class TrainingConfig(Config):
    """How a model is searched and fitted.  What it must show is in `GateConfig`."""

    CALLED: ClassVar[str] = "training"

    name: str = Field(
        "trade-model", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="what people call the model"
    )
    seed: int = Field(7, ge=0, description="of the search and of the trees")
    estimator: str | None = Field(
        None, description="an own estimator, module:Class, instead of trees; see docs/extending.md"
    )
    trials: int = Field(
        10, ge=2, description="hyper-parameter settings that are tried; an own estimator names its"
    )
    folds: int = Field(4, ge=3, description="of the purged cross-validation inside training")
    embargo_hours: float = Field(48, ge=0, description="after a fold's last label")
    recency_half_life_days: float = Field(
        180, gt=0, description="a decision that is older by this weighs half"
    )
