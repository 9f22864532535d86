"""The settings of a campaign: weeks of simulated market in which a model comes, decides and falls.

They were found by experiment, so that the whole cycle fits into minutes: short lives give many
tokens and labels that end within hours, and what tokens look like tells enough of their fate for a
model to pass every gate as it is.  No gate and no limit of the canary is weaker for it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from pydantic import AwareDatetime, Field

from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.config import Config
from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.training.config import TrainingConfig

SIMULATOR: dict[str, Any] = {
    # Evidence is counted by token and by day: many tokens make up for few days.
    "pools_per_day": 150,
    "burn_in_days": 1,
    # Every life is cut to 8 hours, so that the next block's tokens are others.
    "life_hours_median": 200,
    "life_sigma": 0.2,
    "life_days_max": 0.33,
    # Two fates make nearly all: honest, and drained around the fourth hour.  So the same sign is
    # deadly before and harmless after: trees see that, a line does not.
    "honest_share": 0.31,
    "hard_rug_share": 0.67,
    "honeypot_share": 0.0,
    "pump_and_dump_share": 0.01,
    "slow_rug_share": 0.01,
    "quick_rug_share": 0.05,
    "late_rug_hours_median": 3.5,
    "late_rug_sigma": 0.13,
    # Both fates trade as often and rise as fast, so that before the end only traits set them apart.
    "trades_median": 110,
    "trades_sigma": 0.4,
    "trades_max": 600,
    "rug_trades_median": 48,
    "rug_trades_sigma": 0.4,
    "early_activity": 1.3,
    "promotion_gain_median": 600,
    # Pools of a kind, small trades and a calm quote token: less noise in a single return.
    "liquidity_usd_median": 80_000,
    "liquidity_sigma": 0.5,
    "large_pool_share": 0.0,
    "trade_size_median": 0.004,
    "trade_size_sigma": 0.8,
    "fair_volatility": 0.015,
    "quote_volatility": 0.003,
    # Scanners that see nearly everything, and contracts without taxes.
    "trait_noise": 0.0,
    "missing_share": 0.03,
    "sentiment_missing_share": 0.1,
    "unknown_supply_share": 0.0,
    "tax_share": 0.05,
}

STRATEGY: dict[str, Any] = {
    # The default stake of 200 USD from a fund of which a tenth, the canary's, still can trade.
    "small_fund_usd": 10_000,
    "sizing": {"max_fraction": 0.02, "min_stake_usd": 5},
    # A token is judged hourly and held for less than half a block, so that labels end in time.
    "universe": {
        "pool_interval_minutes": 60,
        "min_volume_24h_usd": 5_000,
        "min_liquidity_usd": 20_000,
    },
    "exits": {"max_hold_hours": 2.5, "stop_loss": 0.2},
    # Every token here is young and so at risk: who is let in is the model's part.
    "signal": {"max_rug_risk": 0.98, "min_move_24h": 0.0},
}

# A chain on which a stake of 20 USD, the canary's, is worth its transactions.
AMM: dict[str, Any] = {"gas_usd": 0.05}


class CampaignConfig(Config):
    """When a campaign begins, how long its parts last, and the settings of each part."""

    CALLED: ClassVar[str] = "campaign"

    seed: int = Field(7, ge=0, description="of the market and of every session on it")
    start: AwareDatetime = Field(
        datetime(2026, 1, 5, tzinfo=UTC), description="first moment of the market's time"
    )
    learning_days: int = Field(
        42, ge=40, description="in which the heuristic trades, for the first dataset"
    )
    proving_days: int = Field(
        6, ge=4, description="after those, for canary, promotion and a time of good decisions"
    )
    failing_days: int = Field(6, ge=2, description="after the change of regime")
    regime_strength: float = Field(
        1.0, ge=0, le=1, description="how far the change turns what traits tell of the fate"
    )

    @property
    def learned_at(self) -> datetime:
        """The end of the first dataset's decisions."""
        return self.start + timedelta(days=self.learning_days)

    @property
    def regime_change_at(self) -> datetime:
        """From when tokens are born that no longer look like what they are."""
        return self.learned_at + timedelta(days=self.proving_days)

    @property
    def end(self) -> datetime:
        """The last decision is before it."""
        return self.regime_change_at + timedelta(days=self.failing_days)

    def trading(self) -> TradingConfig:
        """The settings of every session; the market goes on for a day after the last decision."""
        market = {
            "start": self.start,
            "end": self.end + timedelta(days=1),
            "regime_change_at": self.regime_change_at,
            "regime_strength": self.regime_strength,
        }
        return TradingConfig.parse(
            {"strategy": STRATEGY, "amm": AMM, "simulator": SIMULATOR | market}
        )

    def dataset(self) -> DatasetConfig:
        """The settings of its datasets: labels end within 3 hours, and the holdout takes 12 days,
        so that the intervals of its gates have days enough.
        """
        return DatasetConfig(
            name="campaign",
            embargo_hours=6,
            train_fraction=0.5,
            validation_fraction=0.2,
            test_fraction=0.3,
        )

    def training(self) -> TrainingConfig:
        """The settings of its trainings: five trials are as many as time allows; with three, one
        market in four gave a model that was not shown to be as good as a line.
        """
        return TrainingConfig(name="campaign", trials=5, embargo_hours=6)

    def canary(self) -> CanaryConfig:
        """The settings of its canaries: 8 blocks of 6 hours are the 48 hours that it needs."""
        return CanaryConfig(block_hours=6)

    def monitoring(self) -> MonitoringConfig:
        """The settings of its monitoring: sequences begin anew every two days, so that good ones do
        not hide what comes after the change.
        """
        return MonitoringConfig(block_hours=6, restart_blocks=8, level=0.2)
