"""The first hours of a few made-up pools."""

from __future__ import annotations

import math

import numpy as np
import pytest
from early_life import early_life
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import HOUR

MINUTE = HOUR // 60
Event = tuple[int, float, float]  # time, reserves of the quote token and of the token

# Created with 10 WETH; bought for 2.5 and 0.5, sold for 1, liquidity added, bought for 0.5.
POOL: list[Event] = [
    (0, 10.0, 1000.0),
    (6 * MINUTE, 12.5, 800.0),
    (6 * MINUTE, 13.0, 770.0),
    (30 * MINUTE, 12.0, 835.0),
    (40 * MINUTE, 24.0, 1670.0),
    (54 * MINUTE, 24.5, 1636.0),
]


def features(pools: list[list[Event]], moments: list[int]) -> dict[str, np.ndarray]:
    rows = [event for pool in pools for event in pool]
    bounds = np.cumsum([0, *map(len, pools)])
    columns = np.array(rows, np.float64).reshape(len(rows), 3).T
    return early_life(
        bounds, columns[0].astype(np.int64), columns[1], columns[2], np.array(moments, np.int64)
    )


def test_a_pool_of_six_events() -> None:
    found = {name: float(values[0]) for name, values in features([POOL], [HOUR]).items()}
    expected = {
        "buys": 3, "sells": 1, "additions": 1, "removals": 0, "sell_share": 1 / 4,
        "sold_share": 1 / 4.5, "growth": math.log(24.501 / 10.001), "off_peak": 0.0,
        "price_change": math.log(24.5 / 1636 * 100), "added_share": 12 / 24.5,
        "net_share": 2.5 / 24.5, "largest_buy_share": 2.5 / 3.5, "repeated_buy_share": 1 / 3,
        "round_buy_share": 1.0, "large_buy_share": 1 / 3, "median_buy_log": math.log(0.5),
        "buy_concentration": 6.75 / 12.25, "largest_sell_relative": 1 / 13,
        "first_trade_share": 0.1, "first_sell_share": 0.5, "idle_share": 0.1,
        "idle_sell_share": 0.5, "active_share": 3 / 24, "trades_last_15m_log": math.log(2),
        "net_last_half": -0.5 / 24.5, "bought_late_share": 0.5 / 3.5,
        "trades_first_10m_log": math.log(3), "growth_since_50pct": math.log(24.501 / 12.001),
        "gap_longest_share": 0.4, "same_block_share": 1 / 3, "flip_share": 2 / 3,
        "flip_at_once_share": 0.0, "blocks_log": math.log(4), "longest_buy_run_share": 2 / 3,
        "last_run_log": math.log(2), "buy_share_first_5": 0.75, "initial_is_whole": 1.0,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert math.isnan(found["time_to_5_share"])


def test_a_pool_that_nobody_traded_or_that_is_not_born_has_no_shares() -> None:
    found = features([POOL[:1], POOL], [HOUR, -1])
    assert found["buys"].tolist() == [0, 0]
    for name in ("sell_share", "idle_share", "mean_buy_log", "gap_log", "last_run_log"):
        assert np.isnan(found[name]).all(), name
    assert np.isnan(found["growth"]).tolist() == [False, True]


steps = st.tuples(
    st.integers(0, 20 * MINUTE), st.floats(0.5, 2.0), st.floats(0.5, 2.0), st.booleans()
)


@st.composite
def lives(draw: st.DrawFn) -> list[list[Event]]:
    found = []
    for moves in draw(st.lists(st.lists(steps, max_size=12), min_size=1, max_size=4)):
        time, quote, token = 0, 10.0, 1000.0
        pool = [(time, quote, token)]
        for wait, up, down, swap in moves:
            time, quote = time + wait, quote * up
            token = token / up if swap else token * down
            pool.append((time, quote, token))
        found.append(pool)
    return found


@settings(max_examples=60)
@given(lives(), st.integers(0, 2 * HOUR))
def test_a_tape_cut_off_at_the_moment_has_the_same_features(
    pools: list[list[Event]], moment: int
) -> None:
    moments = [moment] * len(pools)
    whole = features(pools, moments)
    cut = features([[e for e in pool if e[0] <= moment] for pool in pools], moments)
    for name, values in whole.items():
        np.testing.assert_array_equal(values, cut[name], err_msg=name)
        assert not np.isinf(values).any(), name


@settings(max_examples=40)
@given(lives())
def test_a_pool_has_the_same_features_alone_as_among_others(pools: list[list[Event]]) -> None:
    together = features(pools, [HOUR] * len(pools))
    for number, pool in enumerate(pools):
        for name, values in features([pool], [HOUR]).items():
            np.testing.assert_array_equal(values[0], together[name][number], err_msg=name)


def test_bounds_and_moments_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(BadConfig, match="2 values, expected one more than 2 moments"):
        features([POOL], [HOUR, HOUR])
