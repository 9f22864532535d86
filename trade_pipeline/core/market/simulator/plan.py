"""What will become of a pool: everything about it that no trade changes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.market.simulator.config import Fate, SimulatorConfig

BLOCK = 13_000_000
"""Microseconds between two blocks."""

GAIN_FACTOR = {
    Fate.HONEST: 0.8,
    Fate.PUMP_AND_DUMP: 1.8,
    Fate.SLOW_RUG: 1.1,
    Fate.HARD_RUG: 0.9,
    Fate.HONEYPOT: 1.0,
}
"""A fate's promotion, as a factor on the usual gain."""


def block_time(moment: float) -> int:
    """The time of the block into which a moment falls."""
    return int(moment) // BLOCK * BLOCK


POOL_SHARES = (
    (0.12, 1e-6, 3e-3),
    (0.10, 3e-3, 0.15),
    (0.28, 0.15, 0.5),
    (0.25, 0.5, 0.92),
    (0.25, 0.92, 1.0),
)
"""Which part of the supply goes into the pool: probability, then a range (even in logs)."""


@dataclass(frozen=True, slots=True)
class PoolPlan:
    """A pool's hidden truth.

    Attributes:
        number: the pool's index in the market.
        fate: what becomes of it.
        created_at: block time of the first liquidity, microseconds.
        life: time from creation to the last event at the latest, microseconds.
        quote_reserve, token_reserve: the first liquidity, whole units.
        supply: all tokens there are; ``supply_known`` says whether the tape knows the number.
        developer_tokens: what the developer holds outside the pool.
        outside_tokens: what others hold when the pool opens (a presale, an airdrop).
        liquidity_share: share of events in which others add or remove liquidity.
        trades: how many trades are tried.
        trade_size: median trade as a share of the reserve.
        gain: how far the promotion drives the price, as a ratio.
        promotion: how long the promotion lasts, microseconds.
        fall: how much of the gain (in logs) is lost after the promotion.
        fall_time: how fast that goes, microseconds to 63 %.
        exit_at: age at which the developer begins to take the money, microseconds; None is never.
        drained: whether it takes nearly all liquidity in one event.
        blocked_at: age from which only the developer can sell, microseconds.
        buy_tax, sell_tax: fraction of the tokens that the contract keeps.
    """

    number: int
    fate: Fate
    created_at: int
    life: int
    quote_reserve: float
    token_reserve: float
    supply: float
    supply_known: bool
    developer_tokens: float
    outside_tokens: float
    liquidity_share: float
    trades: int
    trade_size: float
    gain: float
    promotion: int
    fall: float
    fall_time: int
    exit_at: int | None
    drained: bool
    blocked_at: int | None
    buy_tax: float
    sell_tax: float


def draw_plan(
    config: SimulatorConfig,
    rng: np.random.Generator,
    number: int,
    created_at: int,
    quote_usd: float,
) -> PoolPlan:
    """Draws a pool's fate and what belongs to it from the pool's own random stream."""

    def around(median: float, sigma: float) -> float:
        return median * math.exp(sigma * float(rng.standard_normal()))

    def between(low: float, high: float) -> float:
        return low + (high - low) * float(rng.random())

    def happens(probability: float) -> bool:
        return float(rng.random()) < probability

    fate = _draw_fate(config, float(rng.random()))

    liquidity = around(config.liquidity_usd_median, config.liquidity_sigma)
    if happens(config.large_pool_share):
        liquidity *= config.large_pool_factor
    supply = 10.0 ** round(between(6, 15))
    pool_share = _draw_pool_share(rng)
    developer_share = (1 - pool_share) * between(0.05, 0.9 if fate is Fate.HONEST else 1.0)
    drained = fate is Fate.HARD_RUG or (fate is Fate.HONEYPOT and happens(0.85))
    if drained:
        quick = happens(config.quick_rug_share)
        hours = (
            around(config.quick_rug_hours_median, config.quick_rug_sigma)
            if quick
            else around(config.late_rug_hours_median, config.late_rug_sigma)
        )
        trades = around(config.rug_trades_median, config.rug_trades_sigma) * (hours / 10) ** 0.15
    else:
        hours = around(config.life_hours_median, config.life_sigma)
        trades = around(config.trades_median, config.trades_sigma)
    hours = min(max(hours, 0.02), config.life_days_max * 24)
    # Trades are smaller shares of larger and of busier pools; large pools also rise less.
    relative = liquidity / config.liquidity_usd_median
    size = around(config.trade_size_median, 0.6) * relative**config.trade_size_elasticity
    size *= min(max(trades, 20.0) / 100, 100.0) ** -0.17
    gain = around(config.promotion_gain_median * GAIN_FACTOR[fate], 0.8) * relative**-0.2

    promotion = hours * between(0.03, 0.3)
    exit_hours = None
    if drained:
        exit_hours, promotion = hours, hours * between(0.5, 1.2)
    elif fate is Fate.PUMP_AND_DUMP:
        exit_hours = promotion * between(0.7, 1.1)
    elif fate is Fate.SLOW_RUG:
        exit_hours = hours * between(0.3, 0.7)

    blocked_hours = None
    if fate is Fate.HONEYPOT:
        trades *= 2  # Half of them are sells that will fail.
        blocked_hours = 0.0 if happens(0.7) else hours * between(0.02, 0.4)
    buy_tax, sell_tax = 0.0, 0.0
    if happens(config.tax_share):
        scam = fate is not Fate.HONEST
        buy_tax = round(between(0.01, 0.12 if scam else 0.05), 2)
        sell_tax = round(between(0.01, 0.25 if scam else 0.06), 2)

    return PoolPlan(
        number=number,
        fate=fate,
        created_at=created_at,
        life=int(hours * HOUR),
        quote_reserve=liquidity / 2 / quote_usd,
        token_reserve=supply * pool_share,
        supply=supply,
        supply_known=not happens(config.unknown_supply_share),
        developer_tokens=supply * developer_share,
        outside_tokens=supply * max(0.0, 1 - pool_share - developer_share),
        liquidity_share=4 * config.liquidity_event_share if happens(0.25) else 0.0,
        trades=max(1, min(int(trades), config.trades_max)),
        trade_size=min(size, 0.2),
        gain=max(1.0, gain),
        promotion=max(1, int(promotion * HOUR)),
        fall=between(0.7, 1.4) if fate is Fate.PUMP_AND_DUMP else between(-0.1, 1.1),
        fall_time=max(1, int(hours * between(0.05, 0.4) * HOUR)),
        exit_at=None if exit_hours is None else int(exit_hours * HOUR),
        drained=drained,
        blocked_at=None if blocked_hours is None else int(blocked_hours * HOUR),
        buy_tax=buy_tax,
        sell_tax=sell_tax,
    )


def _draw_fate(config: SimulatorConfig, uniform: float) -> Fate:
    total = 0.0
    possible = [(fate, share) for fate, share in config.fate_shares().items() if share > 0]
    for fate, share in possible:
        total += share
        if uniform < total:
            return fate
    return possible[-1][0]


def _draw_pool_share(rng: np.random.Generator) -> float:
    """Which part of the supply goes into the pool: see `POOL_SHARES`."""
    kind, uniform = rng.random(2).tolist()
    for probability, low, high in POOL_SHARES:
        if kind < probability:
            return float(low * (high / low) ** uniform)
        kind -= probability
    return 1.0
