"""The universe filter: which tokens are worth an evaluation, over whole batches."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import MarketBatch
from trade_pipeline.core.strategy.config import UniverseConfig

# Index = the code of `universe_codes`; 0 passes.
FILTERS = ("", "price_unknown", "market_cap_unknown", "market_cap", "liquidity", "volume")
VOLUME = FILTERS.index("volume")


def universe_codes(batch: MarketBatch, config: UniverseConfig) -> npt.NDArray[np.int8]:
    """For each event, the index in `FILTERS` of the first filter that the token then fails.

    The volume of 24 h needs the token's history and is checked where this gives 0.  A market
    without pools states no liquidity, so NaN passes there.
    """
    cap, liquidity = batch.market_cap_usd, batch.liquidity_usd
    return np.select(
        [
            ~(batch.price_usd > 0),
            np.isnan(cap),
            (cap < config.min_market_cap_usd) | (cap > config.max_market_cap_usd),
            liquidity < config.min_liquidity_usd,
        ],
        [1, 2, 3, 4],
        0,
    ).astype(np.int8)
