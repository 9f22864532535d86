"""How much of a result is the choice among many trials."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.training.clustered import LAG_DAYS

BLOCKS = 10
_EULER = 0.5772156649015329


@dataclass(frozen=True, slots=True)
class Overfitting:
    """Probability of backtest overfitting by combinatorially symmetric cross-validation.

    Attributes:
        strict: share of the splits in which the best trial of one half is below the median of the
            other half (Bailey et al. 2015).
        harmful: the share in which it also earns nothing there.
    """

    strict: float
    harmful: float


def overfitting_probability(trial_days: Floats) -> Overfitting:
    """Overfitting of the choice among trials.

    Trials that are nearly equal swap ranks by chance, so ``strict`` is about one half even where
    all of them are good; ``harmful`` does not count such swaps.

    Args:
        trial_days: (days, trials) values.

    Returns:
        NaN where there are fewer than two trials or two days a block, or a value is missing.
    """
    days, trials = trial_days.shape
    if trials < 2 or days < 2 * BLOCKS or not np.isfinite(trial_days).all():
        return Overfitting(math.nan, math.nan)
    blocks = np.array_split(np.arange(days), BLOCKS)
    strict, harmful, count = 0, 0, 0
    for chosen in combinations(range(BLOCKS), BLOCKS // 2):
        inside = np.zeros(days, np.bool_)
        inside[np.concatenate([blocks[n] for n in chosen])] = True
        best = int(np.argmax(_sharpe(trial_days[inside])))
        outside = _sharpe(trial_days[~inside])
        below = outside[best] < np.median(outside)
        strict += below
        harmful += below and outside[best] <= 0
        count += 1
    return Overfitting(float(strict / count), float(harmful / count))


def deflated_sharpe(values: Floats, trial_days: Floats, trials: int) -> float:
    """Probability that a daily series' Sharpe ratio is above the best of ``trials`` by luck.

    Bailey and Lopez de Prado 2014: the expected maximum of that many trials of no skill whose
    Sharpe ratios vary as those of ``trial_days`` do, and at least as those of series without skill.

    Returns:
        0..1; NaN for a constant series, for fewer than two trials, or where a value is missing.
    """
    from scipy.stats import kurtosis, norm, skew

    length = len(values)
    if length < 3 or trials < 2 or values.std() == 0 or not np.isfinite(trial_days).all():
        return math.nan
    ratio = float(values.mean() / values.std(ddof=1))
    # Neighbouring days share labels that live two days: this many of them tell as much as one.
    days_alike = max(1.0, _variance_ratio(values))
    effective = (length - 1) / days_alike
    # Trials that are nearly equal are still as many chances to be lucky as there were.
    spread = max(float(np.var(_sharpe(trial_days), ddof=1)), 1.0 / effective)
    top = (1 - _EULER) * norm.ppf(1 - 1 / trials) + _EULER * norm.ppf(1 - 1 / (trials * math.e))
    luck = math.sqrt(spread) * max(0.0, float(top))
    shape = (
        1 - float(skew(values)) * ratio + float(kurtosis(values, fisher=False) - 1) / 4 * ratio**2
    )
    if shape <= 0:
        return math.nan
    return float(norm.cdf((ratio - luck) * math.sqrt(effective) / math.sqrt(shape)))


def _variance_ratio(values: Floats) -> float:
    """Variance of the mean against that of independent days (Newey and West, `LAG_DAYS`)."""
    centred = values - values.mean()
    variance = float(centred @ centred)
    shared = sum(
        2 * (1 - lag / (LAG_DAYS + 1)) * float(centred[lag:] @ centred[:-lag])
        for lag in range(1, LAG_DAYS + 1)
    )
    return 1.0 + shared / variance


def _sharpe(days: Floats) -> Floats:
    spread = days.std(axis=0)
    found: Floats = np.divide(
        days.mean(axis=0), spread, out=np.zeros(days.shape[1]), where=spread > 0
    )
    return found
