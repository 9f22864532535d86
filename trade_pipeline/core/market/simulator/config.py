"""The settings of the simulated market.

The defaults are calibrated to the unselected pools of a recorded Uniswap V2 tape; how, and how
well, is told in `trade_pipeline.core.market.calibration`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros, moment_of


class Fate(StrEnum):
    """What becomes of a token.  Only the simulator knows it in advance."""

    HONEST = "honest"
    PUMP_AND_DUMP = "pump_and_dump"
    SLOW_RUG = "slow_rug"
    HARD_RUG = "hard_rug"
    HONEYPOT = "honeypot"


def _setting(default: float, description: str, unit: str, low: float, high: float) -> Any:
    """A number with its meaning, its unit and its bounds (both included)."""
    return Field(
        default, description=description, ge=low, le=high, json_schema_extra={"unit": unit}
    )


# One moment has one canonical form, whatever zone it was given in.
_Moment = Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]


def _moment(description: str) -> Any:
    """A moment that may be unset.

    Unset it is no part of the canonical form, so that settings from before it was there keep their
    address.
    """
    return Field(
        None,
        description=description,
        exclude_if=lambda moment: moment is None,
        json_schema_extra={"unit": "moment"},
    )


class SimulatorConfig(BaseModel):
    """How the simulated market behaves.  Unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: _Moment | None = _moment(
        "When the market begins for every session on it; unset: each session has a market of its "
        "own, which begins and ends with it."
    )
    end: _Moment | None = _moment("When that market ends; set together with `start`.")

    regime_change_at: _Moment | None = _moment(
        "Tokens born from then on no longer look like what they are: scammers lock or burn their "
        "liquidity, verify their contracts and spread their holdings, honest projects grow "
        "careless. What becomes of tokens and their prices stays as it is. Unset: never."
    )
    regime_strength: float = Field(
        1.0,
        ge=0,
        le=1,
        description="How far that turns what traits tell of the fate: 0 not at all, 0.5 they tell "
        "nothing, 1 the opposite.",
        # As for the moments: the default is no part of the canonical form.
        exclude_if=lambda strength: strength == 1.0,
        json_schema_extra={"unit": "share"},
    )

    pools_per_day: float = _setting(34.0, "New pools a day (Poisson).", "pools/day", 0.1, 10_000)
    burn_in_days: float = _setting(
        10.0, "How long before `start` the first pool may be born.", "days", 1, 90
    )

    honest_share: float = _setting(0.16, "Pools with an honest token.", "share", 0, 1)
    pump_and_dump_share: float = _setting(0.16, "Pools that insiders pump.", "share", 0, 1)
    slow_rug_share: float = _setting(0.09, "Pools drained in steps.", "share", 0, 1)
    hard_rug_share: float = _setting(0.40, "Pools drained at once.", "share", 0, 1)
    honeypot_share: float = _setting(0.19, "Tokens that stop others' sells.", "share", 0, 1)

    quote_usd: float = _setting(3_300.0, "Quote token's price at first.", "USD", 1e-6, 1e9)
    quote_volatility: float = _setting(
        0.015, "Volatility of the quote token's price.", "log return per sqrt(hour)", 0, 0.5
    )

    liquidity_usd_median: float = _setting(
        24_000.0, "Liquidity (both sides) with which a pool starts.", "USD", 100, 1e9
    )
    liquidity_sigma: float = _setting(1.15, "Its spread, as a lognormal sigma.", "log", 0, 4)
    large_pool_share: float = _setting(0.17, "Pools that start much larger.", "share", 0, 1)
    large_pool_factor: float = _setting(16.0, "How much larger those start.", "ratio", 1, 1_000)

    trades_median: float = _setting(
        150.0, "Trades in the life of a pool that is not drained at once.", "trades", 1, 1e6
    )
    trades_sigma: float = _setting(1.75, "Their spread, as a lognormal sigma.", "log", 0, 3)
    rug_trades_median: float = _setting(
        24.0, "Trades in a pool that is drained at once after 10 hours.", "trades", 1, 1e6
    )
    rug_trades_sigma: float = _setting(1.0, "Their spread, as a lognormal sigma.", "log", 0, 3)
    trades_max: int = Field(
        10_000,
        description="Most trades in the life of one pool.",
        ge=1,
        le=1_000_000,
        json_schema_extra={"unit": "trades"},
    )

    life_hours_median: float = _setting(
        120.0, "Time until trading ends by itself.", "hours", 0.1, 10_000
    )
    life_sigma: float = _setting(1.8, "Its spread, as a lognormal sigma.", "log", 0, 3)
    life_days_max: float = _setting(45.0, "Longest life of a pool.", "days", 0.1, 365)
    early_activity: float = _setting(
        3.0, "Power by which trading gathers early in a life; 1 is even.", "power", 1, 10
    )
    burst_share: float = _setting(0.5, "Trades that come in bursts.", "share", 0, 1)

    quick_rug_share: float = _setting(
        0.42, "Drained pools that were made for it: drained within hours.", "share", 0, 1
    )
    quick_rug_hours_median: float = _setting(
        0.32, "Age at which those are drained.", "hours", 0.01, 100
    )
    quick_rug_sigma: float = _setting(1.0, "Its spread, as a lognormal sigma.", "log", 0, 3)
    late_rug_hours_median: float = _setting(
        38.0, "Age at which the other drained pools are drained.", "hours", 0.1, 10_000
    )
    late_rug_sigma: float = _setting(1.05, "Its spread, as a lognormal sigma.", "log", 0, 3)

    trade_size_median: float = _setting(
        0.020,
        "Trade size in a pool of median liquidity and 100 trades.",
        "share of the reserve",
        1e-5,
        0.5,
    )
    trade_size_sigma: float = _setting(1.1, "Its spread, as a lognormal sigma.", "log", 0, 3)
    trade_size_elasticity: float = _setting(
        -0.3, "By which power of its liquidity trades in a pool differ.", "power", -1, 0
    )
    liquidity_event_share: float = _setting(
        0.025, "Events in which others add or remove liquidity.", "share", 0, 0.1
    )
    promotion_gain_median: float = _setting(
        30.0, "Price at the height of the promotion over the first price.", "ratio", 1, 1_000
    )
    fair_volatility: float = _setting(
        0.08, "Volatility of what traders think a token is worth.", "log per sqrt(hour)", 0, 2
    )

    unknown_supply_share: float = _setting(
        0.51, "Tokens whose total supply is unknown.", "share", 0, 1
    )
    tax_share: float = _setting(0.25, "Tokens that tax trades.", "share", 0, 1)
    trait_noise: float = _setting(
        0.25, "How little traits tell of the fate: 0 much, 1 nothing.", "share", 0, 1
    )
    missing_share: float = _setting(0.15, "Traits that no scanner reports.", "share", 0, 1)
    sentiment_missing_share: float = _setting(
        0.3, "Tokens that a sentiment source does not cover.", "share", 0, 1
    )
    scan_minutes: float = _setting(
        15.0, "Time between two scans of a token, from its birth.", "minutes", 1, 1_440
    )

    def fate_shares(self) -> dict[Fate, float]:
        """The share of each fate."""
        return {fate: float(getattr(self, f"{fate.value}_share")) for fate in Fate}

    def range_for(self, start: int, end: int) -> tuple[int, int]:
        """From when to when the market of a session is alive, microseconds since 1970-01-01 UTC.

        Args:
            start, end: the session's range.

        Raises:
            BadConfig: the session's range is not inside the market's.
        """
        if self.start is None or self.end is None:
            return start, end
        first, last = micros(self.start), micros(self.end)
        for name, moment in (("start", start), ("end", end)):
            if not first <= moment <= last:
                raise BadConfig(
                    f"{name}={_text(moment_of(moment))}: outside of simulator.start="
                    f"{_text(self.start)} to simulator.end={_text(self.end)}"
                )
        return first, last

    @model_validator(mode="after")
    def _range_is_whole(self) -> Self:
        if (self.start is None) != (self.end is None):
            missing, given = ("start", "end") if self.start is None else ("end", "start")
            raise ValueError(f"{missing}: expected together with {given}={getattr(self, given)}")
        if self.start is not None and self.end is not None and self.end <= self.start:
            raise ValueError(f"end={_text(self.end)}: must be after start={_text(self.start)}")
        return self

    @model_validator(mode="after")
    def _shares_add_up(self) -> Self:
        total = sum(self.fate_shares().values())
        if abs(total - 1.0) > 1e-6:
            names = ", ".join(f"{fate.value}_share" for fate in Fate)
            raise ValueError(f"{names}: expected a sum of 1, got {total:.6g}")
        return self


def _text(moment: datetime) -> str:
    return moment.isoformat()
