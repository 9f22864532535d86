"""One pool's whole history: who trades when, and what that does to the reserves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import HOUR, Floats, Ints
from trade_pipeline.core.market.simulator.config import Fate, SimulatorConfig
from trade_pipeline.core.market.simulator.plan import BLOCK, PoolPlan

FEE = 0.003
KEPT = 1 - FEE
"""What the pool's fee leaves of a trade's input."""

TRADE, DEVELOPER_SELL, ADD, REMOVE = range(4)

SMALLEST_HOLDING = 0.001
"""Others sell only when they hold at least this share of the pool's token reserve."""


@dataclass(frozen=True, slots=True)
class PoolHistory:
    """What happened in a pool, event by event, its first liquidity first.

    Attributes:
        plan: the pool's hidden truth.
        time: block times, microseconds.
        action: `TRADE`, `DEVELOPER_SELL`, `ADD` or `REMOVE`.
        reserve_quote, reserve_token: the reserves after the event, whole units.
        failed_sells: times of sells that the contract refused; they are not on any tape.
    """

    plan: PoolPlan
    time: Ints
    action: npt.NDArray[np.int8]
    reserve_quote: Floats
    reserve_token: Floats
    failed_sells: Ints


@dataclass(frozen=True, slots=True)
class _Intents:
    """What people mean to do, in order: the columns of a schedule."""

    time: Ints
    action: npt.NDArray[np.int8]
    size: Floats
    uniform: Floats
    fair_price: Floats


def play(config: SimulatorConfig, plan: PoolPlan, rng: np.random.Generator) -> PoolHistory:
    """Plays a pool's life from its own random stream: it depends on nothing else."""
    intents = _intents(config, plan, rng)
    x, y = plan.quote_reserve, plan.token_reserve
    developer, outside = plan.developer_tokens, plan.outside_tokens
    blocked_from = math.inf if plan.blocked_at is None else plan.created_at + plan.blocked_at
    rows: list[int] = []
    quotes, tokens = [x], [y]
    failed: list[int] = []
    columns = zip(
        intents.time.tolist(),
        intents.action.tolist(),
        intents.size.tolist(),
        intents.uniform.tolist(),
        intents.fair_price.tolist(),
        strict=True,
    )
    for row, (time, action, size, uniform, fair) in enumerate(columns):
        if action == TRADE:
            # The dearer a token is against its fair price, the more people sell.
            worth = fair * y
            wants_to_buy = uniform * (worth + x) < worth
            if wants_to_buy or outside < SMALLEST_HOLDING * y:
                paid = size * x
                bought = y * paid * KEPT / (x + paid * KEPT)
                x += paid
                y -= bought
                outside += bought
            elif time >= blocked_from:
                failed.append(time)
                continue
            else:
                sold = min(size * y, outside)
                x -= x * sold * KEPT / (y + sold * KEPT)
                y += sold
                outside -= sold
        elif action == DEVELOPER_SELL:
            # Nobody sells so much at once that nothing is left to receive.
            sold = min(size * developer, 2.0 * y)
            if sold < SMALLEST_HOLDING * y:
                continue
            x -= x * sold * KEPT / (y + sold * KEPT)
            y += sold
            developer -= sold
        else:
            # Added tokens come from somebody who holds them; removed ones can be sold again.
            moved = min(size * y, outside) if action == ADD else -size * y
            if action == ADD and moved < SMALLEST_HOLDING * y:
                continue
            x *= 1 + moved / y
            y += moved
            outside -= moved
        rows.append(row)
        quotes.append(x)
        tokens.append(y)
    return PoolHistory(
        plan=plan,
        time=np.concatenate(([plan.created_at], intents.time[rows])),
        action=np.concatenate((np.array([ADD], np.int8), intents.action[rows])),
        reserve_quote=np.array(quotes),
        reserve_token=np.array(tokens),
        failed_sells=np.array(failed, dtype=np.int64),
    )


