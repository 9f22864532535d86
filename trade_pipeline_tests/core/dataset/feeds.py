"""Small markets of each kind, whose sessions have decisions of all sorts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from trade_pipeline.core.market.event import DAY, HOUR, SENTIMENT, Instrument
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.research.columns import REFERENCE
from trade_pipeline_tests.core.research.pools import KnownFeed, bar_events, merged, pool_events
from trade_pipeline_tests.core.session.stored import START, market

# How many days a session on each takes.
DAYS = {"simulated": 3, "bars": 6, "pools": 30}

_FACTS = {
    "holders": [(START - DAY, 50.0), (START + DAY + 1, 80.0), (START + 3 * DAY, 70.0)],
    "developer_share": [(START, 0.1), (START + 2 * DAY, 0.02)],
    SENTIMENT + "twitter": [(START + n * HOUR, 0.3 + n % 7 / 10) for n in range(0, 200, 5)],
    SENTIMENT + "reddit": [(START + n * HOUR, 0.4 + n % 3 / 10) for n in range(60, 200, 7)],
}


def feed_of(kind: str) -> MarketFeed:
    """A market: ``simulated``, hourly ``bars`` of an exchange, or ``pools`` with long silences."""
    if kind == "simulated":
        return market()
    return _bars() if kind == "bars" else _pools()


def _bars() -> KnownFeed:
    rng = np.random.default_rng(4)
    batches = []
    for token in range(4):
        times = [START + n * HOUR for n in range(-110, DAYS["bars"] * 24)]
        times = [at for at in times if rng.random() < 0.95]
        closes = np.exp(np.cumsum(rng.normal(0, 0.05, len(times))))
        bars = bar_events(times, closes.tolist(), token=token, spread=0.02)
        batches.append(replace(bars, market_cap_usd=closes * 1e6))
    names = ["PEPE/USDT", REFERENCE, "DOGE/USDT", "SHIB/USDT"]
    mentions = {"mentions_1h": 2.0, "mentions_24h": 9.0, "mentions_48h": 10.0}
    return KnownFeed(
        [Instrument(name) for name in names],
        facts=_FACTS,
        mentions=mentions | {"mentions_168h": 44.0, "messages_24h": 900.0},
        events=[merged(*batches)],
        kind="spot-1h",
    )


def _pools() -> KnownFeed:
    rng = np.random.default_rng(9)
    steps = [0, 1_000_000, HOUR // 2, 3 * HOUR, DAY, 5 * DAY]
    batches = []
    for token in range(5):
        times = START - 6 * DAY + np.cumsum(rng.choice(steps, 80))
        # All are silent for longer than anything is remembered.
        times[times > START + 6 * DAY] += 5 * DAY
        price = 0.01 * np.exp(np.cumsum(rng.normal(0, 0.1, 80)))
        price[rng.random(80) < 0.05] = np.nan
        batches.append(
            pool_events(
                times.tolist(),
                price.tolist(),
                (rng.normal(0, 4_000, 80)).tolist(),
                token=token,
                changes=(rng.normal(0, 9_000, 80) * (rng.random(80) < 0.2)).tolist(),
                liquidity=rng.uniform(5_000, 100_000, 80).tolist(),
                market_cap=(price * 1e8).tolist(),
            )
        )
    events = merged(*batches)
    # The price of the hour: the same for all tokens.
    quote = 1_000.0 + (events.known_at // HOUR % 97).astype(np.float64)
    instruments = [Instrument(f"pool-{n}", created_at=START - n * DAY) for n in range(5)]
    return KnownFeed(
        instruments, facts=_FACTS, events=[replace(events, quote_usd=quote)], kind="uniswap-v2"
    )
