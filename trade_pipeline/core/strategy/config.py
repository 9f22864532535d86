"""Every setting of the strategy, typed, with the specification's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from trade_pipeline.core.extensions.load import class_of
from trade_pipeline.core.extensions.strategy import Strategy

RULES = "strategy.rules"


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class UniverseConfig(_Settings):
    """Which tokens are candidates at all."""

    min_market_cap_usd: float = Field(100_000, ge=0, description="smallest market cap, USD")
    max_market_cap_usd: float = Field(50_000_000, gt=0, description="largest market cap, USD")
    min_volume_24h_usd: float = Field(100_000, ge=0, description="volume of the last 24 h, USD")
    min_liquidity_usd: float = Field(
        20_000, ge=0, description="both sides of a pool, USD; an exchange states none"
    )
    pool_interval_minutes: int = Field(
        30, gt=0, description="a pool's token is evaluated at most once in this time"
    )
    bar_interval_minutes: int = Field(360, gt=0, description="the same for a pair on hourly bars")

    @model_validator(mode="after")
    def _ordered(self) -> UniverseConfig:
        if self.max_market_cap_usd <= self.min_market_cap_usd:
            raise ValueError(
                f"max_market_cap_usd={self.max_market_cap_usd:g}: must be above "
                f"min_market_cap_usd={self.min_market_cap_usd:g}"
            )
        return self


class SignalConfig(_Settings):
    """What makes a candidate worth a trade."""

    max_rug_risk: float = Field(0.6, ge=0, le=1, description="highest combined rug-pull risk")
    min_confidence: float = Field(
        0.55, ge=0, le=1, description="lowest confidence of the heuristic"
    )
    min_move_24h: float = Field(
        0.05, ge=0, description="smallest absolute price move of 24 h, as a fraction"
    )


class SizingConfig(_Settings):
    """Adaptive position size."""

    max_positions: int = Field(5, ge=1, description="open positions at the same time")
    max_fraction: float = Field(0.2, gt=0, le=1, description="of the equity in one position")
    max_impact: float = Field(
        0.01, gt=0, lt=1, description="own price impact of the entry, as a fraction"
    )
    min_stake_usd: float = Field(20, gt=0, description="smaller positions are not opened, USD")
    target_volatility: float = Field(
        0.15, gt=0, description="hourly volatility up to which the full fraction is used"
    )


class ExitConfig(_Settings):
    """When a position is closed."""

    stop_loss: float = Field(0.15, gt=0, lt=1, description="loss as a fraction of the entry")
    profit_target: float = Field(0.30, gt=0, description="profit as a fraction of the entry")
    max_hold_hours: float = Field(48, gt=0, description="longest time in the market")
    rug_liquidity_drop: float = Field(
        0.25, gt=0, le=1, description="fraction of the entry's liquidity removed: emergency exit"
    )
    sell_attempts: int = Field(
        5, ge=1, description="sales in a row that sell nothing, until a position is written off"
    )
    retry_minutes: float = Field(10, gt=0, description="wait after a failed sale")


class ProtectionConfig(_Settings):
    """What stops new entries.  Exits are never stopped."""

    daily_loss_limit: float = Field(
        0.15, gt=0, le=1, description="of the equity at the day's start (UTC)"
    )
    max_drawdown: float = Field(0.35, gt=0, le=1, description="from the highest equity")
    drawdown_pause_hours: float = Field(
        24, gt=0, description="pause after it; the peak starts anew then"
    )
    cooldown_hours: float = Field(
        6, ge=0, description="no new entry into a token after its stop or rug exit"
    )


class StrategyConfig(_Settings):
    """High volatility, low cap: all numbers, with the specification's defaults."""

    small_fund_usd: float = Field(1_000, gt=0, description="what the strategy may risk, USD")
    universe: UniverseConfig = UniverseConfig()
    signal: SignalConfig = SignalConfig()
    sizing: SizingConfig = SizingConfig()
    exits: ExitConfig = ExitConfig()
    protections: ProtectionConfig = ProtectionConfig()
    # Without own rules neither is part of the canonical form: older settings keep their address.
    rules: str | None = Field(
        None,
        description="own rules beside these, module:Class; see docs/extending.md",
        exclude_if=lambda rules: rules is None,
    )
    rule_settings: dict[str, bool | int | float | str] = Field(
        {},
        description="settings of the own rules by name",
        exclude_if=lambda settings: not settings,
    )

    @model_validator(mode="before")
    @classmethod
    def _with_what_the_rules_bring(cls, given: Any) -> Any:
        """Settings that own rules bring stand beneath those that are given.

        Stored settings name all of theirs, and are read without the rules' code.
        """
        if not isinstance(given, Mapping) or not isinstance(given.get("rules"), str):
            return given
        values: dict[str, Any] = dict(given)
        if values.keys() >= cls.model_fields.keys() - {"rule_settings"}:
            return values
        return _above(class_of(values["rules"], Strategy, RULES).config, values)

    @model_validator(mode="after")
    def _settings_of_rules(self) -> StrategyConfig:
        if self.rule_settings and self.rules is None:
            raise ValueError(f"rule_settings={self.rule_settings!r}: there are no rules to set")
        return self


def _above(beneath: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    found = dict(beneath)
    for name, value in given.items():
        below = found.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            found[name] = _above(below, value)
        else:
            found[name] = value
    return found
