"""A confidence sequence: an interval for a mean that holds at every look.

The scale-invariant normal mixture of Lindon, Ham, Tingley and Bojinov 2022 (arXiv 2210.08589, there
for linear models): with the effect in standard deviations normal around zero and the spread free,
the ratio of the two likelihoods is a martingale when the mean is the one asked about, whatever the
spread is.  So it is exact for normal values however few there are, and needs no spread beforehand.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.market.event import Floats

# Blocks for which the interval is about narrowest, for effects of half a spread.
PRIOR_BLOCKS = 4.0


@dataclass(frozen=True, slots=True)
class Sequence:
    """By number of values: the mean, and what it lies between at every look at once.

    The first has no interval: one value tells nothing of a spread.
    """

    mean: Floats
    low: Floats
    high: Floats


def confidence_sequence(values: Floats, level: float, variance_ratio: float = 1.0) -> Sequence:
    """The sequence after each value.

    Args:
        level: chance that the mean ever lies below ``low``, and as much above ``high``.
        variance_ratio: of the mean's variance to that of independent values, known beforehand.
    """
    n = np.arange(1, len(values) + 1, dtype=np.float64)
    mean = np.cumsum(values) / n
    spread = np.full(len(values), np.nan)
    for number in range(1, len(values)):
        spread[number] = values[: number + 1].std(ddof=1)
    reach = critical_values(len(values), level)
    told = np.isfinite(reach) & np.isfinite(spread)
    width = np.full(len(values), np.inf)
    width[told] = spread[told] * reach[told] * np.sqrt(variance_ratio / n[told])
    return Sequence(mean, mean - width, mean + width)


def critical_values(count: int, level: float) -> Floats:
    """By number of values: how many standard errors the interval reaches to either side."""
    n = np.arange(1, count + 1, dtype=np.float64)
    shrunk = PRIOR_BLOCKS / (PRIOR_BLOCKS + n)
    # Both sides share twice the level; they are hardly ever left both.
    grown = (1.0 / (2.0 * level * np.sqrt(shrunk))) ** (2.0 / n)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = (grown - 1.0) / (1.0 - grown * shrunk)
    found: Floats = np.where(grown * shrunk < 1.0, np.sqrt(np.maximum(q, 0.0) * (n - 1.0)), np.inf)
    found[:1] = np.inf
    return found
