"""An automated market maker as venue: the constant product of a pool's reserves.

Source: Uniswap V2 Core (Adams, Zinsmeister, Robinson 2020), section 3.2:
``out = y * dx * (1 - f) / (x + dx * (1 - f))``.  An order reaches the chain some blocks after it
was sent and gets what the reserves then give.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from trade_pipeline.core.execution.venue import Fill, Order, Refusal, Touch
from trade_pipeline.core.market.event import Floats, TradeRules
from trade_pipeline.core.market.history import TokenState

N = TypeVar("N", float, Floats)


class AmmConfig(BaseModel):
    """What trading on a pool costs besides the reserves."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    pool_fee: float = Field(0.003, ge=0, lt=1, description="fraction of the input")
    gas_usd: float = Field(
        1.0,
        ge=0,
        description="USD per transaction, also for failed ones; Ethereum in 2021 took 10-60",
    )
    block_seconds: float = Field(13.2, gt=0, description="mean time between blocks")
    block_delay: int = Field(1, ge=0, description="blocks from sending to execution")
    max_slippage: float = Field(
        0.05, gt=0, lt=1, description="an entry fails when it would get this much less than quoted"
    )
    failure_rate: float = Field(
        0.01, ge=0, lt=1, description="share of transactions that fail for other reasons"
    )
    expected_tax: float = Field(
        0.0, ge=0, lt=1, description="tax on sales that marks assume where the tax is unknown"
    )


def swap_output(amount_in: float, reserve_in: N, reserve_out: N, fee: float) -> N:
    """Constant-product output for an input; reserves before the swap, all in the same units."""
    taken = amount_in * (1.0 - fee)
    return reserve_out * taken / (reserve_in + taken)


class AmmVenue:
    """Swaps against the reserves of a pool; the pool itself is not moved (the tape is recorded)."""

    def __init__(self, config: AmmConfig) -> None:
        self._config = config
        self._gas = {"gas": config.gas_usd}

    def due_at(self, submitted_at: int) -> int | None:
        config = self._config
        return submitted_at + round(config.block_delay * config.block_seconds * 1_000_000)

    def execute(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal | None:
        if self._fails(order.order_id):
            return Refusal(at, "transaction failed", self._gas)
        if not _tradable(state):
            return Refusal(at, "the pool is empty", self._gas)
        if order.leg == "entry":
            return self._buy(order, state, at, rules)
        return self._sell(order, state, at, rules)

    def liquidate(
        self, order: Order, state: TokenState, at: int, rules: TradeRules
    ) -> Fill | Refusal:
        if not _tradable(state):
            return Refusal(at, "the pool is empty", self._gas)
        return self._sell(order, state, at, rules)

    def value_usd(self, tokens: float, state: TokenState) -> float:
        if not _tradable(state):
            return 0.0
        kept = tokens * (1.0 - self._config.expected_tax)
        quote = swap_output(kept, state.reserve_token, state.reserve_quote, self._config.pool_fee)
        return quote * state.quote_usd

    def values_usd(
        self, tokens: float, reserve_token: Floats, reserve_quote: Floats, quote_usd: Floats
    ) -> Floats:
        """`value_usd` at many states, to the bit."""
        kept = tokens * (1.0 - self._config.expected_tax)
        tradable = (reserve_quote > 0) & (reserve_token > 0)
        with np.errstate(all="ignore"):
            quote = swap_output(kept, reserve_token, reserve_quote, self._config.pool_fee)
            return np.where(tradable, quote * quote_usd, 0.0)

    def range_usd(self, tokens: float, state: TokenState) -> tuple[float, float]:
        value = self.value_usd(tokens, state)
        return value, value

    def touched(self, tokens: float, state: TokenState, stop: float, target: float) -> Touch | None:
        price = self.value_usd(tokens, state) / tokens
        if price <= stop:
            return Touch("stop")
        if price >= target:
            return Touch("target")
        return None

    def affordable_usd(self, cash_usd: float) -> float:
        return max(0.0, cash_usd - self._config.gas_usd)

    def expected_costs(
        self, stake_usd: float, max_impact: float, known: Mapping[str, Floats]
    ) -> dict[str, Floats]:
        # One side of the pool; the mean price paid exceeds the spot price by the stake's share.
        depth = 0.5 * known["liquidity_usd"]
        impact = stake_usd / np.where(depth > 0, depth, np.nan)
        config = self._config
        return {
            "stake_to_depth": impact / max_impact,
            "expected_impact": impact,
            "expected_cost": 2 * (config.pool_fee + impact + config.gas_usd / stake_usd),
        }

    def impact_capacity_usd(self, state: TokenState, max_impact: float) -> float | None:
        # The mean price paid exceeds the spot price by dx / x, so that is the stake's bound.
        return max_impact * state.reserve_quote * state.quote_usd

    def _buy(self, order: Order, state: TokenState, at: int, rules: TradeRules) -> Fill | Refusal:
        fee = self._config.pool_fee
        quote_in = order.stake_usd / state.quote_usd
        out = swap_output(quote_in, state.reserve_quote, state.reserve_token, fee)
        quoted = order.stake_usd * (1.0 - fee) / order.decision_price
        if out < quoted * (1.0 - self._config.max_slippage):
            return Refusal(at, "the price left the slippage limit", self._gas)
        spot = state.reserve_quote / state.reserve_token * state.quote_usd
        tokens = out * (1.0 - rules.buy_tax)
        if tokens <= 0:
            return Refusal(at, "the contract kept every token", self._gas)
        stake = order.stake_usd
        return Fill(
            at=at,
            price=stake / tokens,
            tokens=tokens,
            value_usd=stake,
            costs_usd=self._gas,
            inside_usd={
                "pool_fee": stake * fee,
                "impact": stake * (1.0 - fee) - out * spot,
                "tax": (out - tokens) * spot,
            },
            impact=1.0 - out * spot / (stake * (1.0 - fee)),
            complete=True,
        )

    def _sell(self, order: Order, state: TokenState, at: int, rules: TradeRules) -> Fill | Refusal:
        if rules.sells_blocked_from is not None and at >= rules.sells_blocked_from:
            return Refusal(at, "the contract refused the sale", self._gas)
        fee = self._config.pool_fee
        arriving = order.tokens * (1.0 - rules.sell_tax)
        quote_out = swap_output(arriving, state.reserve_token, state.reserve_quote, fee)
        value = quote_out * state.quote_usd
        if value <= 0 or not math.isfinite(value):
            return Refusal(at, "the sale would fetch nothing", self._gas)
        spot_value = order.tokens * state.reserve_quote / state.reserve_token * state.quote_usd
        arriving_value = spot_value * (1.0 - rules.sell_tax)
        return Fill(
            at=at,
            price=value / order.tokens,
            tokens=order.tokens,
            value_usd=value,
            costs_usd=self._gas,
            inside_usd={
                "pool_fee": arriving_value * fee,
                "impact": arriving_value * (1.0 - fee) - value,
                "tax": spot_value - arriving_value,
            },
            impact=1.0 - value / (arriving_value * (1.0 - fee)),
            complete=True,
        )

    def _fails(self, order_id: str) -> bool:
        # Drawn from the order's id: the same order meets the same fate in every replay.
        drawn = int.from_bytes(hashlib.sha256(f"failure\0{order_id}".encode()).digest()[:8], "big")
        return drawn < self._config.failure_rate * 2**64


def _tradable(state: TokenState) -> bool:
    return state.reserve_quote > 0 and state.reserve_token > 0
