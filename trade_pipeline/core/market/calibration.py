"""How alike a simulated market and a recorded one are.

`measure` reads any market through its events alone, so both sides are measured by the same code.
Only pools created inside the range count, and a share of pools drained within some time counts only
the pools that the range shows for at least that long.

How the simulator's defaults were derived: 1,181 unselected Uniswap V2 pools, created 2021-09-03 to
2021-10-07, were measured over 2021-09-03 to 2021-10-08, split into pools that were drained at once
and others.  Medians and spreads of first liquidity, trades, trade size, and age at draining were
read off; activity early in a life, trade size against liquidity and against the number of trades,
and the promotion's gain were then moved by hand until every statistic below lay within a factor of
1.5 in the geometric mean of three seeds.  Single seeds differ more in heavy tails (``events_mean``,
``cap_first_p90``).  How the pools that are not drained at once divide into fates, and all traits,
taxes and sentiment, are assumptions: the tape says nothing about them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market.event import DAY, HOUR, Floats, Ints
from trade_pipeline.core.market.feed import MarketFeed

DRAINED = 0.9
"""A pool is drained when this share of its liquidity is removed within an hour."""

ACTIVE_LIQUIDITY_USD = 20_000.0
ACTIVE_VOLUME_USD = 100_000.0
LOW_CAP_USD = (100_000.0, 50_000_000.0)

MIN_RETURNS = 6
"""A pool's volatility counts from this many hourly returns on."""


def _statistic(unit: str, meaning: str) -> Any:
    return field(metadata={"unit": unit, "meaning": meaning})


@dataclass(frozen=True, slots=True)
class MarketStatistics:
    """What a market looks like, over the pools created inside a range; NaN where none tells."""

    pools: float = _statistic("pools", "pools created in the range")
    pools_per_day: float = _statistic("pools/day", "the same a day")
    events_median: float = _statistic("events/pool", "events of a pool, all kinds")
    events_p90: float = _statistic("events/pool", "the same, 90th percentile")
    events_mean: float = _statistic("events/pool", "the same, mean")
    lifetime_median: float = _statistic("hours", "first to last event of a pool")
    lifetime_p90: float = _statistic("hours", "the same, 90th percentile")
    liquidity_first_median: float = _statistic("USD", "liquidity (both sides) after creation")
    liquidity_first_p10: float = _statistic("USD", "the same, 10th percentile")
    liquidity_first_p90: float = _statistic("USD", "the same, 90th percentile")
    trade_share_median: float = _statistic("share", "a swap over the quote reserve before it")
    trade_share_p90: float = _statistic("share", "the same, 90th percentile")
    trade_usd_median: float = _statistic("USD", "size of a swap")
    buy_share: float = _statistic("share", "buys among all swaps")
    buy_share_pool_median: float = _statistic("share", "buys among a pool's swaps, median pool")
    liquidity_event_share: float = _statistic("share", "additions and removals among events")
    volatility_median: float = _statistic("log/hour", "std of a pool's hourly log returns")
    volatility_p90: float = _statistic("log/hour", "the same, 90th percentile")
    drained_1h: float = _statistic("share", "pools drained within an hour of creation")
    drained_6h: float = _statistic("share", "within six hours")
    drained_24h: float = _statistic("share", "within a day")
    drained_7d: float = _statistic("share", "within seven days")
    unsold_share: float = _statistic("share", "pools with at least 10 buys, at most 2 sells")
    cap_unknown_share: float = _statistic("share", "pools without a market cap at creation")
    cap_first_median: float = _statistic("USD", "market cap at a pool's first swap, where known")
    cap_first_p10: float = _statistic("USD", "the same, 10th percentile")
    cap_first_p90: float = _statistic("USD", "the same, 90th percentile")
    active_share: float = _statistic(
        "share", "pools that ever have liquidity > 20 K and 24 h volume > 100 K USD"
    )
    low_cap_share: float = _statistic(
        "share", "pools that ever have those and a market cap of 100 K to 50 M USD"
    )


@dataclass(frozen=True, slots=True)
class CalibrationRow:
    """One statistic of both markets; ``ratio`` is simulated over recorded, NaN where unknown."""

    statistic: str
    meaning: str
    unit: str
    recorded: float
    simulated: float
    ratio: float


