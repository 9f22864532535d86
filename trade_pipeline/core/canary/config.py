"""What a canary must show before it decides everything."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from trade_pipeline.core.config import Config
from trade_pipeline.core.strategy.traffic import SHARES, Traffic, require_step


class CanaryConfig(Config):
    """Limits of a canary.  Those that keep money safe can only be made stricter."""

    CALLED: ClassVar[str] = "canary"

    share: float = Field(
        SHARES[0], description="of the token windows that it decides, and of the fund: see Traffic"
    )
    window_hours: int = Field(48, gt=0, description="how long a token stays in the arm it drew")
    block_hours: int = Field(
        24,
        ge=1,
        le=168,
        description="of a block of decisions; a shorter one than a day only where 95 % of the "
        "labels end within it",
    )
    margin: float = Field(
        0.0225, gt=0, le=0.0225, description="return per unit stake that it may be worse"
    )
    level: float = Field(0.05, gt=0, le=0.05, description="chance of an error on either side, ever")
    min_hours: int = Field(48, ge=48, description="before it may be promoted")
    min_blocks: int = Field(8, ge=8, description="closed ones, before it may be promoted")
    min_entries: int = Field(
        30, ge=30, description="candidates that it stakes on, before it may be promoted"
    )
    max_days: int = Field(56, ge=1, le=56, description="after which it expires")
    min_power: float = Field(
        0.8,
        ge=0.8,
        lt=1,
        description="chance that one better by the margin is promoted; with less a canary needs an "
        "override to start",
    )

    _is_a_step = field_validator("share")(require_step)

    def traffic(self, model: str, salt: str) -> Traffic:
        """What a session needs to give the canary its part.

        Args:
            salt: of this canary, so that another one draws other tokens.
        """
        return Traffic(model=model, share=self.share, window_hours=self.window_hours, salt=salt)
