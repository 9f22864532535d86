"""Sentiment over several sources: level, momentum and consensus."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sentiment:
    """Sentiment of a token; each None where no source spoke.

    Attributes:
        level: mean over the sources, 0..1; 0.5 is neutral.
        momentum: mean change of the sources that spoke at both moments.
        consensus: 1 when all sources agree, 0 when they are as far apart as they can be; needs two.
    """

    level: float | None
    momentum: float | None
    consensus: float | None


def sentiment_of(levels: Mapping[str, float], earlier: Mapping[str, float]) -> Sentiment:
    """Combine the levels by source with those of an earlier moment."""
    if not levels:
        return Sentiment(None, None, None)
    names = sorted(levels)
    changes = [levels[name] - earlier[name] for name in names if name in earlier]
    return Sentiment(
        level=sum(levels[name] for name in names) / len(names),
        momentum=sum(changes) / len(changes) if changes else None,
        consensus=1.0 - (max(levels.values()) - min(levels.values())) if len(levels) > 1 else None,
    )
