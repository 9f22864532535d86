"""The heuristic model's confidence: what decides until a trained model has earned it.

A logistic score over the research.  Signs follow what is usual in the field (momentum and buying
raise it, rug risk and stretched moves lower it); the weights are chosen, not fitted, and so the
heuristic is the baseline that a model must beat.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np

from trade_pipeline.core.market.event import Floats

HEURISTIC_VERSION = "heuristic-1"

_BIAS = 0.35
# name -> (weight, neutral value, bound): what is above the neutral value counts up to its bound, so
# that no single one decides.
_TERMS = {
    "rug_risk": (-1.6, 0.0, 1.0),
    "return_1h": (1.2, 0.0, 0.3),
    "return_6h": (0.5, 0.0, 0.6),
    "return_24h": (0.2, 0.0, 1.0),
    "flow_imbalance_1h": (0.6, 0.0, 1.0),
    "flow_imbalance_24h": (0.6, 0.0, 1.0),
    "drawdown_24h": (-0.6, 0.0, 0.8),
    "sentiment_level": (2.0, 0.5, 1.0),
    "sentiment_momentum": (1.5, 0.0, 1.0),
    "sentiment_consensus": (0.4, 0.5, 1.0),
}


def heuristic_confidence(known: Mapping[str, Floats]) -> Floats:
    """Confidence in 0..1 from the research's columns; what is unknown adds nothing."""
    score = np.full(len(known["rug_risk"]), _BIAS)
    for _, term in _terms(known):
        score = score + term
    # math.exp one by one: numpy's may differ in the last bit with the length of the array.
    return np.array([1.0 / (1.0 + math.exp(-value)) for value in score.tolist()])


def heuristic_contributions(known: Mapping[str, Floats], row: int) -> dict[str, float]:
    """What moves the confidence of one row, in log odds by feature; ``(base)`` for no candidate.

    Args:
        known: the columns of `heuristic_confidence`.
    """
    return {name: float(term[row]) for name, term in _terms(known)} | {"(base)": _BIAS}


def _terms(known: Mapping[str, Floats]) -> Iterator[tuple[str, Floats]]:
    for name, (weight, neutral, bound) in _TERMS.items():
        term = np.clip(known[name] - neutral, -bound, bound)
        yield name, np.where(np.isnan(term), 0.0, weight * term)
