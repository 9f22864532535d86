"""An exchange as venue, seen through hourly bars.

Market orders fill at the next bar's open, resting exits where a bar touches them, the stop before
the target when one bar touches both.  An order takes at most a share of a bar's volume; its price
is worse by half the spread and by a square-root impact of the share it takes (Almgren et al.,
"Direct estimation of equity market impact", 2005, and common practice since).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trade_pipeline.core.execution.venue import Fill, Order, Refusal, Touch
from trade_pipeline.core.market.event import HOUR, Floats, TradeRules
from trade_pipeline.core.market.history import TokenState


class BarConfig(BaseModel):
    """What trading on an exchange costs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    fee: float = Field(0.001, ge=0, lt=1, description="of the value, each way")
    spread: float = Field(0.001, ge=0, lt=1, description="between bid and ask, as a fraction")
    impact_at_full_volume: float = Field(
        0.02, ge=0, lt=1, description="price impact of an order as large as the bar's volume"
    )
    max_participation: float = Field(
        0.05, gt=0, le=1, description="largest share of a bar's volume that an order takes"
    )
    patience_bars: int = Field(
        3, ge=1, description="bars after which the rest of an entry is cancelled"
    )


class BarVenue:
    """Fills inside recorded bars."""

    def __init__(self, config: BarConfig) -> None:
        self._config = config

    def due_at(self, submitted_at: int) -> int | None:
        return None

    def execute(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal | None:
        # Only the bar that touched a resting order fills it at its trigger.  What that bar left, as
        # any order at the market, gets the opens of bars that open after it was sent.
        resting = order.trigger_price is not None and order.fills == order.waited == 0
        moment = at if resting else at - HOUR
        if moment < order.submitted_at:
            return None
        refusal = Refusal(at, "not enough volume within the patience")
        if order.leg == "entry" and order.waited >= self._config.patience_bars:
            return refusal
        price = order.trigger_price if resting and order.trigger_price else state.open_usd
        capacity = self._config.max_participation * state.volume_usd
        fill = self._fill(order, price, capacity, state.volume_usd, moment)
        if fill is None or not fill.complete:
            order.waited += 1
        if fill is None and order.leg == "entry" and order.waited >= self._config.patience_bars:
            return refusal
        return fill

    def liquidate(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal:
        # The rest of a session's positions is valued at the last close, as if it were one order.
        volume = max(state.volume_usd, order.tokens * state.price_usd)
        fill = self._fill(order, state.price_usd, math.inf, volume, at)
        return fill or Refusal(at, "no price")

    def value_usd(self, tokens: float, state: TokenState) -> float:
        return tokens * state.price_usd * (1.0 - self._config.spread / 2)

    def range_usd(self, tokens: float, state: TokenState) -> tuple[float, float]:
        kept = tokens * (1.0 - self._config.spread / 2)
        return kept * state.low_usd, kept * state.high_usd

    def touched(self, tokens: float, state: TokenState, stop: float, target: float) -> Touch | None:
        # Barriers are executable prices; the bar's prices stand in the middle of the spread.
        kept = 1.0 - self._config.spread / 2
        stop, target = stop / kept, target / kept
        if state.low_usd <= stop:
            return Touch("stop", min(stop, state.open_usd))
        if state.high_usd >= target:
            return Touch("target", max(target, state.open_usd))
        return None

    def affordable_usd(self, cash_usd: float) -> float:
        return max(0.0, cash_usd / (1.0 + self._config.fee))

    def expected_costs(
        self, stake_usd: float, max_impact: float, known: Mapping[str, Floats]
    ) -> dict[str, Floats]:
        config, volume = self._config, known["volume_1h_usd"]
        share = stake_usd / np.where(volume > 0, volume, np.nan)
        impact = config.impact_at_full_volume * np.sqrt(np.minimum(1.0, share))
        return {
            "stake_to_depth": share / config.max_participation,
            "expected_impact": impact,
            "expected_cost": 2 * (config.fee + config.spread / 2 + impact),
        }

    def impact_capacity_usd(self, state: TokenState, max_impact: float) -> float | None:
        return self._config.max_participation * state.volume_usd

    def _fill(
        self, order: Order, price: float, capacity_usd: float, volume_usd: float, at: int
    ) -> Fill | None:
        buying = order.leg == "entry"
        wanted = order.stake_usd if buying else order.tokens * price
        value = min(wanted, capacity_usd)
        if value <= 0 or not math.isfinite(price):
            return None
        config = self._config
        impact = config.impact_at_full_volume * math.sqrt(min(1.0, value / volume_usd))
        worse = config.spread / 2 + impact
        effective = price * (1.0 + worse) if buying else price * (1.0 - worse)
        # A buyer spends the value, a seller sells tokens worth the value at the middle price.
        tokens = value / effective if buying else min(order.tokens, value / price)
        got = tokens * effective
        return Fill(
            at=at,
            price=effective,
            tokens=tokens,
            value_usd=got,
            costs_usd={"exchange_fee": got * config.fee},
            inside_usd={
                "spread": tokens * price * config.spread / 2,
                "impact": tokens * price * impact,
            },
            impact=impact,
            complete=value >= wanted,
        )
