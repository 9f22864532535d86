"""What a canary can be expected to show, told before it starts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.canary.blocks import PairedDecisions, block_values
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.sequence import critical_values
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY, HOUR, Floats

CANARIES = 1_000
# Neighbouring blocks share labels: that many days of lags count, and as long blocks are drawn.
_LAG_HOURS = 48
_MIN_BLOCKS = 14


@dataclass(frozen=True, slots=True)
class Expected:
    """What becomes of canaries that truly differ by an effect.

    Attributes:
        effect: points per unit stake as a fraction.
        promoted, rolled_back: shares within the longest time; the rest expires.
        days: median days of those that were promoted; NaN: none was.
    """

    effect: float
    promoted: float
    rolled_back: float
    days: float


@dataclass(frozen=True, slots=True)
class PowerReport:
    """Before a canary starts.

    Attributes:
        blocks: before the canary, from which this is told; ``blocks_a_week`` of them.
        spread: standard deviation of the paired difference of a block.
        variance_ratio: see `variance_ratio`; the canary's sequence is widened by it.
        design_effect: variance of the mean over blocks to that over independent candidates.
        expected: by true effect.
        enough: one better by the margin is promoted often enough.
    """

    blocks: int
    blocks_a_week: float
    spread: float
    variance_ratio: float
    design_effect: float
    expected: Sequence[Expected]
    enough: bool


def power_report(
    decisions: PairedDecisions, production_stake: float, config: CanaryConfig, seed: int = 0
) -> PowerReport:
    """The report from paired decisions before the canary, all of whose labels have ended.

    Raises:
        BadConfig: too few blocks to tell anything.
    """
    until = int(decisions.ended_at.max(initial=0)) + config.block_hours * HOUR
    found = block_values(decisions, until, config.block_hours, production_stake)
    values = found.value
    if len(values) < _MIN_BLOCKS:
        raise BadConfig(
            f"power: {len(values)} closed blocks before the canary, expected at least {_MIN_BLOCKS}"
        )
    lags = max(1, round(_LAG_HOURS / config.block_hours))
    ratio = variance_ratio(values, lags)
    weeks = (found.start[-1] - found.start[0]) / DAY / 7 + config.block_hours / 24 / 7
    drawn = sample_blocks(values, config, CANARIES, seed)
    expected = []
    for effect in (-config.margin, -config.margin / 2, 0.0, config.margin / 2, config.margin):
        outcome = run_canaries(drawn - values.mean() + effect, config, ratio)
        expected.append(
            Expected(
                effect,
                float((outcome.verdict == 1).mean()),
                float((outcome.verdict == -1).mean()),
                float(np.median(outcome.days[outcome.verdict == 1]))
                if (outcome.verdict == 1).any()
                else math.nan,
            )
        )
    return PowerReport(
        blocks=len(values),
        blocks_a_week=len(values) / weeks,
        spread=float(values.std(ddof=1)),
        variance_ratio=ratio,
        design_effect=_design_effect(decisions, values, production_stake, ratio),
        expected=expected,
        enough=expected[-1].promoted >= config.min_power,
    )


def variance_ratio(values: Floats, lags: int) -> float:
    """Variance of the mean to that of independent blocks (Newey and West 1987), at least 1."""
    centred = values - values.mean()
    variance = float(centred @ centred)
    if variance == 0:
        return 1.0
    shared = sum(
        2 * (1 - lag / (lags + 1)) * float(centred[lag:] @ centred[:-lag])
        for lag in range(1, min(lags, len(values) - 1) + 1)
    )
    return max(1.0, 1.0 + shared / variance)


def sample_blocks(values: Floats, config: CanaryConfig, canaries: int, seed: int) -> Floats:
    """(canaries, blocks) histories as long as a canary may last, by circular block bootstrap."""
    draw = np.random.default_rng(seed)
    count = max(1, round(config.max_days * 24 / config.block_hours))
    length = max(1, round(_LAG_HOURS / config.block_hours))
    starts = draw.integers(0, len(values), (canaries, math.ceil(count / length)))
    rows = (starts[:, :, None] + np.arange(length)) % len(values)
    drawn: Floats = values[rows.reshape(canaries, -1)[:, :count]]
    return drawn


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What became of canaries.

    Attributes:
        verdict: 1 promoted, -1 rolled back, 0 neither.
        days: until then; the longest time where neither.
    """

    verdict: np.ndarray
    days: Floats


def run_canaries(values: Floats, config: CanaryConfig, ratio: float = 1.0) -> Outcomes:
    """Many canaries at once, looked at after every block; the rules of `decide_canary`.

    Args:
        values: (canaries, blocks).
    """
    low, high = sequences(values, config.level, ratio)
    blocks = np.arange(1, values.shape[1] + 1)
    # The last label of a block ends about two days after it.
    hours = blocks * config.block_hours + _LAG_HOURS
    in_time = hours <= config.max_days * 24
    harmed = (high < 0) & in_time
    ready = (blocks >= config.min_blocks) & (hours >= config.min_hours) & in_time
    promoted = (low >= -config.margin) & ready
    ended = harmed | promoted
    first = ended.argmax(axis=1)
    rows = np.arange(len(values))
    any_end = ended[rows, first]
    verdict = np.where(any_end, np.where(harmed[rows, first], -1, 1), 0)
    return Outcomes(verdict, np.where(any_end, hours[first] / 24, float(config.max_days)))


def sequences(values: Floats, level: float, ratio: float = 1.0) -> tuple[Floats, Floats]:
    """`confidence_sequence` of many rows at once: lower and upper ends."""
    n = np.arange(1, values.shape[1] + 1)
    mean = np.cumsum(values, axis=1) / n
    squares = np.cumsum((values - values[:, :1]) ** 2, axis=1)
    shift = mean - values[:, :1]
    spread = np.sqrt(np.maximum(squares - n * shift**2, 0.0) / np.maximum(n - 1, 1))
    reach = critical_values(values.shape[1], level) * np.sqrt(ratio / n)
    width = np.full(values.shape, np.inf)
    told = np.isfinite(reach)
    width[:, told] = spread[:, told] * reach[told]
    return mean - width, mean + width


def _design_effect(
    decisions: PairedDecisions, values: Floats, production_stake: float, ratio: float
) -> float:
    """How many times more the mean varies than if candidates were independent."""
    more = decisions.canary_stake - decisions.production_stake
    single = more * (decisions.returns - np.nanmean(decisions.returns)) / production_stake
    independent = float(np.nansum((single - np.nanmean(single)) ** 2)) / len(values)
    return float(values.var(ddof=1)) * ratio / independent if independent > 0 else math.nan
