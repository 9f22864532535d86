"""How a pool's first hours went, from every change of its reserves up to a moment.

Only events known at the moment count, so the features of a tape that was cut off there are the
same, bit for bit.  Nothing here depends on other pools, on USD prices or on the calendar: what was
learnt in one market carries over to the next one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import HOUR, Floats, Ints

_Mask = npt.NDArray[np.bool_]

# Amounts below this are nothing; a logarithm of what may be zero is taken of the amount plus it.
_DUST = 1e-6
# The life up to the moment is divided into this many equal parts.
_PARTS = 24
_MINUTE = HOUR // 60
# A buy of so many whole hundredths of the quote token was typed by a person.
_ROUND = 1e-6


class _Groups:
    """Reductions of rows to one value a pool; each adds a pool's rows in their order."""

    def __init__(self, pool: Ints, pools: int) -> None:
        self.pool, self.pools = pool, pools
        self.first = np.searchsorted(pool, np.arange(pools))
        self.rows = np.bincount(pool, minlength=pools)

    def count(self, mask: _Mask) -> Floats:
        return np.bincount(self.pool[mask], minlength=self.pools).astype(np.float64)

    def total(self, values: Floats, mask: _Mask) -> Floats:
        return np.bincount(self.pool[mask], values[mask], minlength=self.pools).astype(np.float64)

    def mean(self, values: Floats, mask: _Mask) -> Floats:
        return self.total(values, mask) / self.count(mask)

    def largest(self, values: Floats, mask: _Mask) -> Floats:
        """NaN for a pool without such a row."""
        found = np.full(self.pools, -np.inf)
        np.maximum.at(found, self.pool[mask], values[mask])
        return np.where(np.isinf(found), np.nan, found)

    def smallest(self, values: Floats, mask: _Mask) -> Floats:
        return -self.largest(-values, mask)

    def row(self, values: Floats, number: Ints) -> Floats:
        """The value of a pool's row of this number; NaN where it has none."""
        inside = (number >= 0) & (number < self.rows)
        found = np.full(self.pools, np.nan)
        found[inside] = values[(self.first + number)[inside]]
        return found


def early_life(
    bounds: Ints, known_at: Ints, reserve_quote: Floats, reserve_token: Floats, moments: Ints
) -> dict[str, Floats]:
    """The features of many pools, each at its own moment.

    Args:
        bounds: where each pool's events begin; one more for the end, as in `GatheredEvents`.
        known_at: of each event, microseconds; rising within a pool, whose first event is the one
            that created its liquidity.
        reserve_quote, reserve_token: after the event, whole units.
        moments: one a pool; events known later do not count.

    Returns:
        By name, one value a pool; NaN where it is not defined.  ``*_log`` are logarithms of amounts
        of the quote token, ``*_share`` fractions of 1 (of the life so far, where they are times).

    Raises:
        BadConfig: ``bounds`` and ``moments`` do not belong together.
    """
    pools = len(moments)
    if len(bounds) != pools + 1:
        raise BadConfig(f"bounds: {len(bounds)} values, expected one more than {pools} moments")
    pool = np.repeat(np.arange(pools), np.diff(bounds))
    seen = known_at[bounds[0] : bounds[-1]] <= moments[pool]
    rows = np.flatnonzero(seen) + bounds[0]
    pool, time = pool[seen], known_at[rows].astype(np.float64)
    quote, token = reserve_quote[rows], reserve_token[rows]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        found = _features(_Groups(pool, pools), time, quote, token, moments.astype(np.float64))
    # A division by nothing is not defined.
    return {name: np.where(np.isfinite(values), values, np.nan) for name, values in found.items()}


