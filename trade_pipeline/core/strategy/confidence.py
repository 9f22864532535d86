"""The heuristic confidence: what decides until a model has earned it.

A logistic score over the snapshot.  Signs follow what is usual in the field (momentum and buying
raise it, rug risk and stretched moves lower it); the weights are chosen, not fitted, and so the
heuristic is the baseline that a model must beat.
"""

from __future__ import annotations

import math

from trade_pipeline.core.research.snapshot import Snapshot

HEURISTIC_VERSION = "heuristic-1"

_BIAS = 0.35
_RUG_RISK = -1.6
_SENTIMENT_LEVEL = 2.0
_SENTIMENT_MOMENTUM = 1.5
_SENTIMENT_CONSENSUS = 0.4
# name -> (weight, bound): a window's value counts up to its bound, so that no single one decides.
_MARKET = {
    "return_1h": (1.2, 0.3),
    "return_6h": (0.5, 0.6),
    "return_24h": (0.2, 1.0),
    "flow_imbalance_1h": (0.6, 1.0),
    "flow_imbalance_24h": (0.6, 1.0),
    "drawdown_24h": (-0.6, 0.8),
}


def heuristic_confidence(snapshot: Snapshot) -> float:
    """Confidence in 0..1; what is unknown adds nothing."""
    score = _BIAS + _RUG_RISK * snapshot.rug_risk
    for name, (weight, bound) in _MARKET.items():
        value = snapshot.market.get(name)
        if value is not None:
            score += weight * max(-bound, min(bound, value))
    sentiment = snapshot.sentiment
    if sentiment.level is not None:
        score += _SENTIMENT_LEVEL * (sentiment.level - 0.5)
    if sentiment.momentum is not None:
        score += _SENTIMENT_MOMENTUM * sentiment.momentum
    if sentiment.consensus is not None:
        score += _SENTIMENT_CONSENSUS * (sentiment.consensus - 0.5)
    return 1.0 / (1.0 + math.exp(-score))
