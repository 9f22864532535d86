"""What a canary's random arms did to the result: an experiment, and so an effect.

A token draws its arm anew in every window of time, with a known probability.  The unit of evidence
is a block of whole windows, so that no draw reaches into two blocks.  A block's value is the mean
over its candidates of return / propensity, counted for the canary's arm and against production's
(Horvitz and Thompson 1952): its expectation is the effect of the arm on the return of a candidate,
at a full stake.  A candidate that was skipped or not filled returned nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.guardrails import off_policy
from trade_pipeline.core.canary.sequence import confidence_sequence
from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.features.calibration import Bools
from trade_pipeline.core.market.event import HOUR, Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

EFFECT = (
    "Effect of the arm that was drawn, as an experiment: the whole arm, with its model, its part "
    "of the fund and its own free slots. The interval (95 %) holds at every look. What decides "
    "over a canary is its paired comparison (canary_evaluation), which needs fewer trades."
)
# Chance that the effect ever lies below the interval, and as much above it.
_LEVEL = 0.025


@dataclass(frozen=True, slots=True)
class ArmCandidates:
    """Candidates whose arm was drawn.  Arrays of one length.

    Attributes:
        at: market time of the decision, microseconds.
        canary: which arm was drawn; ``propensity``: with what probability.
        traded: an entry was filled.
        returns: fraction after all costs; 0: not traded; NaN: not known yet.
    """

    at: Ints
    canary: Bools
    propensity: Floats
    traded: Bools
    returns: Floats


@dataclass(frozen=True, slots=True)
class ArmEffect:
    """The canary's arm less production's, percentage points of return per candidate.

    Attributes:
        difference: between ``low`` and ``high``; infinite with fewer than two blocks.
        blocks: closed ones; ``waiting``: those with a trade that has not ended, or not over.
        candidates: in the closed ones; of them the canary's arm got ``canary``.
        per_trade: the same difference between the means of the trades that were made, which the
            arms chose (Hajek); no effect.
    """

    difference: float
    low: float
    high: float
    blocks: int
    waiting: int
    candidates: int
    canary: int
    per_trade: float


def arm_effect(candidates: ArmCandidates, until: int, block_hours: int) -> ArmEffect:
    """The effect by what was known at a moment.

    Args:
        until: microseconds; a block counts when it was over by then and its trades had ended.
        block_hours: a multiple of the arms' window.
    """
    length = block_hours * HOUR
    number, group = np.unique(candidates.at // length, return_inverse=True)
    count = np.bincount(group, minlength=len(number))
    unknown = np.bincount(group, np.isnan(candidates.returns), minlength=len(number)) > 0
    closed = ((number + 1) * length <= until) & ~unknown
    returns = np.where(closed[group], candidates.returns, 0.0)
    sums = np.bincount(group, returns, minlength=len(number))[closed]
    sizes = count[closed]
    # A constant known before a block takes spread away and leaves the expectation as it is.
    before = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    level = np.concatenate(([0.0], np.cumsum(sums)[:-1])) / np.maximum(before, 1)
    constant = np.zeros(len(number))
    constant[closed] = level[: len(sizes)]
    weight = np.where(candidates.canary, 1.0, -1.0) / candidates.propensity
    told = np.bincount(group, weight * (returns - constant[group]), minlength=len(number))
    values = told[closed] / sizes
    sequence = confidence_sequence(values, _LEVEL)
    inside = closed[group]
    traded = inside & candidates.traded
    hajek = off_policy(
        candidates.returns[traded], candidates.propensity[traded], candidates.canary[traded]
    )
    ends = (sequence.mean, sequence.low, sequence.high)
    mean, low, high = (
        (100 * float(end[-1]) for end in ends) if len(values) else (np.nan, -np.inf, np.inf)
    )
    return ArmEffect(
        difference=mean,
        low=low,
        high=high,
        blocks=len(values),
        waiting=int((~closed).sum()),
        candidates=int(inside.sum()),
        canary=int((candidates.canary & inside).sum()),
        per_trade=100 * hajek.difference,
    )


def arm_effects(
    connection: psycopg.Connection, sessions: Sequence[str] | None = None
) -> list[dict[str, object]]:
    """The effect of each canary beside each production model, by mode and market.

    Candidates at which the canary failed are left out: whose they would have been is not told.
    """
    import pandas as pd

    rows = pd.DataFrame(
        connection.execute(_QUERY, {"sessions": None if sessions is None else list(sessions)}),
        columns=["mode", "market", "production", "canary", "hours", "at", "arm", "propensity",
                 "returned", "traded", "open"],
    )  # fmt: skip
    found: list[dict[str, object]] = []
    for key, group in rows.groupby(["mode", "market", "production", "canary"], sort=True):
        hours = int(group["hours"].fillna(CanaryConfig().window_hours).max())
        at = micros_of(group["at"])
        effect = arm_effect(
            _drawn(group, at), int(at.max()), max(hours, CanaryConfig().block_hours)
        )
        mode, market, production, canary = key
        found.append(
            {
                "mode": mode, "market": market, "canary": canary, "production": production,
                "difference_pct": effect.difference, "low_pct": effect.low,
                "high_pct": effect.high, "blocks": effect.blocks, "waiting": effect.waiting,
                "candidates": effect.candidates, "of_canary": effect.canary,
                "per_trade_pct": effect.per_trade,
            }
        )  # fmt: skip
    return found


def _drawn(rows: pd.DataFrame, at: Ints) -> ArmCandidates:
    returned = rows["returned"].astype("float64").to_numpy() / 100
    is_open = rows["open"].to_numpy(np.bool_)
    return ArmCandidates(
        at=at,
        canary=(rows["arm"] == "canary").to_numpy(),
        propensity=rows["propensity"].to_numpy(np.float64),
        traded=rows["traded"].to_numpy(np.bool_),
        returns=np.where(is_open, np.nan, np.nan_to_num(returned, nan=0.0)),
    )


# A trade that the end of its session closed did not end by itself, as little as an open one.
_QUERY = """
    SELECT s.mode, s.market, b.both ->> 'production_model', c.canary_version,
           t.window_hours, c.decided_at,
           b.both ->> 'arm', (b.both ->> 'propensity')::float8, o.percent,
           f.filled, coalesce(o.reason = 'session_end', f.filled)
    FROM trade.sessions s
    JOIN trade.candidates c USING (session_id)
    LEFT JOIN trade.settings t ON t.address = c.params_ptr
    CROSS JOIN LATERAL (SELECT c.content::jsonb -> 'canary' AS both OFFSET 0) b
    LEFT JOIN LATERAL (
        SELECT realized_pnl_percent AS percent, termination_reason AS reason FROM trade.outcomes o
        WHERE o.uuid = c.uuid AND o.kind = 'realised' ORDER BY revision DESC LIMIT 1) o ON true
    CROSS JOIN LATERAL (
        SELECT EXISTS (SELECT FROM trade.executions e WHERE e.uuid = c.uuid AND e.leg = 'entry'
                       AND e.event IN ('filled', 'partly_filled')) AS filled) f
    WHERE c.canary_version IS NOT NULL
      AND jsonb_typeof(b.both) = 'object' AND NOT b.both ? 'canary_error'
      AND (%(sessions)s::text[] IS NULL OR s.session_id = ANY(%(sessions)s))
    ORDER BY c.decided_at, c.uuid
"""
