"""The feature table: the vectors of stored decisions, computed again from the market.

The same functions that served the decisions serve the table, so a stored vector and its
recomputation are equal bit for bit, or something is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.windows import LOOKBACK
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import evaluator

if TYPE_CHECKING:
    from trade_pipeline.core.features.rug_risk import RugRisk

# Pairs that are computed together: enough to be fast, few enough for a cache.
CHUNK = 20_000

RowsDone = Callable[[int, int], None]


def feature_vectors(
    feed: MarketFeed,
    config: TradingConfig,
    instruments: Sequence[str],
    at: Ints,
    *,
    own: dict[str, Floats] | None = None,
    rug_risk: RugRisk | None = None,
    progress: RowsDone | None = None,
) -> tuple[Floats, Ints]:
    """The vectors of decisions about instruments of a market, in the given order.

    Args:
        at: when each was decided, microseconds since 1970-01-01 UTC.
        own: the features of the strategy's own records; None: unknown.
        progress: called with (rows done, all rows) now and then.

    Returns:
        One row of `NAMES` each, and when the newest event behind each was known.

    Raises:
        BadMarketData: the market does not have an instrument.
    """
    token = tokens_of(feed, instruments)
    vectors = np.full((len(at), len(NAMES)), np.nan)
    known_at = at.copy()
    if not len(at):
        return vectors, known_at
    history = MarketHistory(len(feed.instruments))
    for batch in feed.batches(int(at.min()) - LOOKBACK, int(at.max()) + 1):
        history.extend(batch)
    evaluating = evaluator(config.strategy, feed, history, config.venue(feed.kind), rug_risk)
    order = np.lexsort((at, token))
    for start in range(0, len(order), CHUNK):
        rows = order[start : start + CHUNK]
        found = evaluating.evaluate(evaluating.windows(token[rows], at[rows]))
        vectors[rows], known_at[rows] = found.vectors, found.known_at
        if progress is not None:
            progress(start + len(rows), len(order))
    for name, values in (own or {}).items():
        vectors[:, NAMES.index(name)] = values
    return vectors, known_at


def tokens_of(feed: MarketFeed, instruments: Sequence[str]) -> npt.NDArray[np.int32]:
    """The feed's indices of instruments by name.

    Raises:
        BadMarketData: the market does not have one of them.
    """
    index = {instrument.name: i for i, instrument in enumerate(feed.instruments)}
    missing = sorted(set(instruments) - set(index))
    if missing:
        raise BadMarketData(
            f"instrument={missing[0]!r}: this {feed.kind} market does not have it; give the market "
            "that the session was run on"
        )
    return np.array([index[name] for name in instruments], np.int32)