def _intents(config: SimulatorConfig, plan: PoolPlan, rng: np.random.Generator) -> _Intents:
    count = plan.trades
    age = _trade_ages(config, plan, rng)
    size = plan.trade_size * np.exp(config.trade_size_sigma * rng.standard_normal(count))
    action = np.full(count, TRADE, dtype=np.int8)
    kind = rng.random(count)
    others = plan.liquidity_share
    action[kind < others] = ADD
    action[kind < 0.15 * others] = REMOVE
    size[action == REMOVE] *= 0.3
    exit_age, exit_action, exit_size = _developer_exit(plan, rng)
    age = np.concatenate((age, exit_age))
    action = np.concatenate((action, exit_action))
    size = np.concatenate((np.minimum(size, 0.4), exit_size))
    order = np.argsort(age, kind="stable")
    age = age[order]
    time = (plan.created_at + age).astype(np.int64) // BLOCK * BLOCK
    # Rounded to 24 bits, so that processors that differ in the last bit of exp() agree.
    return _Intents(
        time=time,
        action=action[order],
        size=_rounded(size[order]),
        uniform=rng.random(count + len(exit_age))[order],
        fair_price=_rounded(_fair_price(config, plan, age, rng)),
    )


def _rounded(values: Floats) -> Floats:
    return values.astype(np.float32).astype(np.float64)


def _trade_ages(config: SimulatorConfig, plan: PoolPlan, rng: np.random.Generator) -> Floats:
    """When trades come, as ages in microseconds: early in life, and half of them in bursts."""
    count = plan.trades
    power = config.early_activity
    age = rng.random(count) ** power
    bursts = rng.random(1 + count // 25) ** power
    near = bursts[(rng.random(count) * len(bursts)).astype(np.int64)] * plan.life
    near += rng.exponential(min(HOUR / 4, plan.life / 20), count)
    inside = near < plan.life
    in_burst = (rng.random(count) < config.burst_share) & inside
    return np.where(in_burst, near, age * plan.life)


def _developer_exit(
    plan: PoolPlan, rng: np.random.Generator
) -> tuple[Floats, npt.NDArray[np.int8], Floats]:
    """The developer's own events: ages, actions and sizes."""
    if plan.exit_at is None:
        return np.empty(0), np.empty(0, np.int8), np.empty(0)
    left = float(10 ** -rng.uniform(1.5, 4.0))
    if plan.drained:
        steps = int(rng.integers(0, 4)) if plan.fate is Fate.HONEYPOT else 0
        age = np.append(rng.random(steps) * plan.exit_at, float(plan.exit_at))
        action = np.append(np.full(steps, DEVELOPER_SELL, np.int8), np.int8(REMOVE))
        return age, action, np.append(rng.uniform(0.02, 0.15, steps), 1 - left)
    steps = int(rng.integers(5, 14))
    window = (plan.life - plan.exit_at) * float(rng.uniform(0.1, 0.6))
    age = plan.exit_at + np.sort(rng.random(steps)) * window
    if plan.fate is Fate.PUMP_AND_DUMP or plan.developer_tokens > plan.token_reserve:
        return age, np.full(steps, DEVELOPER_SELL, np.int8), rng.uniform(0.1, 0.4, steps)
    return age, np.full(steps, REMOVE, np.int8), rng.uniform(0.15, 0.5, steps)


def promotion_level(plan: PoolPlan, age: Floats) -> Floats:
    """How far the promotion has come at some ages: 0 to 1, then back as far as the token falls."""
    rise = np.sqrt(np.minimum(age / plan.promotion, 1.0))
    after = np.maximum(age - plan.promotion, 0.0) / plan.fall_time
    return rise - plan.fall * (1 - np.exp(-after))


def _fair_price(
    config: SimulatorConfig, plan: PoolPlan, age: Floats, rng: np.random.Generator
) -> Floats:
    """What traders think a token is worth, in quote tokens, event by event."""
    hours = np.diff(age, prepend=0.0) / HOUR
    wander = np.cumsum(rng.standard_normal(len(age)) * np.sqrt(hours)) * config.fair_volatility
    level = promotion_level(plan, age) * math.log(plan.gain) + wander
    return plan.quote_reserve / plan.token_reserve * np.exp(np.clip(level, -12.0, 12.0))
