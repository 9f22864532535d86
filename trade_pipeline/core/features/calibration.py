"""From a classifier's margin to a probability: Platt's logistic curve.

Platt 1999, with his smoothed targets, fitted to margins of rows that the classifier had not seen.
The curve has two parameters, never falls, and so keeps the order of the margins even where few
positive rows are known.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Floats

Bools = npt.NDArray[np.bool_]

_NEWTON_STEPS = 100
_CONVERGED = 1e-12


def platt_probability(margin: Floats, slope: float, offset: float) -> Floats:
    """One number after the other: numpy's vectors may round otherwise at their ends."""
    odds = (slope * margin + offset).tolist()
    return np.array([_logistic(z) for z in odds], np.float64)


def _logistic(z: float) -> float:
    return 1.0 / (1.0 + math.exp(-z)) if z >= 0 else math.exp(z) / (1.0 + math.exp(z))


def fit_platt_beside(
    margin: Floats, happened: Bools, weight: Floats, odds: Floats
) -> tuple[float, float]:
    """`fit_platt` for margins that are added to log odds which are known only while learning.

    The slope is that beside the odds: without them their unrest would flatten the curve.  The
    offset stands for them, such that the mean probability is the share of positive rows.
    """
    from scipy.optimize import brentq

    slope, _ = fit_platt(margin, happened, weight, odds)
    share = float(np.average(happened, weights=weight))

    def excess(offset: float) -> float:
        found = platt_probability(margin, slope, offset)
        return float(np.average(found, weights=weight)) - share

    limit = 50.0 + slope * float(np.abs(margin).max())
    return slope, float(brentq(excess, -limit, limit, xtol=_CONVERGED))


def fit_platt(
    margin: Floats, happened: Bools, weight: Floats, odds: Floats | float = 0.0
) -> tuple[float, float]:
    """Slope and offset of the weighted logistic regression on the margin, beside known log odds.

    A slope below zero would mean margins that rank backwards: they tell nothing, and every row
    gets the share of positive rows.
    """
    positive, negative = float(weight[happened].sum()), float(weight[~happened].sum())
    target = np.where(happened, (positive + 1) / (positive + 2), 1 / (negative + 2))
    share = (positive + 1) / (positive + negative + 2)
    base = math.log(share / (1 - share))

    def loss(found: Floats) -> float:
        z = found[0] * margin + found[1] + odds
        return float(np.sum(weight * (np.logaddexp(0.0, z) - target * z)))

    found = np.array([0.0, base])
    for _ in range(_NEWTON_STEPS):
        p = platt_probability(found[0] * margin + odds, 1.0, found[1])
        error, spread = weight * (p - target), weight * p * (1 - p)
        gradient = np.array([np.sum(error * margin), np.sum(error)])
        cross = np.sum(spread * margin)
        hessian = np.array([[np.sum(spread * margin**2), cross], [cross, np.sum(spread)]])
        step = np.linalg.solve(hessian + _CONVERGED * np.eye(2), gradient)
        size = 1.0
        while loss(found - size * step) > loss(found) and size > _CONVERGED:
            size /= 2
        found = found - size * step
        if np.abs(size * step).max() < _CONVERGED:
            break
    return (float(found[0]), float(found[1])) if found[0] > 0 else (0.0, base)