def _features(
    groups: _Groups, time: Floats, quote: Floats, token: Floats, moments: Floats
) -> dict[str, Floats]:
    pool = groups.pool
    opens = np.diff(pool, prepend=-1) != 0
    quote_before = np.where(opens, 0.0, np.roll(quote, 1))
    change = quote - quote_before
    direction = np.sign(change) * np.sign(token - np.where(opens, 0.0, np.roll(token, 1)))
    swap = (direction < 0) & ~opens
    born = groups.row(time, np.zeros(groups.pools, np.int64))
    age = moments - born
    found = _reserves(groups, quote, token, change, direction, opens)
    found |= _amounts(groups, change, quote, quote_before, swap)
    found |= _rhythm(groups, change, quote, time, swap, born, age)
    swaps = np.flatnonzero(swap)
    found |= _sequence(_Groups(pool[swaps], groups.pools), change[swaps], time[swaps], born, age)
    return found


def _reserves(
    groups: _Groups, quote: Floats, token: Floats, change: Floats, direction: Floats, opens: _Mask
) -> dict[str, Floats]:
    """Where reserves and price stand against where they were."""
    start, end = np.zeros(groups.pools, np.int64), groups.rows - 1
    first, last = groups.row(quote, start), groups.row(quote, end)
    every = np.ones(len(quote), np.bool_)
    peak = groups.largest(quote, every)
    price = np.log(quote / token)
    priced = np.isfinite(price)
    price_first, price_last = groups.row(price, start), groups.row(price, end)
    price_peak = groups.largest(price, priced)
    depth = 0.5 * np.log(quote * token)
    added, removed = (direction > 0) & (change > 0) & ~opens, (direction > 0) & (change < 0)
    moves = np.diff(price, prepend=np.nan)
    moved = (direction < 0) & ~opens & np.isfinite(moves)
    mean = groups.mean(moves, moved)
    off = moves - mean[groups.pool]
    spread = np.sqrt(groups.mean(off**2, moved))
    return {
        "initial_is_whole": (np.abs(first - np.round(first)) < 1e-9).astype(np.float64),
        "growth": np.log((last + 1e-3) / (first + 1e-3)),
        "off_peak": np.log((last + 1e-3) / (peak + 1e-3)),
        "price_change": price_last - price_first,
        "price_peak": price_peak - price_first,
        "price_trough": groups.smallest(price, priced) - price_first,
        "price_drawdown": price_last - price_peak,
        "price_to_mean": price_last - groups.mean(price, priced),
        "tokens_left": np.log(groups.row(token, end) / groups.row(token, start)),
        "depth_change": groups.row(depth, end) - groups.row(depth, start),
        "additions": groups.count(added),
        "removals": groups.count(removed),
        "added_share": groups.total(change, added) / last,
        "removed_share": -groups.total(change, removed) / peak,
        "swap_move_spread": spread,
        "swap_move_skew": groups.mean(off**3, moved) / spread**3,
    }


