"""Returns against the model's own expectation, valid at every look.

Models learn what sets the candidates of a day apart, so both are taken less their block's mean.  A
sequence runs from the deployment on.  Others begin after every ``restart_blocks``, because a mean
over a long good past hides what goes wrong now; the first has half of the level, the k-th of the
others 1 / (k (k + 1)) of the other half, so that all of them together keep to the level for good.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.canary.blocks import PairedDecisions, block_values, stake_per_block
from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.canary.power import variance_ratio
from trade_pipeline.core.canary.sequence import Sequence, confidence_sequence
from trade_pipeline.core.market.event import HOUR, Floats
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.decisions import JudgedDecisions
from trade_pipeline.core.monitoring.verdict import not_judged, verdict

# Labels live up to two days: that long may neighbouring blocks share them.
_LABEL_HOURS = 48


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What is fixed before the first block, from decisions that the model did not learn from.

    Attributes:
        stake: mean sum of its stakes in a block.
        variance_ratio: see `confidence_sequence`.
    """

    stake: float
    variance_ratio: float


@dataclass(frozen=True, slots=True)
class Expectation:
    """The verdict, and the sequence from the deployment on.

    Attributes:
        sequence: of what it earns more than it expected, per unit stake.
        upper: by closed block, the lowest upper end of all sequences that had begun.
    """

    guardrail: Guardrail
    sequence: Sequence
    upper: Floats


def yardstick(before: JudgedDecisions, config: MonitoringConfig) -> Yardstick:
    """The yardstick from decisions whose labels have all ended.

    Raises:
        BadConfig: the model stakes nothing on them.
    """
    paired = _paired(before)
    # `stake_per_block` is that of production's stakes, which here are the model's.
    staked = PairedDecisions(
        paired.at, paired.canary_stake, before.stake, paired.returns, paired.ended_at
    )
    stake = stake_per_block(staked, config.block_hours)
    until = int(before.ended_at.max(initial=0)) + config.block_hours * HOUR
    values = block_values(paired, until, config.block_hours, stake).value
    lags = max(1, round(_LABEL_HOURS / config.block_hours))
    return Yardstick(stake, variance_ratio(values, lags) if len(values) else 1.0)


def expectation(
    decisions: JudgedDecisions, before: Yardstick, until: int, config: MonitoringConfig
) -> Expectation:
    """Whether the model earns what it expects of what it enters.

    The value of a closed block is the sum over its candidates of stake x ((return - mean return) -
    (predicted - mean predicted)), over the yardstick's stake.

    Args:
        until: what is known by then, microseconds.
    """
    blocks = block_values(_paired(decisions), until, config.block_hours, before.stake)
    return judge_blocks(blocks.value, before.variance_ratio, config)


def judge_blocks(values: Floats, ratio: float, config: MonitoringConfig) -> Expectation:
    """The verdict on the values of closed blocks, in the order of time.

    Args:
        ratio: see `confidence_sequence`; known beforehand.
    """
    whole = confidence_sequence(values, config.level / 2, ratio)
    upper, count = whole.high.copy(), len(values)
    mean, high, restarted = (
        (float(whole.mean[-1]), float(whole.high[-1]), 0) if count else (math.nan, math.inf, 0)
    )
    starts = range(config.restart_blocks, count, config.restart_blocks)
    for number, start in enumerate(starts, 1):
        level = config.level / 2 / (number * (number + 1))
        later = confidence_sequence(values[start:], level, ratio)
        upper[start:] = np.minimum(upper[start:], later.high)
        if later.high[-1] < high:
            mean, high, restarted = float(later.mean[-1]), float(later.high[-1]), start
    numbers = {
        "blocks": count, "since_block": restarted + 1, "mean": mean, "high": high,
        "tolerance": config.tolerance, "variance_ratio": ratio,
    }  # fmt: skip
    if count < config.min_blocks or not math.isfinite(high):
        missing = f"{count} closed blocks, needs {config.min_blocks} and enough for an interval"
        line = not_judged("expectation", missing, numbers)
    else:
        line = verdict(
            "expectation",
            high >= -config.tolerance,
            f"{mean:+.4f} per unit stake against what it expected since block {restarted + 1} of "
            f"{count}, at most {high:+.4f}, allowed {-config.tolerance:+.4f}",
            numbers,
        )
    return Expectation(line, whole, upper)


def _paired(decisions: JudgedDecisions) -> PairedDecisions:
    """The same blocks as a canary's: beside nothing, of what came less what was expected."""
    return PairedDecisions(
        at=decisions.at,
        canary_stake=decisions.stake,
        production_stake=np.zeros(len(decisions)),
        returns=decisions.returns - decisions.predicted,
        ended_at=decisions.ended_at,
    )
