"""Whether a vector looks ahead: it must be the same from a market that ends at its decision."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.dataset.decisions import Decisions
from trade_pipeline.core.dataset.feature_table import feature_vectors
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.market.event import DAY, Floats
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.session.config import TradingConfig

if TYPE_CHECKING:
    from trade_pipeline.core.features.rug_risk import RugRisk

CUTS = 5
# The decisions of this long before a cut are recomputed with it: leaks reach some hours ahead.
REACH = DAY


def truncated_vectors(
    feed: MarketFeed,
    config: TradingConfig,
    decisions: Decisions,
    *,
    cuts: int = CUTS,
    rug_risk: RugRisk | None = None,
) -> tuple[list[int], Floats]:
    """Vectors of sampled decisions from markets that are cut off.

    The cuts are decisions that are drawn by their UUIDs; each is recomputed, with those up to a day
    before it, from the market until it.

    Returns:
        The positions of the decisions that were recomputed, and a vector each.
    """
    at = np.asarray(decisions.at)
    drawn = sorted(range(len(decisions)), key=lambda n: _draw(str(decisions.uuid[n])))[:cuts]
    rows: list[int] = []
    found: list[Floats] = []
    done = np.zeros(len(at), np.bool_)
    for moment in sorted(set(at[drawn].tolist())):
        near = np.flatnonzero((at <= moment) & (at > moment - REACH) & ~done)
        done[near] = True
        vectors, _ = feature_vectors(
            feed.until(moment),
            config,
            [decisions.instrument[n] for n in near.tolist()],
            at[near],
            own={name: values[near] for name, values in decisions.own.items()},
            rug_risk=rug_risk,
        )
        rows += near.tolist()
        found.append(vectors)
    return rows, np.concatenate(found) if found else np.empty((0, len(NAMES)))


def _draw(uuid: str) -> bytes:
    return hashlib.sha256(uuid.encode()).digest()