def _amounts(
    groups: _Groups, change: Floats, quote: Floats, before: Floats, swap: _Mask
) -> dict[str, Floats]:
    """How much was bought and sold, in which sizes."""
    buy, sell = swap & (change > 0), swap & (change < 0)
    buys, sells = groups.count(buy), groups.count(sell)
    bought, sold = groups.total(change, buy), -groups.total(change, sell)
    zeros = np.zeros(groups.pools, np.int64)
    first, last = groups.row(quote, zeros), groups.row(quote, groups.rows - 1)
    size = np.log(np.abs(change) + 1e-12)
    mean_size = groups.mean(size, buy)
    relative = np.abs(change) / before
    hundredths = change * 100
    whole = buy & (np.abs(hundredths - np.round(hundredths)) < _ROUND) & (hundredths > 0.5)
    tenths = whole & (np.abs(change * 10 - np.round(change * 10)) < _ROUND)
    # Buys by size within their pool: the middle one, and how many repeat the one before.
    bought_rows = np.flatnonzero(buy)
    rounded = np.round(change[bought_rows], 6)
    order = np.lexsort((rounded, groups.pool[bought_rows]))
    by_size = _Groups(groups.pool[bought_rows][order], groups.pools)
    repeats = (np.diff(rounded[order], prepend=np.nan) == 0) & (
        np.diff(by_size.pool, prepend=-1) == 0
    )
    median = by_size.row(rounded[order], (by_size.rows - 1) // 2)
    return {
        "buys": buys,
        "sells": sells,
        "trades_log": np.log1p(buys + sells),
        "sell_share": sells / (buys + sells),
        "sold_share": sold / (bought + sold),
        "net_to_initial": np.log1p(np.maximum((bought - sold) / first, -0.999)),
        "net_log": np.sign(bought - sold) * np.log1p(10 * np.abs(bought - sold)),
        "net_share": (bought - sold) / last,
        "gross_log": np.log(bought + sold + _DUST),
        "gross_to_initial": np.log((bought + sold) / first + 1e-4),
        "largest_buy_log": np.log(groups.largest(change, buy)),
        "largest_buy_share": groups.largest(change, buy) / bought,
        "largest_buy_relative": groups.largest(relative, buy),
        "largest_sell_relative": groups.largest(relative, sell),
        "buy_concentration": groups.total(change**2, buy) / bought**2,
        "mean_buy_log": np.log(bought / buys),
        "median_buy_log": np.log(median),
        "geometric_buy_log": mean_size,
        "geometric_sell_log": groups.mean(size, sell),
        "buy_size_spread": np.sqrt(groups.mean((size - mean_size[groups.pool]) ** 2, buy)),
        "round_buy_share": groups.count(whole) / buys,
        "round_tenth_buy_share": groups.count(tenths) / buys,
        "repeated_buy_share": by_size.count(repeats) / buys,
        "small_buy_share": groups.count(buy & (change < 0.05)) / buys,
        "large_buy_share": groups.count(buy & (change > 1.0)) / buys,
    }


def _rhythm(
    groups: _Groups,
    change: Floats,
    quote: Floats,
    time: Floats,
    swap: _Mask,
    born: Floats,
    age: Floats,
) -> dict[str, Floats]:
    """When in the pool's life it was traded."""
    pool = groups.pool
    buy, sell = swap & (change > 0), swap & (change < 0)
    elapsed = (time - born[pool]) / age[pool]
    to_go = born[pool] + age[pool] - time
    last = groups.row(quote, groups.rows - 1)
    trades = groups.count(swap)
    part = np.minimum(np.nan_to_num(elapsed * _PARTS), _PARTS - 1).astype(np.int64)

    def by_part(mask: _Mask) -> Floats:
        cell = pool[mask] * _PARTS + part[mask]
        counts = np.bincount(cell, minlength=groups.pools * _PARTS)
        return counts.reshape(groups.pools, _PARTS).astype(np.float64)

    bought, sold = by_part(buy), by_part(sell)
    traded = bought + sold
    half, quarter = _PARTS // 2, _PARTS // 4
    late = traded[:, half:].sum(axis=1)
    share = traded / trades[:, None]
    entropy = -np.where(share > 0, share * np.log(share), 0.0).sum(axis=1)
    found = {
        "first_trade_share": groups.smallest(elapsed, swap),
        "first_sell_share": groups.smallest(elapsed, sell),
        "idle_share": 1.0 - groups.largest(elapsed, swap),
        "idle_buy_share": 1.0 - groups.largest(elapsed, buy),
        "idle_sell_share": 1.0 - groups.largest(elapsed, sell),
        "active_share": (traded > 0).mean(axis=1),
        "active_late_share": (traded[:, half:] > 0).mean(axis=1),
        "active_last_share": (traded[:, -quarter:] > 0).mean(axis=1),
        "active_buy_late_share": (bought[:, half:] > 0).mean(axis=1),
        "active_sell_share": (sold > 0).mean(axis=1),
        "active_sell_late_share": (sold[:, half:] > 0).mean(axis=1),
        "time_entropy": np.where(trades > 0, entropy, np.nan),
        "time_centre": (traded * np.arange(_PARTS)).sum(axis=1) / trades,
        "busiest_part": np.where(trades > 0, traded.argmax(axis=1), np.nan),
        "slowing": np.log1p(late) - np.log1p(traded[:, :half].sum(axis=1)),
        "slowing_late": np.log1p(traded[:, -quarter:].sum(axis=1))
        - np.log1p(traded[:, half:-quarter].sum(axis=1)),
        "trades_last_quarter_log": np.log1p(traded[:, -quarter:].sum(axis=1)),
        "trades_first_minute_log": np.log1p(groups.count(swap & (age[pool] - to_go <= _MINUTE))),
        "trades_first_10m_log": np.log1p(groups.count(swap & (age[pool] - to_go <= 10 * _MINUTE))),
        "trades_last_15m_log": np.log1p(groups.count(swap & (to_go < 15 * _MINUTE))),
        "trades_last_hour_log": np.log1p(groups.count(swap & (to_go < HOUR))),
        "net_last_hour": groups.total(change, swap & (to_go < HOUR)) / last,
        "net_last_quarter": groups.total(change, swap & (elapsed >= 0.75)) / last,
        "net_last_half": groups.total(change, swap & (elapsed >= 0.5)) / last,
        "bought_late_share": groups.total(change, buy & (elapsed >= 0.5))
        / groups.total(change, buy),
    }
    for percent in (10, 25, 50, 75, 90):
        then = groups.row(quote, groups.count(elapsed <= percent / 100).astype(np.int64) - 1)
        found[f"growth_since_{percent}pct"] = np.log((last + 1e-3) / (then + 1e-3))
    return found


def _sequence(
    swaps: _Groups, change: Floats, time: Floats, born: Floats, age: Floats
) -> dict[str, Floats]:
    """The order and the spacing of the swaps; here a row is a swap."""
    pool = swaps.pool
    opens = np.diff(pool, prepend=-1) != 0
    follows = ~opens
    buy = change > 0
    gap = np.diff(time, prepend=0.0)
    gaps = swaps.count(follows)
    mean_gap = swaps.mean(gap, follows)
    flips = follows & (np.diff(buy, prepend=False))
    at_once = follows & (gap == 0)
    run = np.cumsum(opens | flips) - 1
    length = np.bincount(run)[run].astype(np.float64) if len(run) else np.empty(0)
    longest = swaps.largest(length, buy)
    last_run = swaps.row(np.where(buy, length, -length), swaps.rows - 1)
    gap_spread = np.sqrt(swaps.mean((gap - mean_gap[pool]) ** 2, follows))
    number = np.arange(len(pool)) - swaps.first[pool]
    from_end = swaps.rows[pool] - 1 - number
    found = {
        "gap_log": np.log(mean_gap / 1e6 + 1.0),
        "gap_variation": gap_spread / mean_gap,
        "gap_longest_share": swaps.largest(gap, follows) / age,
        "same_block_share": swaps.count(at_once) / gaps,
        "blocks_log": np.log1p(swaps.count(~at_once)),
        "flip_share": swaps.count(flips) / gaps,
        "flip_at_once_share": swaps.count(flips & at_once) / gaps,
        "longest_buy_run_log": np.log1p(longest),
        "longest_buy_run_share": longest / swaps.count(buy),
        "last_run_log": np.sign(last_run) * np.log1p(np.abs(last_run)),
    }
    for n in (5, 10, 20):
        found[f"buy_share_last_{n}"] = swaps.mean(buy.astype(np.float64), from_end < n)
        then = swaps.row(time, swaps.rows - n)
        found[f"time_of_last_{n}_share"] = (born + age - then) / age
    for n in (5, 10, 20, 50):
        found[f"buy_share_first_{n}"] = swaps.mean(buy.astype(np.float64), number < n)
        then = swaps.row(time, np.full(swaps.pools, n - 1))
        found[f"time_to_{n}_share"] = (then - born) / age
    return found
