"""Sentiment over several sources: level, momentum, consensus and dispersion."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trade_pipeline.core.market.event import SENTIMENT, Floats


def sentiment_columns(
    now: Mapping[str, Floats], earlier: Mapping[str, Floats], length: int
) -> dict[str, Floats]:
    """Combine the levels by source (``sentiment:<source>``) with those of an earlier moment.

    Returns:
        ``sentiment_level``: mean over the sources that spoke, 0..1; 0.5 is neutral.
        ``sentiment_momentum``: mean change of the sources that spoke at both moments.
        ``sentiment_consensus``: 1 when all agree, 0 when as far apart as can be; needs two.
        ``sentiment_dispersion``: standard deviation over the sources; needs two.
        ``sentiment_sources``: how many spoke.  Each NaN where no source spoke.
    """
    total, changes = np.zeros(length), np.zeros(length)
    spoke, spoke_twice = np.zeros(length), np.zeros(length)
    lowest, highest = np.full(length, np.inf), np.full(length, -np.inf)
    sources = sorted(name for name in now if name.startswith(SENTIMENT))
    for name in sources:
        level = now[name]
        there = ~np.isnan(level)
        both = there & ~np.isnan(earlier[name])
        total = total + np.where(there, level, 0.0)
        changes = changes + np.where(both, level - earlier[name], 0.0)
        spoke, spoke_twice = spoke + there, spoke_twice + both
        lowest, highest = np.fmin(lowest, level), np.fmax(highest, level)
    level = _over(total, spoke)
    squares = np.zeros(length)
    for name in sources:
        away = np.nan_to_num(now[name] - level, nan=0.0)
        squares = squares + away * away
    several = spoke > 1
    return {
        "sentiment_level": level,
        "sentiment_momentum": _over(changes, spoke_twice),
        "sentiment_consensus": 1.0
        - np.where(several, highest, np.nan)
        + np.where(several, lowest, np.nan),
        "sentiment_dispersion": np.where(several, np.sqrt(_over(squares, spoke)), np.nan),
        "sentiment_sources": np.where(spoke > 0, spoke, np.nan),
    }


def _over(total: Floats, count: Floats) -> Floats:
    """A mean; NaN of nothing."""
    return np.where(count > 0, total / np.where(count > 0, count, 1.0), np.nan)
