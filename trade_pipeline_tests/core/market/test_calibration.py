"""The calibration: both markets measured by the same code, and the defaults near the recording."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market.calibration import MarketStatistics, calibrate, measure
from trade_pipeline.core.market.event import (
    DAY,
    HOUR,
    Instrument,
    MarketBatch,
    TokenFacts,
    TradeRules,
)
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig

START = 1_630_627_200_000_000  # 2021-09-03
RECORDING = Path(__file__).parents[4] / "shared" / "data" / "uniswap_v2"
ETH = 1_000.0


class HandMadeMarket:
    """Pools whose events are written down as (pool, time, quote reserve, token reserve)."""

    kind = "hand-made"

    def __init__(
        self, rows: list[tuple[int, int, float, float]], created: Sequence[int], supply: float
    ) -> None:
        self.instruments = [Instrument(f"p{n}", created_at=at) for n, at in enumerate(created)]
        rows = sorted(rows, key=lambda row: row[1])
        before: dict[int, tuple[float, float]] = {}
        columns: list[tuple[float, ...]] = []
        for pool, time, x, y in rows:
            old_x, old_y = before.get(pool, (0.0, 0.0))
            before[pool] = x, y
            dx = (x - old_x) * ETH
            flow, liquidity = (dx, 0.0) if (x - old_x) * (y - old_y) < 0 else (0.0, 2 * dx)
            price = x / y * ETH
            cap = price * (supply if pool == 0 else math.nan)
            row = (pool, time, time, price, price, price, price, abs(flow), flow)
            columns.append((*row, 2 * x * ETH, liquidity, cap, x, y, ETH))
        arrays = [np.array(column) for column in zip(*columns, strict=True)]
        arrays[0] = arrays[0].astype(np.int32)
        self._batch = MarketBatch(*arrays)

    def content_address(self) -> str:
        return "sha256:" + "0" * 64

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        first, last = np.searchsorted(self._batch.known_at, [start, end]).tolist()
        for row in range(first, last, 3):
            yield self._batch.rows(row, min(row + 3, last))

    def facts(self, token: int, at: int) -> TokenFacts:
        return TokenFacts()

    def rules(self, token: int) -> TradeRules:
        return TradeRules()


def hand_made() -> HandMadeMarket:
    rows = [
        # Two buys, one sell, an addition, then drained in two halves an hour apart.
        (0, START, 100.0, 1_000.0),
        (0, START + HOUR, 110.0, 910.0),
        (0, START + 2 * HOUR, 132.0, 760.0),
        (0, START + 3 * HOUR, 99.0, 1_020.0),
        (0, START + 4 * HOUR, 198.0, 2_040.0),
        (0, START + 4 * HOUR + HOUR // 2, 60.0, 618.0),
        (0, START + 5 * HOUR + HOUR // 2, 6.0, 61.8),
        # Lives on: the same two halves, but further apart.
        (1, START + HOUR, 10.0, 1_000.0),
        (1, START + 5 * HOUR, 2.0, 200.0),
        (1, START + 7 * HOUR, 0.3, 30.0),
        # Created before the range: does not count.
        (2, START - DAY, 5.0, 5.0),
        (2, START + HOUR, 6.0, 4.2),
    ]
    return HandMadeMarket(rows, [START, START + HOUR, START - DAY], supply=5_000.0)


def test_a_hand_made_market_is_measured_as_one_would_by_hand() -> None:
    found = measure(hand_made(), START, START + 2 * DAY)
    assert found.pools == 2
    assert found.pools_per_day == 1
    assert found.events_mean == 5
    assert found.lifetime_median == pytest.approx((5.5 + 6) / 2)
    assert found.liquidity_first_median == pytest.approx((200_000 + 20_000) / 2)
    assert found.trade_share_median == pytest.approx(0.2)
    assert found.trade_usd_median == pytest.approx(22 * ETH)
    assert found.buy_share == pytest.approx(2 / 3)
    assert found.liquidity_event_share == pytest.approx(5 / 10)
    assert found.cap_unknown_share == 0.5
    assert found.cap_first_median == pytest.approx(110 / 910 * ETH * 5_000)
    assert found.active_share == 0
    # Six returns are the fewest that count; the first pool has five.
    assert math.isnan(found.volatility_median)


def test_a_pool_is_drained_only_when_it_happens_within_an_hour() -> None:
    found = measure(hand_made(), START, START + 2 * DAY)
    assert found.drained_1h == 0
    assert found.drained_6h == 0.5
    assert found.drained_24h == 0.5


def test_a_share_of_drained_pools_counts_only_pools_seen_for_long_enough() -> None:
    found = measure(hand_made(), START, START + 6 * HOUR)
    assert found.drained_6h == 1.0, "only the first pool can be seen for six hours"
    assert math.isnan(found.drained_24h)


def test_volume_in_a_day_makes_a_pool_active_only_with_enough_liquidity() -> None:
    def market(reserve: float, cap: float) -> HandMadeMarket:
        rows = [(0, START, reserve, 1_000.0)]
        for step in range(8):
            busy = reserve * (1.5 if step % 2 == 0 else 1.0)
            rows.append((0, START + (step + 1) * HOUR, busy, 1_000.0 * reserve / busy))
        return HandMadeMarket(rows, [START], supply=cap)

    deep = measure(market(30.0, 10_000.0), START, START + DAY)
    assert (deep.active_share, deep.low_cap_share) == (1.0, 1.0)
    tiny = measure(market(30.0, 2_000_000.0), START, START + DAY)
    assert (tiny.active_share, tiny.low_cap_share) == (1.0, 0.0)
    shallow = measure(market(5.0, 10_000.0), START, START + DAY)
    assert shallow.active_share == 0.0


def test_a_market_calibrated_with_itself_gives_ratios_of_one() -> None:
    config = SimulatorConfig(burn_in_days=1)
    market = SimulatedMarket(config, 1, START, START + 8 * DAY)
    rows = calibrate(market, market, START, START + 8 * DAY)
    assert [row.statistic for row in rows] == [f.name for f in fields(MarketStatistics)]
    assert {row.ratio for row in rows} == {1.0}
    assert all(row.unit and row.meaning for row in rows)
    assert all(math.isfinite(row.recorded) for row in rows)


def test_twice_the_pools_show_as_a_ratio_of_two() -> None:
    end = START + 3 * DAY
    one = SimulatedMarket(SimulatorConfig(burn_in_days=1), 1, START, end)
    two = SimulatedMarket(SimulatorConfig(burn_in_days=1, pools_per_day=68), 1, START, end)
    (row,) = [r for r in calibrate(one, two, START, end) if r.statistic == "pools_per_day"]
    assert row.ratio == pytest.approx(2, rel=0.3)
    assert row.ratio == row.simulated / row.recorded


def test_a_range_without_new_pools_is_refused() -> None:
    with pytest.raises(BadMarketData, match="hand-made"):
        measure(hand_made(), START + DAY, START + 2 * DAY)


@pytest.mark.skipif(not RECORDING.is_dir(), reason=f"the recording {RECORDING} is not here")
def test_the_default_market_is_like_the_recorded_one() -> None:
    from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape

    end = START + 35 * DAY
    recorded = UniswapV2Tape(RECORDING)
    simulated = SimulatedMarket(SimulatorConfig(), 1, START, end)
    # One seed's heavy tails differ by more than the factor of 1.5 that holds on average.
    allowed = {"cap_first_p90": 4.0, "events_mean": 2.0}
    for row in calibrate(recorded, simulated, START, end):
        most = allowed.get(row.statistic, 1.6)
        assert 1 / most <= row.ratio <= most, row
