"""Intervals for candidates that depend on each other: clustered by day and by token.

Cameron, Gelbach and Miller 2011: the variance is that over days, plus that over tokens, less that
over their intersections.  Labels live two days, so the sums of days are correlated with those of
their neighbours: Newey and West 1987 with Bartlett's weights.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.market.event import Floats, Ints

# Days whose sums may be correlated: labels live up to 48 h.
LAG_DAYS = 2
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval; NaN where there is too little to tell."""

    value: float
    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan, math.nan)


def market_adjusted(returns: Floats, day: Ints) -> Floats:
    """Returns less the mean of their day's candidates."""
    _, group = np.unique(day, return_inverse=True)
    mean = np.bincount(group, returns) / np.bincount(group)
    adjusted: Floats = returns - mean[group]
    return adjusted


def clustered(
    value: float, influence: Floats, day: Ints, token: Ints, level: float = LEVEL
) -> Interval:
    """The interval of an estimate.

    Args:
        influence: of each row on the estimate, such that the estimate's error is their sum.
    """
    days, by_day = np.unique(day, return_inverse=True)
    tokens, by_token = np.unique(token, return_inverse=True)
    clusters = min(len(days), len(tokens))
    if clusters < 2 or not math.isfinite(value):
        return UNKNOWN
    variance_day = _newey_west(days, np.bincount(by_day, influence).astype(np.float64))
    variance_token = float(np.sum(np.bincount(by_token, influence) ** 2))
    pair = by_day.astype(np.int64) * len(tokens) + by_token
    _, by_pair = np.unique(pair, return_inverse=True)
    variance_pair = float(np.sum(np.bincount(by_pair, influence) ** 2))
    variance = max(variance_day + variance_token - variance_pair, variance_day, variance_token)
    from scipy.stats import t

    error = math.sqrt(variance * clusters / (clusters - 1)) * float(
        t.ppf(0.5 + level / 2, clusters - 1)
    )
    return Interval(value, value - error, value + error)


def mean_interval(values: Floats, weights: Floats, day: Ints, token: Ints) -> Interval:
    """Weighted mean."""
    total = float(weights.sum())
    if total <= 0:
        return UNKNOWN
    mean = float(np.sum(weights * values) / total)
    return clustered(mean, weights * (values - mean) / total, day, token)


def difference_interval(
    values: Floats,
    weights: Floats,
    others: Floats,
    day: Ints,
    token: Ints,
    level: float = LEVEL,
) -> Interval:
    """Difference of two weighted means of the same values."""
    totals = float(weights.sum()), float(others.sum())
    if min(totals) <= 0:
        return UNKNOWN
    one = float(np.sum(weights * values) / totals[0])
    other = float(np.sum(others * values) / totals[1])
    influence = weights * (values - one) / totals[0] - others * (values - other) / totals[1]
    return clustered(one - other, influence, day, token, level)


def r2_interval(
    predicted: Floats, constant: float, returns: Floats, day: Ints, token: Ints
) -> Interval:
    """R2 out of sample against a constant that was known before (Campbell and Thompson 2008)."""
    base, error = (returns - constant) ** 2, (returns - predicted) ** 2
    total = float(base.sum())
    if total <= 0:
        return UNKNOWN
    ratio = float(error.sum()) / total
    return clustered(1.0 - ratio, -(error - ratio * base) / total, day, token)


def rank_interval(predicted: Floats, returns: Floats, day: Ints, token: Ints) -> Interval:
    """Spearman's rank correlation, by the influence of each row on the correlation of ranks."""
    from scipy.stats import rankdata

    if len(returns) < 3 or np.ptp(predicted) == 0 or np.ptp(returns) == 0:
        return UNKNOWN
    a, b = rankdata(predicted), rankdata(returns)
    a, b = (a - a.mean()) / a.std(), (b - b.mean()) / b.std()
    rho = float(np.mean(a * b))
    influence = (a * b - rho * (a**2 + b**2) / 2) / len(a)
    return clustered(rho, influence, day, token)


def _newey_west(days: Ints, sums: Floats) -> float:
    """The variance of the sum of daily sums; days without candidates count as zero between."""
    series = np.zeros(int(days[-1] - days[0]) + 1)
    series[days - days[0]] = sums
    variance = float(series @ series)
    for lag in range(1, min(LAG_DAYS, len(series) - 1) + 1):
        weight = 1 - lag / (LAG_DAYS + 1)
        variance += 2 * weight * float(series[lag:] @ series[:-lag])
    return max(variance, 0.0)
