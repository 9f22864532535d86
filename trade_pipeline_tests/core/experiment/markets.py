"""Results of variants whose truth is known, by day."""

from __future__ import annotations

from typing import Any

import numpy as np

from trade_pipeline.core.experiment.daily import Panel, blocks_of
from trade_pipeline.core.experiment.judgement import Group, GroupResult, judge

NAMES = ("baseline", "a", "b", "c", "d", "e")


def panel(
    rng: np.random.Generator, days: int, advantage: float = 0.0, overlap: float = 0.5
) -> Panel:
    """Six variants with heavy tails (Student's t, 3 degrees) that share the market's days.

    Args:
        advantage: of variant ``e`` a day, in USD; the paired spread of a day is about 24 USD.
        overlap: of a day's result that also falls on the next day, and squared on the one after.
    """
    shocks = 0.7 * rng.standard_t(3, (days + 2, 1)) + rng.standard_t(3, (days + 2, len(NAMES)))
    pnl = 10 * (shocks[2:] + overlap * shocks[1:-1] + overlap**2 * shocks[:-2])
    pnl[:, -1] += advantage
    trades = rng.poisson(4, pnl.shape) + 1
    day = np.arange(days)
    return Panel(day, blocks_of(day), trades, pnl / 100, pnl)


def judged(
    seed: int, days: int, advantage: float = 0.0, metric: Any = "pnl_per_day"
) -> GroupResult:
    found = panel(np.random.default_rng(seed), days, advantage)
    return judge([Group("simulated", (), found)], NAMES, "baseline", metric, seed)[0]


def verdicts(result: GroupResult) -> dict[str, str]:
    return {one.variant: one.verdict for one in result.variants}
