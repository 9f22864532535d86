"""Paired decisions of a canary and of production, by blocks of time.

Candidates of a day move together and overlap for two days, so single ones are no evidence of their
own: the unit is a block of decisions, one UTC day by default.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import HOUR, Floats, Ints


@dataclass(frozen=True, slots=True)
class PairedDecisions:
    """Candidates that both models judged, traded or not.  Arrays of one length.

    Attributes:
        at: market time of the decision, microseconds.
        canary_stake, production_stake: what each would stake with every slot free, 0 (skipped) to
            1 (the full stake).
        returns: the simulated executable label, after all costs; NaN where it has not ended.
        ended_at: when the label ended, microseconds; -1 where it has not.
    """

    at: Ints
    canary_stake: Floats
    production_stake: Floats
    returns: Floats
    ended_at: Ints

    def __post_init__(self) -> None:
        for name in ("canary_stake", "production_stake"):
            stake = getattr(self, name)
            wrong = ~((stake >= 0) & (stake <= 1))
            if wrong.any():
                raise BadConfig(f"{name}={stake[wrong][0]}: expected 0 to 1")


@dataclass(frozen=True, slots=True)
class Blocks:
    """Closed blocks in order of time.

    Attributes:
        start: microseconds.
        value: what the canary earned more than production, per unit of production's stake.
        candidates: decisions in each.
        waiting: blocks that are over, or have begun, and have labels that have not ended.
    """

    start: Ints
    value: Floats
    candidates: Ints
    waiting: int


def block_values(
    decisions: PairedDecisions, until: int, block_hours: int, production_stake: float
) -> Blocks:
    """The closed blocks at a moment.

    A block is closed when it is over and every label in it has ended; a later one may be closed
    before it.  Its value is the sum of (canary's stake - production's) x (return - mean return of
    the block's candidates) over ``production_stake``.  Losses are not clipped.

    Args:
        until: what is known by then, microseconds.
        production_stake: mean sum of production's stakes in a block, fixed before the canary.

    Raises:
        BadConfig: ``production_stake`` is no positive number: production trades nothing.
    """
    if not production_stake > 0:
        raise BadConfig(
            f"production_stake={production_stake!r}: expected above 0; production staked nothing "
            "before the canary, so nothing can be compared with it"
        )
    length = block_hours * HOUR
    seen = decisions.at <= until
    number, group = np.unique(decisions.at[seen] // length, return_inverse=True)
    open_labels = (decisions.ended_at[seen] < 0) | (decisions.ended_at[seen] > until)
    count = np.bincount(group, minlength=len(number))
    closed = ((number + 1) * length <= until) & (
        np.bincount(group, open_labels, minlength=len(number)) == 0
    )
    returns = np.where(open_labels, 0.0, decisions.returns[seen])
    mean = np.bincount(group, returns, minlength=len(number)) / np.maximum(count, 1)
    more = decisions.canary_stake[seen] - decisions.production_stake[seen]
    value = np.bincount(group, more * (returns - mean[group]), minlength=len(number))
    return Blocks(
        start=(number * length)[closed],
        value=value[closed] / production_stake,
        candidates=count[closed].astype(np.int64),
        waiting=int((~closed).sum()),
    )


def stake_per_block(decisions: PairedDecisions, block_hours: int) -> float:
    """Production's mean sum of stakes over the blocks that have decisions; 0 without any."""
    if not len(decisions.at):
        return 0.0
    _, group = np.unique(decisions.at // (block_hours * HOUR), return_inverse=True)
    return float(np.bincount(group, decisions.production_stake).mean())
