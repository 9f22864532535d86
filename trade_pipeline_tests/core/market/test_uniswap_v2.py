"""The tape of Uniswap V2 pools: what an event is worth, when it is known, and what is refused."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, HOUR, MarketBatch, MarketEvent, TokenFacts
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.lp_ownership import DEAD_ADDRESS, LOCKERS, ZERO_ADDRESS
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
from trade_pipeline_tests.core.samples import facts_of

RECORDING = Path(__file__).resolve().parents[3] / "../shared/data/uniswap_v2"
needs_recording = pytest.mark.skipif(
    not RECORDING.is_dir(), reason=f"the recorded tape is not here: {RECORDING}"
)
SECOND = 1_000_000
MIDNIGHT = 18_900 * DAY
ALWAYS = (0, 2**62)
COLUMNS = list(MarketBatch.__dataclass_fields__)
UTC_TIME = pa.timestamp("us", tz="UTC")

# (pool, seconds after midnight, weth reserve, token reserve)
Row = tuple[str, float, float, float]


def write(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def times(*micros: int) -> pa.Array:
    return pa.array(micros, UTC_TIME)


def tape_columns(rows: list[Row]) -> dict[str, Any]:
    """A tape in which every row has a block of its own."""
    pool, seconds, weth, tokens = ([row[i] for row in rows] for i in range(4))
    return {
        "pool": pa.array(pool, pa.string()),
        "block": pa.array(range(100, 100 + len(rows)), pa.int32()),
        "log_index": pa.array([7] * len(rows), pa.int16()),
        "timestamp": times(*(MIDNIGHT + round(s * SECOND) for s in seconds)),
        "weth_reserve": pa.array(weth, pa.float64()),
        "token_reserve": pa.array(tokens, pa.float64()),
    }


def pool_columns(pools: str, supply: float | None = None, decimals: int = 18) -> dict[str, Any]:
    """One pool for each letter."""
    return {
        "pool": list(pools),
        "token": [f"token {pool}" for pool in pools],
        "symbol": [pool.upper() for pool in pools],
        "decimals": [decimals] * len(pools),
        "created_at": times(*[MIDNIGHT - DAY] * len(pools)),
        "total_supply": pa.array([supply] * len(pools), pa.float64()),
    }


def write_tape(folder: Path, rows: list[Row], pools: dict[str, Any] | None = None) -> UniswapV2Tape:
    """A tape with an ETH price of 2,000 USD on its first two days."""
    write(folder / "tape.parquet", **tape_columns(rows))
    write(folder / "pools.parquet", **(pools or pool_columns("ab")))
    hours = [MIDNIGHT - 2 * HOUR + hour * HOUR for hour in range(50)]
    write(folder / "eth_usd.parquet", timestamp=times(*hours), eth_usd=[2000.0] * 50)
    return UniswapV2Tape(folder)


def events(feed: MarketFeed, start: int = 0, end: int = 2**62) -> list[MarketEvent]:
    return [b.event(i) for b in feed.batches(start, end) for i in range(len(b))]


def same(one: list[MarketEvent], other: list[MarketEvent]) -> bool:
    return repr(one) == repr(other)  # NaN is equal to NaN here, and every double to itself only


ROWS: list[Row] = [
    ("a", 0, 10.0, 1000.0),  # the first liquidity
    ("b", 1, 5.0, 50.0),  # of another pool
    ("a", 2, 11.0, 910.0),  # a buy
    ("a", 3, 10.5, 950.0),  # a sell
    ("a", 4, 21.0, 1900.0),  # liquidity added
    ("b", 5, 4.0, 40.0),  # liquidity removed
    ("a", 6, 22.0, 1900.0),  # a donation of WETH
    ("a", 7, 22.0, 1950.0),  # a donation of tokens
]


def test_the_tape_is_a_market_feed(tmp_path: Path) -> None:
    feed: MarketFeed = write_tape(tmp_path, ROWS)
    assert feed.kind == "uniswap-v2"
    assert (feed.rules(0).buy_tax, feed.rules(0).sells_blocked_from) == (0.0, None)


def test_an_instrument_is_a_pool_and_its_token(tmp_path: Path) -> None:
    pools = pool_columns("ab")
    pools["symbol"] = pa.array(["A", None])
    first, second = write_tape(tmp_path, ROWS, pools).instruments
    assert (first.name, first.symbol, first.contract_address) == ("a", "A", "token a")
    assert first.created_at == MIDNIGHT - DAY
    assert second.symbol is None


def test_an_event_has_the_price_the_reserves_and_the_time_of_its_row(tmp_path: Path) -> None:
    event = events(write_tape(tmp_path, ROWS))[2]
    assert event.token == 0
    assert event.event_time == event.known_at == MIDNIGHT + 2 * SECOND
    assert (event.reserve_quote, event.reserve_token, event.quote_usd) == (11.0, 910.0, 2000.0)
    assert event.price_usd == 11.0 / 910.0 * 2000.0
    assert event.liquidity_usd == 2 * 11.0 * 2000.0
    assert math.isnan(event.open_usd + event.high_usd + event.low_usd)


@pytest.mark.parametrize(
    ("row", "volume", "flow", "liquidity"),
    [
        (0, 0.0, 0.0, 2 * 10.0 * 2000),
        (1, 0.0, 0.0, 2 * 5.0 * 2000),
        (2, 2000.0, 2000.0, 0.0),
        (3, 1000.0, -1000.0, 0.0),
        (4, 0.0, 0.0, 2 * 10.5 * 2000),
        (5, 0.0, 0.0, -2 * 1.0 * 2000),
        (6, 0.0, 0.0, 0.0),
        (7, 0.0, 0.0, 0.0),
    ],
    ids=[
        "first event",
        "first event of another pool",
        "buy",
        "sell",
        "liquidity added",
        "liquidity removed",
        "only WETH moved",
        "only tokens moved",
    ],
)
def test_a_change_of_reserves_is_a_swap_or_liquidity_or_neither(
    tmp_path: Path, row: int, volume: float, flow: float, liquidity: float
) -> None:
    event = events(write_tape(tmp_path, ROWS))[row]
    assert (event.volume_usd, event.flow_usd) == (volume, flow)
    assert event.liquidity_change_usd == liquidity


def test_a_pool_with_an_empty_side_has_no_price(tmp_path: Path) -> None:
    rows: list[Row] = [("a", 0, 1.0, 0.0), ("a", 1, 0.0, 1.0), ("a", 2, 0.0, 0.0)]
    read = events(write_tape(tmp_path, rows, pool_columns("a", 100.0)))
    assert all(math.isnan(event.price_usd) for event in read)
    assert all(math.isnan(event.market_cap_usd) for event in read)
    assert [event.liquidity_usd for event in read] == [4000.0, 0.0, 0.0]


def test_events_of_one_moment_keep_their_order(tmp_path: Path) -> None:
    rows: list[Row] = [("b", 0, 1.0, 1.0), ("a", 0, 2.0, 1.0), ("b", 0, 3.0, 0.5)]
    write_tape(tmp_path, rows)
    columns = tape_columns(rows)
    columns["block"], columns["log_index"] = [100] * 3, [7, 8, 300]
    write(tmp_path / "tape.parquet", **columns)
    assert [event.reserve_quote for event in events(UniswapV2Tape(tmp_path))] == [1.0, 2.0, 3.0]


# The ETH price.


@pytest.mark.parametrize(
    ("seconds", "price"), [(3599.999999, 1000.0), (3600, 2000.0), (7199, 2000.0), (7200, 3000.0)]
)
def test_an_hours_eth_price_is_known_only_when_the_hour_has_ended(
    tmp_path: Path, seconds: float, price: float
) -> None:
    write_tape(tmp_path, [("a", seconds, 1.0, 1.0)])
    hours = [MIDNIGHT + hour * HOUR for hour in (-1, 0, 1)]
    write(tmp_path / "eth_usd.parquet", timestamp=times(*hours), eth_usd=[1000.0, 2000.0, 3000.0])
    assert events(UniswapV2Tape(tmp_path))[0].quote_usd == price


@pytest.mark.parametrize(("days", "price"), [(0.999, 1000.0), (1.0, 2000.0), (2.0, 3000.0)])
def test_a_days_eth_price_is_known_only_when_the_day_has_ended(
    tmp_path: Path, days: float, price: float
) -> None:
    write_tape(tmp_path, [("a", days * 86_400, 1.0, 1.0)])
    stamps = [MIDNIGHT + day * DAY for day in (-1, 0, 1)]
    write(tmp_path / "eth_usd.parquet", timestamp=times(*stamps), eth_usd=[1e3, 2e3, 3e3])
    assert events(UniswapV2Tape(tmp_path))[0].quote_usd == price


def test_the_eth_prices_may_be_stored_with_the_index_of_a_frame(tmp_path: Path) -> None:
    write_tape(tmp_path, ROWS)
    columns = {"eth_usd": [7.0], "__index_level_0__": times(MIDNIGHT - HOUR)}
    pq.write_table(pa.table(columns), tmp_path / "eth_usd.parquet")
    assert events(UniswapV2Tape(tmp_path))[0].quote_usd == 7.0


@pytest.mark.parametrize("seconds", [-1, 2 * 86_400 + 1], ids=["before", "long after"])
def test_an_event_without_a_recent_eth_price_is_refused(tmp_path: Path, seconds: float) -> None:
    write_tape(tmp_path, [("a", seconds, 1.0, 1.0)])
    write(tmp_path / "eth_usd.parquet", timestamp=times(MIDNIGHT - HOUR), eth_usd=[7.0])
    with pytest.raises(BadMarketData, match=r"eth_usd\.parquet: column eth_usd: no entry ended"):
        events(UniswapV2Tape(tmp_path))


# The supply and the market cap.


def test_the_market_cap_is_price_times_supply(tmp_path: Path) -> None:
    event = events(write_tape(tmp_path, ROWS, pool_columns("ab", supply=4000.0)))[0]
    assert event.market_cap_usd == 10.0 / 1000.0 * 2000.0 * 4000.0


def test_the_market_cap_is_unknown_without_a_supply(tmp_path: Path) -> None:
    assert all(math.isnan(event.market_cap_usd) for event in events(write_tape(tmp_path, ROWS)))


def test_a_supply_below_the_pools_own_tokens_is_not_believed_at_that_event(tmp_path: Path) -> None:
    read = events(write_tape(tmp_path, ROWS, pool_columns("ab", supply=1000.0)))
    cap_is_known = [not math.isnan(event.market_cap_usd) for event in read if event.token == 0]
    assert cap_is_known == [True, True, True, False, False, False]  # 1,900 tokens from the fourth


@pytest.mark.parametrize(
    ("supply", "decimals", "whole"),
    [
        (4000.0, 18, 4000.0),
        (4000.0, 0, 4000.0),
        (4000.0 / 1e18, 18, 4000.0),
        (4000.0 / 1e9, 9, 4000.0),
        (1000.0 / 1e18, 18, 1000.0),  # the whole supply is in the pool
    ],
)
def test_the_unit_of_the_supplies_is_the_one_that_the_pools_fit(
    tmp_path: Path, supply: float, decimals: int, whole: float
) -> None:
    event = events(write_tape(tmp_path, ROWS, pool_columns("ab", supply, decimals)))[0]
    assert event.market_cap_usd == pytest.approx(10.0 / 1000.0 * 2000.0 * whole)


def supplies(tmp_path: Path, stored: list[float | None]) -> list[float]:
    """The market caps of pools (18 decimals) that hold 1,000 tokens at 1 WETH each."""
    pools = "abcdefghijklmnopqrst"[: len(stored)]
    columns = pool_columns(pools)
    columns["total_supply"] = pa.array(stored, pa.float64())
    rows: list[Row] = [(pool, i, 1000.0, 1000.0) for i, pool in enumerate(pools)]
    return [event.market_cap_usd / 2000.0 for event in events(write_tape(tmp_path, rows, columns))]


def test_the_unit_is_decided_once_for_all_pools_of_a_file(tmp_path: Path) -> None:
    scaled = supplies(tmp_path, [4e-15] * 9 + [4e-18])
    assert scaled[:9] == pytest.approx([4000.0] * 9)
    assert math.isnan(scaled[9])  # 4 tokens: impossible, and no reason to take another unit
    whole = supplies(tmp_path, [4000.0] * 9 + [4e-15])
    assert whole[:9] == pytest.approx([4000.0] * 9)
    assert math.isnan(whole[9])


def test_a_supply_that_fits_as_it_stands_in_a_file_of_scaled_ones_is_unknown(
    tmp_path: Path,
) -> None:
    assert math.isnan(supplies(tmp_path, [4e-15] * 9 + [4000.0])[9])


def test_pools_without_a_supply_do_not_count_for_the_unit(tmp_path: Path) -> None:
    caps = supplies(tmp_path, [4e-15, *[None] * 9])
    assert caps[0] == pytest.approx(4000.0)
    assert all(math.isnan(cap) for cap in caps[1:])


def test_supplies_whose_unit_cannot_be_told_are_refused_with_both_shares(tmp_path: Path) -> None:
    with pytest.raises(BadMarketData, match=r"column total_supply: .* 20\.0% .* 80\.0%"):
        supplies(tmp_path, [4e-15] * 6 + [4000.0] * 2 + [4e-18] * 2)


# Who owns the liquidity.


def write_transfers(folder: Path, transfers: list[tuple[float, str, str, float]]) -> None:
    """(seconds, from, to, LP tokens) of pool a."""
    seconds, sender, receiver, amount = ([t[i] for t in transfers] for i in range(4))
    write(
        folder / "lp_transfers.parquet",
        pool=["a"] * len(transfers),
        block=list(range(len(transfers))),
        log_index=[0] * len(transfers),
        timestamp=times(*(MIDNIGHT + round(s * SECOND) for s in seconds)),
        from_address=sender,
        to_address=receiver,
        lp_tokens=pa.array(amount, pa.float64()),
    )


TRANSFERS = [
    (0.0, ZERO_ADDRESS, ZERO_ADDRESS, 1e-15),
    (0.0, ZERO_ADDRESS, "creator", 100.0),
    (10.0, "creator", LOCKERS[0], 30.0),
    (20.0, "creator", LOCKERS[1], 20.0),
    (30.0, "creator", DEAD_ADDRESS, 25.0),
    (40.0, ZERO_ADDRESS, "somebody", 100.0),
    (50.0, "creator", "a", 25.0),  # to the pool, which then burns
    (60.0, "a", ZERO_ADDRESS, 25.0),
]


@pytest.mark.parametrize(
    ("seconds", "creator", "locked", "burned"),
    [
        (-0.000001, None, None, None),
        (0, 1.0, 0.0, 0.0),
        (9.999999, 1.0, 0.0, 0.0),
        (10, 0.7, 0.3, 0.0),
        (20, 0.5, 0.5, 0.0),
        (30, 0.25, 0.5, 0.25),
        (40, 0.125, 0.25, 0.125),
        (50, 0.0, 0.25, 0.125),
        (60, 0.0, 50 / 175, 25 / 175),
        (1e6, 0.0, 50 / 175, 25 / 175),
    ],
)
def test_the_shares_of_the_liquidity_are_those_after_the_latest_transfer(
    tmp_path: Path,
    seconds: float,
    creator: float | None,
    locked: float | None,
    burned: float | None,
) -> None:
    write_transfers(tmp_path, TRANSFERS)
    facts = facts_of(write_tape(tmp_path, ROWS), 0, MIDNIGHT + round(seconds * SECOND))
    assert facts.lp_creator_share == pytest.approx(creator)
    assert facts.lp_locked_share == pytest.approx(locked)
    assert facts.lp_burned_share == pytest.approx(burned)


def test_a_later_transfer_changes_no_earlier_share(tmp_path: Path) -> None:
    moments = [MIDNIGHT + second * SECOND for second in range(-1, 61)]
    write_transfers(tmp_path, TRANSFERS)
    whole = [facts_of(write_tape(tmp_path, ROWS), 0, at) for at in moments]
    for count in range(1, len(TRANSFERS)):
        write_transfers(tmp_path, TRANSFERS[:count])
        part = UniswapV2Tape(tmp_path)
        until = MIDNIGHT + round(TRANSFERS[count][0] * SECOND)
        before = [at for at in moments if at < until]
        assert [facts_of(part, 0, at) for at in before] == whole[: len(before)]


def test_the_tape_until_a_moment_tells_what_the_whole_one_knew_by_then(tmp_path: Path) -> None:
    write_transfers(tmp_path, [(100 + when, *transfer) for when, *transfer in TRANSFERS])
    whole = write_tape(tmp_path, ROWS)
    for seconds in (0, 1, 99, 100, 115, 160):
        at = MIDNIGHT + seconds * SECOND
        part = whole.until(at)
        assert facts_of(part, 0, at + DAY) == facts_of(whole, 0, at)
        assert same(events(part), events(whole, end=at + 1))


def test_the_shares_are_unknown_without_transfers_and_after_all_was_withdrawn(
    tmp_path: Path,
) -> None:
    assert facts_of(write_tape(tmp_path, ROWS), 0, MIDNIGHT) == TokenFacts()
    withdrawn = [
        (0.0, ZERO_ADDRESS, "creator", 0.1),
        (1.0, ZERO_ADDRESS, "creator", 0.2),
        (2.0, "creator", "a", 0.3),
        (2.0, "a", ZERO_ADDRESS, 0.3),  # leaves 5e-17: doubles
    ]
    write_transfers(tmp_path, withdrawn)
    feed = UniswapV2Tape(tmp_path)
    assert facts_of(feed, 0, MIDNIGHT + SECOND).lp_creator_share == 1.0
    assert facts_of(feed, 0, MIDNIGHT + 2 * SECOND) == TokenFacts()
    assert facts_of(feed, 1, MIDNIGHT + 2 * SECOND) == TokenFacts()


def test_lp_tokens_that_nobody_received_are_refused(tmp_path: Path) -> None:
    write_transfers(tmp_path, [TRANSFERS[1], (1.0, "somebody", "creator", 5.0)])
    with pytest.raises(BadMarketData, match=r"row 1: lp_tokens 5\.0 of pool a: somebody sends"):
        facts_of(write_tape(tmp_path, ROWS), 0, MIDNIGHT)


# Ranges.


def test_a_range_holds_its_start_and_not_its_end(tmp_path: Path) -> None:
    feed = write_tape(tmp_path, ROWS)
    known = [e.known_at for e in events(feed, MIDNIGHT + 2 * SECOND, MIDNIGHT + 4 * SECOND)]
    assert known == [MIDNIGHT + 2 * SECOND, MIDNIGHT + 3 * SECOND]
    assert events(feed, MIDNIGHT + DAY, 2**62) == []
    assert events(feed, MIDNIGHT + 4 * SECOND, MIDNIGHT + 2 * SECOND) == []


def test_a_long_tape_comes_in_batches_of_at_most_65536(tmp_path: Path) -> None:
    rows: list[Row] = [("a", i * 0.01, 1.0 + i % 7, 1.0) for i in range(70_000)]
    feed = write_tape(tmp_path, rows)
    assert [len(batch) for batch in feed.batches(*ALWAYS)] == [65_536, 70_000 - 65_536]


amounts = st.floats(1e-6, 1e6)
tapes = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), amounts, amounts), min_size=2, max_size=30
).map(
    lambda rows: [
        (pool, sum(r[1] for r in rows[: i + 1]), weth, tokens)
        for i, (pool, _, weth, tokens) in enumerate(rows)
    ]
)


@settings(max_examples=50, deadline=None)
@given(rows=tapes, seconds=st.integers(0, 100))
def test_a_range_in_two_parts_has_the_events_of_the_whole(rows: list[Row], seconds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        feed = write_tape(Path(folder), rows, pool_columns("abc", 1e7))
        cut = MIDNIGHT + seconds * SECOND
        assert same(events(feed, 0, cut) + events(feed, cut), events(feed))


@settings(max_examples=50, deadline=None)
@given(rows=tapes, data=st.data())
def test_later_rows_never_change_earlier_events(rows: list[Row], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(rows) - 1))
    pools = pool_columns("abc", 1e7)
    with tempfile.TemporaryDirectory() as folder:
        whole = events(write_tape(Path(folder), rows, pools))
        assert same(events(write_tape(Path(folder), rows[:count], pools)), whole[:count])


# What is refused.


def test_the_address_names_the_content_of_every_file_that_is_read(tmp_path: Path) -> None:
    feed = write_tape(tmp_path, ROWS)
    seen = {feed.content_address()}
    assert feed.content_address() in seen
    write_transfers(tmp_path, TRANSFERS)
    seen.add(feed.content_address())
    write(tmp_path / "eth_usd.parquet", timestamp=times(MIDNIGHT - HOUR), eth_usd=[7.0])
    seen.add(feed.content_address())
    write(tmp_path / "pools.parquet", **pool_columns("abc"))
    seen.add(feed.content_address())
    write(tmp_path / "tape.parquet", **tape_columns(ROWS[:-1]))
    seen.add(feed.content_address())
    assert len(seen) == 5
    (tmp_path / "labels.parquet").write_bytes(b"known only afterwards")
    assert feed.content_address() in seen


@pytest.mark.parametrize("name", ["tape.parquet", "pools.parquet", "eth_usd.parquet"])
def test_a_missing_file_is_named_with_what_to_do(tmp_path: Path, name: str) -> None:
    write_tape(tmp_path, ROWS)
    (tmp_path / name).unlink()
    with pytest.raises(BadMarketData, match=f"{name}: the file is missing; give the folder"):
        UniswapV2Tape(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadMarketData, match=r"nowhere.*: the file is missing; give the folder"):
        UniswapV2Tape(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["tape", "pools", "eth_usd", "lp_transfers"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    write_tape(tmp_path, ROWS)
    (tmp_path / f"{name}.parquet").write_bytes(b"PAR1 and then nothing more")
    with pytest.raises(BadMarketData, match=rf"{name}\.parquet: is not a readable Parquet file"):
        read_all(tmp_path)


def test_a_file_with_a_damaged_page_is_named(tmp_path: Path) -> None:
    rows: list[Row] = [("a", i, 1.0 + i / 7, 1.0) for i in range(5000)]
    write_tape(tmp_path, rows)
    content = bytearray((tmp_path / "tape.parquet").read_bytes())
    content[2000:40_000] = bytes(38_000)
    (tmp_path / "tape.parquet").write_bytes(content)
    with pytest.raises(BadMarketData, match=r"tape\.parquet: cannot be read"):
        read_all(tmp_path)


def read_all(folder: Path) -> None:
    feed = UniswapV2Tape(folder)
    facts_of(feed, 0, MIDNIGHT)
    events(feed)


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


LATE = MIDNIGHT + 60 * SECOND
MISTAKES: list[tuple[str, str, Any, str]] = [
    ("tape", "pool", None, "column pool is missing"),
    ("tape", "weth_reserve", None, "column weth_reserve is missing"),
    ("tape", "weth_reserve", texts("1", "2"), "column weth_reserve is string: expected floating"),
    ("tape", "block", [1.0, 2.0], "column block is double: expected integers"),
    ("tape", "pool", [1, 2], "column pool is int64: expected text"),
    ("tape", "timestamp", [MIDNIGHT, LATE], "column timestamp is int64: expected timestamps"),
    (
        "tape",
        "timestamp",
        pa.array([MIDNIGHT, LATE], pa.timestamp("us")),
        r"column timestamp is timestamp\[us\]: expected timestamps with a time zone",
    ),
    ("tape", "timestamp", times(LATE, MIDNIGHT), "row 1: timestamp 2021-.*:00:00.* of block 101"),
    ("tape", "pool", texts("a", None), "row 1: pool is missing"),
    ("tape", "pool", texts("a", "z"), "row 1: pool z is not known"),
    ("tape", "weth_reserve", pa.array([1.0, None]), "row 1: weth_reserve is missing"),
    ("tape", "weth_reserve", [1.0, math.nan], "row 1: weth_reserve nan of pool b in block 101"),
    ("tape", "weth_reserve", [-1.0, 1.0], r"row 0: weth_reserve -1\.0 of pool a in block 100"),
    ("tape", "token_reserve", [1.0, math.inf], "row 1: token_reserve inf of pool b in block 101"),
    ("tape", "block", [5, 4], "row 1: block 4, log_index 7 is not after block 5, log_index 7"),
    ("tape", "block", [5, 5], "row 1: block 5, log_index 7 is not after block 5, log_index 7"),
    ("pools", "token", None, "column token is missing"),
    ("pools", "decimals", [18.0, 18.0], "column decimals is double: expected integers"),
    ("pools", "decimals", [18, 78], r"row 1: decimals 78 of pool b: expected 0\.\.77"),
    ("pools", "decimals", [-1, 18], "row 0: decimals -1 of pool a"),
    ("pools", "pool", ["a", "a"], "row 1: pool a is listed twice"),
    ("pools", "total_supply", [1.0, math.inf], "row 1: total_supply inf of pool b"),
    ("pools", "total_supply", [-1.0, 1.0], r"row 0: total_supply -1\.0 of pool a"),
    ("eth_usd", "eth_usd", None, "column eth_usd is missing"),
    ("eth_usd", "timestamp", None, "column __index_level_0__ is missing"),
    ("eth_usd", "eth_usd", [0.0, 1.0], r"row 0: eth_usd 0\.0 at 2021-.* a finite amount > 0"),
    ("eth_usd", "eth_usd", [1.0, math.nan], "row 1: eth_usd nan at 2021-"),
    ("eth_usd", "timestamp", times(LATE, LATE), "row 1: timestamp 2021-.* is not after 2021-"),
    ("lp_transfers", "to_address", None, "column to_address is missing"),
    ("lp_transfers", "lp_tokens", [math.nan, 1.0], "row 0: lp_tokens nan of pool a"),
    ("lp_transfers", "lp_tokens", [-1.0, 1.0], r"row 0: lp_tokens -1\.0 of pool a"),
    ("lp_transfers", "pool", ["a", "z"], "row 1: pool z is not known"),
    ("lp_transfers", "block", [5, 4], "row 1: block 4, log_index 0 is not after block 5"),
]


@pytest.mark.parametrize(("name", "column", "value", "message"), MISTAKES)
def test_a_wrong_file_is_refused_with_the_file_the_column_and_the_value(
    tmp_path: Path, name: str, column: str, value: Any, message: str
) -> None:
    write_tape(tmp_path, ROWS[:2])
    stamps = times(MIDNIGHT - 2 * HOUR, MIDNIGHT - HOUR)
    write(tmp_path / "eth_usd.parquet", timestamp=stamps, eth_usd=[2000.0, 2000.0])
    write_transfers(tmp_path, TRANSFERS[:2])
    read_all(tmp_path)
    path = tmp_path / f"{name}.parquet"
    table = pq.read_table(path)
    index = table.column_names.index(column)
    without = table.remove_column(index)
    right = pa.array(value) if isinstance(value, list) else value
    pq.write_table(without if value is None else without.add_column(index, column, right), path)
    with pytest.raises(BadMarketData, match=rf"{name}\.parquet: {message}"):
        read_all(tmp_path)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    write_tape(tmp_path, ROWS)
    write(tmp_path / "tape.parquet", **tape_columns([]))
    with pytest.raises(BadMarketData, match=r"tape\.parquet: the file holds no rows"):
        read_all(tmp_path)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int16(), pa.string())])
def test_text_may_be_stored_in_any_way(tmp_path: Path, kind: pa.DataType) -> None:
    expected = events(write_tape(tmp_path, ROWS))
    columns = tape_columns(ROWS)
    columns["pool"] = columns["pool"].cast(kind)
    pq.write_table(pa.table(columns), tmp_path / "tape.parquet", row_group_size=3)
    assert same(events(UniswapV2Tape(tmp_path)), expected)


# The recording.


@pytest.fixture(scope="module")
def recording() -> UniswapV2Tape:
    return UniswapV2Tape(RECORDING)


@pytest.fixture(scope="module")
def recorded(recording: UniswapV2Tape) -> dict[str, np.ndarray]:
    batches = list(recording.batches(*ALWAYS))
    return {name: np.concatenate([getattr(b, name) for b in batches]) for name in COLUMNS}


@needs_recording
def test_the_recording_has_the_counts_that_pandas_finds(
    recording: UniswapV2Tape, recorded: dict[str, np.ndarray]
) -> None:
    assert len(recording.instruments) == 4886
    assert len(recorded["token"]) == 748_742
    assert np.count_nonzero(recorded["volume_usd"]) == 711_647
    assert np.count_nonzero(recorded["liquidity_change_usd"]) == 30_724 + 4886
    pool = pq.read_table(RECORDING / "tape.parquet", columns=["pool"])["pool"].to_pandas()
    names = np.array([instrument.name for instrument in recording.instruments])
    assert (names[recorded["token"]] == pool.astype(str).to_numpy()).all()


@needs_recording
def test_the_recording_is_in_order_and_complete(recorded: dict[str, np.ndarray]) -> None:
    assert (np.diff(recorded["known_at"]) >= 0).all()
    assert (recorded["event_time"] == recorded["known_at"]).all()
    unknown = {name for name in COLUMNS if np.isnan(recorded[name]).any()}
    assert unknown == {"open_usd", "high_usd", "low_usd", "market_cap_usd"}
    for name in ("price_usd", "liquidity_usd", "reserve_quote", "reserve_token", "quote_usd"):
        assert (recorded[name] > 0).all(), name


@needs_recording
def test_the_recording_has_the_known_values_of_its_first_event(
    recording: UniswapV2Tape, recorded: dict[str, np.ndarray]
) -> None:
    token = recorded["token"][0]
    assert recording.instruments[token].name == "0xabcda802207d555b3c14cc87f85804bafd60aa3b"
    assert moment_of(int(recorded["known_at"][0])).isoformat() == "2020-09-08T21:48:39+00:00"
    assert recorded["price_usd"][0] == pytest.approx(50 / 37_500 * 352.673494754)
    assert recorded["liquidity_change_usd"][0] == pytest.approx(2 * 50 * 352.673494754)


@needs_recording
def test_the_recordings_supplies_are_scaled_to_whole_tokens(
    recording: UniswapV2Tape, recorded: dict[str, np.ndarray]
) -> None:
    pool = "0x00f6869a9c67c77f6a2b753d72ec77cca7b81198"  # 1e4 stored, 9 decimals
    token = next(i for i, one in enumerate(recording.instruments) if one.name == pool)
    row = recorded["token"].tolist().index(token)
    supply = recorded["market_cap_usd"][row] / recorded["price_usd"][row]
    assert supply == pytest.approx(1e13)


@needs_recording
def test_a_recorded_pool_is_locked_when_its_creator_locks_it(recording: UniswapV2Tape) -> None:
    pool = "0xacec6371260061dea0bac505cd1cca50bd2ef049"
    token = next(i for i, one in enumerate(recording.instruments) if one.name == pool)
    locked_at = 1_630_690_735 * SECOND
    assert facts_of(recording, token, locked_at - 1).lp_creator_share == pytest.approx(1.0)
    facts = facts_of(recording, token, locked_at)
    assert (facts.lp_creator_share, facts.lp_burned_share) == (0.0, 0.0)
    assert facts.lp_locked_share is not None
    assert 0.98 < facts.lp_locked_share <= 1.0


@needs_recording
def test_the_facts_of_the_recording_are_shares(recording: UniswapV2Tape) -> None:
    token = np.arange(len(recording.instruments), dtype=np.int32)
    facts = recording.facts_at(token, np.full(len(token), MIDNIGHT + 100 * DAY))
    known = np.stack(list(facts.values()))
    assert set(facts) == {"lp_creator_share", "lp_locked_share", "lp_burned_share"}
    there = ~np.isnan(known).any(axis=0)
    assert there.sum() == 552
    assert np.isnan(known[:, ~there]).all()
    assert ((known[:, there] >= 0) & (known[:, there] <= 1)).all()
