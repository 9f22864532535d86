"""Every setting of a dataset; the dataset's version covers all of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import AwareDatetime, Field, model_validator

from trade_pipeline.core.config import Config


class DatasetConfig(Config):
    """Which decisions make a dataset, what is learned from them, and how they are split."""

    CALLED: ClassVar[str] = "dataset"

    name: str = Field(
        "trades", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="what people call the dataset"
    )
    label: Literal["shadow", "realised"] = Field(
        "shadow", description="whose result is learned; the two are never mixed"
    )
    rug_return: float = Field(
        -0.8, ge=-1, lt=0, description="a return at or below it counts as a rug, as a fraction"
    )
    train_fraction: float = Field(0.6, gt=0, lt=1, description="of the decisions' moments")
    validation_fraction: float = Field(0.2, gt=0, lt=1, description="the same, after those")
    test_fraction: float = Field(0.2, gt=0, lt=1, description="the same, the newest")
    embargo_hours: float = Field(
        48, ge=0, description="from the end of a split's last label to the next split's decisions"
    )
    max_features: int = Field(50, ge=1, description="features that are selected at most")
    kinds_mixed: bool = Field(
        False, description="whether simulated, recorded and live decisions may stand together"
    )
    exclude_not_filled: bool = Field(
        False, description="whether decisions whose entry was refused are left out"
    )
    start: AwareDatetime | None = Field(None, description="first moment of a decision")
    end: AwareDatetime | None = Field(None, description="decisions are earlier than this")
    known_until: AwareDatetime | None = Field(
        None,
        description="a result that ended later is not known yet; set `end` as much earlier as "
        "trades last, or what ends quickly is learned from more often",
        # Unset it is no part of the canonical form: older datasets keep their version.
        exclude_if=lambda moment: moment is None,
    )

    @model_validator(mode="after")
    def _consistent(self) -> DatasetConfig:
        fractions = (self.train_fraction, self.validation_fraction, self.test_fraction)
        if abs(sum(fractions) - 1) > 1e-9:
            raise ValueError(
                f"train_fraction, validation_fraction, test_fraction={fractions}: must sum to 1"
            )
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"end={self.end.isoformat()}: must be after start={self.start}")
        return self