@dataclass(frozen=True, slots=True)
class _Pool:
    """One pool's events in columns."""

    time: Ints
    price_usd: Floats
    volume_usd: Floats
    flow_usd: Floats
    liquidity_usd: Floats
    liquidity_change_usd: Floats
    market_cap_usd: Floats
    reserve_quote: Floats
    quote_usd: Floats


def measure(feed: MarketFeed, start: int, end: int) -> MarketStatistics:
    """Measures a market over ``start <= known_at < end`` (microseconds since 1970-01-01 UTC).

    Raises:
        BadMarketData: no pool was created inside the range.
    """
    pools = _pools(feed, start, end)
    if not pools:
        raise BadMarketData(
            f"no pool of the {feed.kind} market was created between {start} and {end}"
        )
    swaps = [pool.volume_usd > 0 for pool in pools]
    share = _all(
        pool.volume_usd[1:][swap[1:]] / (pool.quote_usd[1:] * pool.reserve_quote[:-1])[swap[1:]]
        for pool, swap in zip(pools, swaps, strict=True)
    )
    flow = _all(pool.flow_usd[swap] for pool, swap in zip(pools, swaps, strict=True))
    bought = np.array([float((pool.flow_usd > 0).sum()) for pool in pools])
    sold = np.array([float((pool.flow_usd < 0).sum()) for pool in pools])
    traded = bought + sold > 0
    events = np.array([len(pool.time) for pool in pools], dtype=np.float64)
    life = np.array([float(pool.time[-1] - pool.time[0]) for pool in pools]) / HOUR
    first_liquidity = np.array([pool.liquidity_usd[0] for pool in pools])
    volatility = np.array([_volatility(pool) for pool in pools])
    drained_at = np.array([_drained_age(pool) for pool in pools])
    seen_for = np.array([float(end - pool.time[0]) for pool in pools])
    first_cap = np.array(
        [
            pool.market_cap_usd[swap][0]
            for pool, swap in zip(pools, swaps, strict=True)
            if swap.any()
        ]
    )
    active = [_active(pool) for pool in pools]
    low, high = LOW_CAP_USD
    low_cap = [
        bool((busy & (pool.market_cap_usd >= low) & (pool.market_cap_usd <= high)).any())
        for pool, busy in zip(pools, active, strict=True)
    ]

    def drained_within(age: int) -> float:
        seen = seen_for >= age
        return float((drained_at[seen] <= age).mean()) if seen.any() else math.nan

    changes = sum(float((pool.liquidity_change_usd[1:] != 0).sum()) for pool in pools)
    return MarketStatistics(
        pools=float(len(pools)),
        pools_per_day=len(pools) / ((end - start) / DAY),
        events_median=_quantile(events, 0.5),
        events_p90=_quantile(events, 0.9),
        events_mean=float(events.mean()),
        lifetime_median=_quantile(life, 0.5),
        lifetime_p90=_quantile(life, 0.9),
        liquidity_first_median=_quantile(first_liquidity, 0.5),
        liquidity_first_p10=_quantile(first_liquidity, 0.1),
        liquidity_first_p90=_quantile(first_liquidity, 0.9),
        trade_share_median=_quantile(share, 0.5),
        trade_share_p90=_quantile(share, 0.9),
        trade_usd_median=_quantile(np.abs(flow), 0.5),
        buy_share=float((flow > 0).mean()) if len(flow) else math.nan,
        buy_share_pool_median=_quantile(bought[traded] / (bought + sold)[traded], 0.5),
        liquidity_event_share=changes / float(events.sum()),
        volatility_median=_quantile(volatility, 0.5),
        volatility_p90=_quantile(volatility, 0.9),
        drained_1h=drained_within(HOUR),
        drained_6h=drained_within(6 * HOUR),
        drained_24h=drained_within(DAY),
        drained_7d=drained_within(7 * DAY),
        unsold_share=float(((bought >= 10) & (sold <= 2)).mean()),
        cap_unknown_share=float(np.mean([math.isnan(pool.market_cap_usd[0]) for pool in pools])),
        cap_first_median=_quantile(first_cap, 0.5),
        cap_first_p10=_quantile(first_cap, 0.1),
        cap_first_p90=_quantile(first_cap, 0.9),
        active_share=float(np.mean([busy.any() for busy in active])),
        low_cap_share=float(np.mean(low_cap)),
    )


