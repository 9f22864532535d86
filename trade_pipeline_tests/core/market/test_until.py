"""A market until a moment: whatever the whole one knew by then, to the bit, and nothing later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.event import DAY, HOUR, MarketBatch
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.lp_ownership import DEAD_ADDRESS, LOCKERS, ZERO_ADDRESS
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
from trade_pipeline_tests.core.market import test_bars as bars
from trade_pipeline_tests.core.market import test_uniswap_v2 as tape
from trade_pipeline_tests.core.market.test_mentions import MENTIONS, MESSAGES, write_counts
from trade_pipeline_tests.core.session.stored import START, market

MIDNIGHT, SECOND = tape.MIDNIGHT, tape.SECOND


def events(feed: MarketFeed, end: int) -> dict[str, bytes]:
    """Every column of the events known before a moment, as bytes."""
    found = list(feed.batches(0, end))
    return {
        field.name: b"".join(getattr(batch, field.name).tobytes() for batch in found)
        for field in fields(MarketBatch)
    }


def assert_same_until(whole: MarketFeed, moment: int) -> None:
    cut = whole.until(moment)
    assert events(cut, 2**62) == events(whole, moment + 1)
    count = len(cut.instruments)
    assert list(cut.instruments) == list(whole.instruments[:count])
    # Moments of before, the moment itself, and later ones, which tell no more than it.
    ages = np.array([0, 1, SECOND, HOUR, 5 * HOUR, DAY])
    token = np.tile(np.arange(min(count, 12), dtype=np.int32), len(ages))
    at = moment - np.repeat(ages, min(count, 12))
    for of in ("facts_at", "mentions_at"):
        found, expected = getattr(cut, of)(token, at), getattr(whole, of)(token, at)
        assert {name: column.tobytes() for name, column in found.items()} == {
            name: column.tobytes() for name, column in expected.items()
        }


# A fresh market for each example, so that nothing is remembered from the example before.
Make = Callable[[], tuple[MarketFeed, int, int]]


def _tape(folder: Path) -> Make:
    rows = [("ab"[n % 2], 1800.0 * n, 10.0 + n % 7, 1000.0 - 3 * n) for n in range(60)]
    tape.write_tape(folder, rows, tape.pool_columns("ab", supply=900.0))
    tape.write_transfers(
        folder,
        [
            (2.0, ZERO_ADDRESS, "creator", 100.0),
            (7 * 3600.0, "creator", LOCKERS[0], 30.0),
            (7 * 3600.0, "creator", DEAD_ADDRESS, 25.0),
            (20 * 3600.0, ZERO_ADDRESS, "somebody", 100.0),
        ],
    )
    # The ETH price changes by the hour, and some hours are missing.
    hours = [hour for hour in range(-3, 40) if hour not in (5, 6, 12)]
    tape.write(
        folder / "eth_usd.parquet",
        timestamp=tape.times(*(MIDNIGHT + hour * HOUR for hour in hours)),
        eth_usd=[2000.0 + hour for hour in hours],
    )
    return lambda: (UniswapV2Tape(folder), MIDNIGHT - HOUR, MIDNIGHT + 31 * HOUR)


def _bars(folder: Path) -> Make:
    sources = (bars.DAILY, bars.CARRIED, bars.CARRIED, bars.NONE)
    rows: list[bars.Row] = [
        (f"{coin}USDT", hour, 1.0 + hour, 7.0, sources[(hour + len(coin)) % 4])
        for hour in range(200)
        for coin in ("AAA", "BBBB", "CCC")
        if hour % 5 or coin != "CCC"
    ]
    quarters = ([row for row in rows if (row[1] < 90) == early] for early in (True, False))
    bars.write_bars(folder, *quarters)
    counts = write_counts(folder / "counts", MENTIONS, MESSAGES)
    return lambda: (HourlyBars(folder, counts), MIDNIGHT, MIDNIGHT + 205 * HOUR)


def _simulated(folder: Path) -> Make:
    whole = market()
    return lambda: (whole, START, START + 3 * DAY)


MAKERS = {"pools": _tape, "bars": _bars, "simulated": _simulated}


@pytest.fixture(scope="module", params=MAKERS)
def make(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Make:
    return MAKERS[request.param](tmp_path_factory.mktemp("market"))


@settings(max_examples=15, deadline=None)
@given(share=st.floats(0, 1), hourly=st.booleans())
def test_a_market_until_a_moment_is_the_whole_one_up_to_it(
    make: Make, share: float, hourly: bool
) -> None:
    whole, first, last = make()
    moment = first + int((last - first) * share)
    assert_same_until(whole, moment // HOUR * HOUR if hourly else moment)


def test_an_event_of_the_moment_itself_is_known(make: Make) -> None:
    whole, first, last = make()
    known = np.concatenate([batch.known_at for batch in whole.batches(first, last)])
    moment = int(known[len(known) // 2])
    for until, latest in ((moment, moment), (moment - 1, int(known[known < moment][-1]))):
        assert max(int(b.known_at[-1]) for b in whole.until(until).batches(0, 2**62)) == latest


def test_a_market_until_before_its_first_event_has_none(tmp_path: Path) -> None:
    for name, before in (("pools", MIDNIGHT - DAY), ("bars", MIDNIGHT - DAY)):
        (tmp_path / name).mkdir()
        whole, _, _ = MAKERS[name](tmp_path / name)()
        cut = whole.until(before)
        assert list(cut.batches(0, 2**62)) == []
        facts = cut.facts_at(np.zeros(1, np.int32), np.array([MIDNIGHT + DAY]))
        assert all(np.isnan(column).all() for column in facts.values())


def test_the_unit_of_the_supplies_is_that_of_the_whole_tape(tmp_path: Path) -> None:
    """Of pools that were stored in another unit than the first one, the first does not decide."""
    pools = tape.pool_columns("abcdefghijkl", supply=4e-15)
    pools["total_supply"] = [4000.0, *[4e-15] * 11]
    rows: list[tape.Row] = [(pool, n, 1.0, 1000.0) for n, pool in enumerate("abcdefghijkl")]
    whole = tape.write_tape(tmp_path, rows, pools)
    for seconds in range(12):
        assert_same_until(whole, MIDNIGHT + seconds * SECOND)
