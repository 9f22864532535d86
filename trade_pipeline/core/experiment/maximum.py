"""Many comparisons with one baseline at once: the largest statistic that chance alone would give.

Single-step max-T (Westfall and Young 1993) by a wild cluster bootstrap: under the hypothesis that a
variant and the baseline are alike, their paired difference on a block of days is as likely as its
opposite, so the blocks' signs are flipped, those of all variants together (Rademacher weights,
Cameron, Gelbach and Miller 2008).  The probability to call any of them different is kept at the
level, however many there are and however alike they are to each other.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.training.clustered import LEVEL

# All sign patterns are counted up to this many blocks, and as many drawn beyond.
EXACT_BLOCKS = 12
DRAWS = 9_999
_TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Compared:
    """A variant's difference to the baseline.

    Attributes:
        low, high: hold for all variants of the experiment together; infinite where there are too
            few blocks to tell.
        p_value: corrected for all comparisons; at most 1 - level exactly where zero is outside.
    """

    value: float
    low: float
    high: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Luck:
    """What the best of all variants shows where all are alike: its mean, and one time in twenty."""

    mean: float
    often: float


NOT_COMPARED = Compared(math.nan, math.nan, math.nan, math.nan)


def compare_all(
    groups: Sequence[tuple[Floats, Floats, Ints]], seed: int, level: float = LEVEL
) -> list[tuple[list[Compared], Luck]]:
    """Compare every variant of every group with its group's baseline, as one family.

    Args:
        groups: of each (days, variants) parts of the difference to the baseline, which are added
            up over the days; how much of each part there would be more if the variant were better
            by one (they add up to 1); and each day's block, from 0 without gaps.  NaN in a column:
            it is not compared.
        seed: of the signs that are drawn where there are too many to count.
    """
    if not groups:
        return []
    scored = [_Scores.of(*group) for group in groups]
    total = sum(len(one.sums) for one in scored)
    signs = _signs(total, seed)
    starts = np.cumsum([0] + [len(one.sums) for one in scored])
    largest = np.zeros(len(signs))
    lucks = []
    for one, start in zip(scored, starts, strict=False):
        flipped = signs[:, start : start + len(one.sums)] @ one.sums
        if flipped.shape[1]:
            largest = np.maximum(largest, np.abs(flipped * one.scale).max(axis=1))
            best = flipped.max(axis=1)
            lucks.append(Luck(float(best.mean()), float(np.quantile(best, level))))
        else:
            lucks.append(Luck(math.nan, math.nan))
    largest = np.sort(largest)[::-1]
    # A statistic is significant if at most this many flips give one that is as large.
    critical = float(largest[int((1 - level) * len(largest) + _TINY)])
    return [
        (one.compared(largest, critical), luck) for one, luck in zip(scored, lucks, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class _Scores:
    """Sums over blocks, which add up to the difference.

    Attributes:
        sums: (blocks, variants), without those that are not compared; ``weights`` likewise.
        scale: (variants,) one over the root of the sums' squares: the statistic's denominator.
        there: (all variants,) whether they are compared.
    """

    sums: Floats
    scale: Floats
    weights: Floats
    there: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, differences: Floats, shares: Floats, block: Ints) -> _Scores:
        there: npt.NDArray[np.bool_] = np.all(np.isfinite(differences), axis=0)
        sums, weights = (np.zeros((int(block[-1]) + 1, int(there.sum()))) for _ in range(2))
        np.add.at(sums, block, differences[:, there])
        np.add.at(weights, block, shares[:, there])
        spread = np.sqrt((sums**2).sum(axis=0))
        scale = np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0)
        return cls(sums, scale, weights, there)

    def compared(self, largest: Floats, critical: float) -> list[Compared]:
        found = iter(range(self.sums.shape[1]))
        return [
            self._one(next(found), largest, critical) if there else NOT_COMPARED
            for there in self.there
        ]

    def _one(self, column: int, largest: Floats, critical: float) -> Compared:
        sums = self.sums[:, column]
        value = float(sums.sum())
        statistic = abs(value) * float(self.scale[column])
        as_large = np.searchsorted(-largest, -(statistic - _TINY), side="right")
        low, high = _not_refused(sums, self.weights[:, column], critical + _TINY)
        return Compared(value, low, high, float(as_large / len(largest)))


def _not_refused(sums: Floats, weights: Floats, critical: float) -> tuple[float, float]:
    """The differences that the test at a critical value would not refuse.

    It refuses t where |sum(s - t w)| > c sqrt(sum((s - t w)^2)): a quadratic inequality in t.
    """
    square = critical**2
    a = 1.0 - square * float(weights @ weights)
    if a <= 0:
        return -math.inf, math.inf
    half = float(sums.sum()) - square * float(sums @ weights)
    c = float(sums.sum()) ** 2 - square * float(sums @ sums)
    root = math.sqrt(max(0.0, half * half - a * c))
    return (half - root) / a, (half + root) / a


def _signs(blocks: int, seed: int) -> Floats:
    """(draws, blocks) of 1 and -1; the data's own signs are among them."""
    if blocks <= EXACT_BLOCKS:
        return np.array(list(itertools.product((1.0, -1.0), repeat=blocks))).reshape(-1, blocks)
    drawn = np.random.default_rng(seed).choice(np.array([1.0, -1.0]), (DRAWS + 1, blocks))
    drawn[0] = 1.0
    return drawn