def compare(recorded: MarketStatistics, simulated: MarketStatistics) -> list[CalibrationRow]:
    """Both markets' statistics side by side."""
    rows = []
    for item in fields(MarketStatistics):
        real, made = getattr(recorded, item.name), getattr(simulated, item.name)
        ratio = made / real if real else math.nan
        meaning, unit = item.metadata["meaning"], item.metadata["unit"]
        rows.append(CalibrationRow(item.name, meaning, unit, real, made, ratio))
    return rows


def calibrate(
    tape: MarketFeed, simulated: MarketFeed, start: int, end: int
) -> list[CalibrationRow]:
    """Measures a recorded and a simulated market over the same range, side by side.

    Raises:
        BadMarketData: one of them has no pool that was created inside the range.
    """
    return compare(measure(tape, start, end), measure(simulated, start, end))


def _pools(feed: MarketFeed, start: int, end: int) -> list[_Pool]:
    """The pools created inside the range, each with its events there."""
    born_inside = np.array(
        [
            instrument.created_at is not None and start <= instrument.created_at < end
            for instrument in feed.instruments
        ],
        dtype=bool,
    )
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    for batch in feed.batches(start, end):
        row = born_inside[batch.token]
        parts.append(
            (
                batch.token[row],
                batch.event_time[row],
                batch.price_usd[row],
                batch.volume_usd[row],
                batch.flow_usd[row],
                batch.liquidity_usd[row],
                batch.liquidity_change_usd[row],
                batch.market_cap_usd[row],
                batch.reserve_quote[row],
                batch.quote_usd[row],
            )
        )
    if not parts:
        return []
    token, *columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(token, kind="stable")
    bounds = np.flatnonzero(np.diff(token[order])) + 1
    pieces = zip(*(np.split(column[order], bounds) for column in columns), strict=True)
    return [_Pool(*piece) for piece in pieces if len(piece[0])]


def _drained_age(pool: _Pool) -> float:
    """The age at which the pool was first drained; infinite if never."""
    after, before = pool.reserve_quote[1:], pool.reserve_quote[:-1]
    removal = (pool.liquidity_change_usd[1:] < 0) & (before > 0)
    if not removal.any():
        return math.inf
    left = np.log(np.maximum(after[removal] / before[removal], 1e-12))
    time = pool.time[1:][removal]
    total = np.cumsum(left)
    hour_before = np.searchsorted(time, time - HOUR, "left")
    within = total - np.concatenate(([0.0], total))[hour_before]
    drained = np.flatnonzero(within <= math.log(1 - DRAINED))
    return float(time[drained[0]] - pool.time[0]) if len(drained) else math.inf


def _volatility(pool: _Pool) -> float:
    """Standard deviation of log returns between the last prices of the hours with events."""
    price, hour = pool.price_usd, pool.time // HOUR
    last = np.append(np.diff(hour) > 0, True) & np.isfinite(price) & (price > 0)
    returns = np.diff(np.log(price[last]))
    return float(returns.std()) if len(returns) >= MIN_RETURNS else math.nan


def _active(pool: _Pool) -> npt.NDArray[np.bool_]:
    """At which events the pool had enough liquidity and enough volume in the 24 hours before."""
    total = np.cumsum(pool.volume_usd)
    day_before = np.searchsorted(pool.time, pool.time - DAY, "left")
    volume = total - np.concatenate(([0.0], total))[day_before]
    return (pool.liquidity_usd > ACTIVE_LIQUIDITY_USD) & (volume > ACTIVE_VOLUME_USD)


def _all(parts: Any) -> Floats:
    return np.concatenate(list(parts))


def _quantile(values: Floats, level: float) -> float:
    """A quantile of the finite values; NaN of none."""
    finite = values[np.isfinite(values)]
    return float(np.quantile(finite, level)) if len(finite) else math.nan
