"""Hourly bars: when a bar is known, what it says, and what is refused."""

from __future__ import annotations

import math
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.event import DAY, HOUR, MarketBatch, MarketEvent
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline_tests.core.samples import facts_of

RECORDING = Path(__file__).resolve().parents[3] / "../shared/data/spot_1h"
needs_recording = pytest.mark.skipif(
    not RECORDING.is_dir(), reason=f"the recorded bars are not here: {RECORDING}"
)
MIDNIGHT = 18_900 * DAY
COLUMNS = list(MarketBatch.__dataclass_fields__)
DAILY, CARRIED, NONE = "coingecko_daily", "supply_carried_forward", "none"

# (symbol, hour in which it opens, close, market cap, its source)
Row = tuple[str, int, float, float | None, str]


def bar_columns(rows: list[Row]) -> dict[str, Any]:
    """Bars that open at 1.5 x their close, with a volume of 10."""
    symbol, hour, close, market_cap, source = ([row[i] for row in rows] for i in range(5))
    return {
        "symbol": pa.array(symbol, pa.string()),
        "timestamp": pa.array([MIDNIGHT + h * HOUR for h in hour], pa.timestamp("us", tz="UTC")),
        "open": pa.array([1.5 * c for c in close], pa.float32()),
        "high": pa.array([2.0 * c for c in close], pa.float32()),
        "low": pa.array([0.5 * c for c in close], pa.float32()),
        "close": pa.array(close, pa.float32()),
        "volume": pa.array([10.0] * len(rows), pa.float32()),
        "market_cap": pa.array(market_cap, pa.float32()),
        "market_cap_src": pa.array(source, pa.string()),
    }


def write_bars(folder: Path, *quarters: list[Row]) -> HourlyBars:
    """A file for each list of rows."""
    (folder / "ohlcv_1h").mkdir(exist_ok=True)
    for number, rows in enumerate(quarters, start=1):
        pq.write_table(pa.table(bar_columns(rows)), quarter(folder, number))
    return HourlyBars(folder)


def quarter(folder: Path, number: int = 1) -> Path:
    return folder / "ohlcv_1h" / f"2021Q{number}.parquet"


def events(feed: MarketFeed, start: int = 0, end: int = 2**62) -> list[MarketEvent]:
    return [b.event(i) for b in feed.batches(start, end) for i in range(len(b))]


def keys(read: list[MarketEvent]) -> list[tuple[int, int]]:
    """(token, hour in which it was known)."""
    return [(event.token, (event.known_at - MIDNIGHT) // HOUR) for event in read]


def same(one: list[MarketEvent], other: list[MarketEvent]) -> bool:
    return repr(one) == repr(other)  # NaN is equal to NaN here, and every double to itself only


FIRST: list[Row] = [
    ("AAAUSDT", 0, 2.0, 100.0, DAILY),
    ("AAAUSDT", 1, 3.0, 150.0, CARRIED),
    ("AAAUSDT", 3, 4.0, None, NONE),
    ("BBBUSDT", 0, 8.0, None, NONE),
    ("BBBUSDT", 1, 9.0, None, NONE),
]
SECOND: list[Row] = [("AAAUSDT", 4, 5.0, 250.0, CARRIED), ("CCCUSDT", 5, 1.0, 70.0, CARRIED)]


def test_the_bars_are_a_market_feed(tmp_path: Path) -> None:
    feed: MarketFeed = write_bars(tmp_path, FIRST)
    assert feed.kind == "spot-1h"
    assert (feed.rules(0).buy_tax, feed.rules(0).sells_blocked_from) == (0.0, None)


def test_an_instrument_is_a_pair_against_usdt(tmp_path: Path) -> None:
    instruments = write_bars(tmp_path, FIRST, SECOND).instruments
    assert [(i.name, i.symbol) for i in instruments] == [
        ("AAA/USDT", "AAA"),
        ("BBB/USDT", "BBB"),
        ("CCC/USDT", "CCC"),
    ]
    assert all(i.contract_address is None and i.created_at is None for i in instruments)


def test_a_bar_is_known_when_it_has_closed(tmp_path: Path) -> None:
    event = events(write_bars(tmp_path, FIRST))[0]
    assert event.event_time == event.known_at == MIDNIGHT + HOUR


def test_a_bar_has_its_prices_volume_and_market_cap_and_nothing_of_a_pool(tmp_path: Path) -> None:
    event = events(write_bars(tmp_path, FIRST))[0]
    assert (event.open_usd, event.high_usd, event.low_usd, event.price_usd) == (3.0, 4.0, 1.0, 2.0)
    assert (event.volume_usd, event.market_cap_usd) == (20.0, 100.0)
    pool = ("flow_usd", "liquidity_usd", "liquidity_change_usd", "reserve_quote", "reserve_token")
    assert all(math.isnan(getattr(event, name)) for name in (*pool, "quote_usd"))


def test_a_market_cap_without_a_source_is_unknown_even_if_there_is_a_number(
    tmp_path: Path,
) -> None:
    read = events(write_bars(tmp_path, [("AAAUSDT", 0, 2.0, 100.0, NONE)]))
    assert math.isnan(read[0].market_cap_usd)


def test_bars_are_sorted_by_the_time_when_they_are_known_and_then_by_symbol(
    tmp_path: Path,
) -> None:
    expected = [(0, 1), (1, 1), (0, 2), (1, 2), (0, 4), (0, 5), (2, 6)]
    assert keys(events(write_bars(tmp_path, FIRST, SECOND))) == expected
    by_time = sorted(FIRST, key=lambda row: (row[1], -ord(row[0][0])))
    assert keys(events(write_bars(tmp_path, by_time, SECOND))) == expected


def test_a_range_holds_its_start_and_not_its_end(tmp_path: Path) -> None:
    feed = write_bars(tmp_path, FIRST, SECOND)
    assert keys(events(feed, MIDNIGHT + 2 * HOUR, MIDNIGHT + 5 * HOUR)) == [(0, 2), (1, 2), (0, 4)]
    assert keys(events(feed, MIDNIGHT + 5 * HOUR, MIDNIGHT + 6 * HOUR)) == [(0, 5)]
    assert events(feed, MIDNIGHT + 7 * HOUR, 2**62) == []
    assert events(feed, MIDNIGHT + 5 * HOUR, MIDNIGHT) == []


@pytest.mark.parametrize("hours", [(0, 5), (6, 9)], ids=["before the second", "after the first"])
def test_a_quarter_outside_the_range_is_not_read(tmp_path: Path, hours: tuple[int, int]) -> None:
    feed = write_bars(tmp_path, FIRST, SECOND)
    start, end = (MIDNIGHT + hour * HOUR for hour in hours)
    expected = events(feed, start, end)
    quarter(tmp_path, 2 if hours[0] == 0 else 1).unlink()
    assert same(events(feed, start, end), expected)
    assert expected


def test_a_long_file_comes_in_batches_of_at_most_65536(tmp_path: Path) -> None:
    rows: list[Row] = [("AAAUSDT", hour, 1.0, None, NONE) for hour in range(70_000)]
    feed = write_bars(tmp_path, rows)
    assert [len(batch) for batch in feed.batches(0, 2**62)] == [65_536, 70_000 - 65_536]


@pytest.mark.parametrize(
    "stored",
    [{"write_statistics": False}, {"row_group_size": 1}],
    ids=["without statistics", "in many row groups"],
)
def test_the_span_of_a_file_does_not_depend_on_how_it_is_stored(
    tmp_path: Path, stored: dict[str, Any]
) -> None:
    hours = [(MIDNIGHT + h * HOUR, MIDNIGHT + (h + 1) * HOUR) for h in range(8)]
    feed = write_bars(tmp_path, FIRST, SECOND)
    expected = [events(feed, *hour) for hour in hours]
    for number, rows in enumerate((FIRST, SECOND), start=1):
        pq.write_table(pa.table(bar_columns(rows)), quarter(tmp_path, number), **stored)
    again = HourlyBars(tmp_path)
    for hour, bars in zip(hours, expected, strict=True):
        assert same(events(again, *hour), bars)


@pytest.mark.parametrize(
    ("hours", "estimated"),
    [
        (0, None),
        (1, None),  # of the same day
        (1.999, None),  # the next bar has not closed
        (2, True),
        (3.999, True),  # still the latest bar
        (4, None),  # unknown
        (5, True),  # in the next file
        (1000, True),
    ],
)
def test_a_market_cap_is_an_estimate_while_the_latest_known_bar_says_so(
    tmp_path: Path, hours: float, estimated: bool | None
) -> None:
    feed = write_bars(tmp_path, FIRST, SECOND)
    facts = facts_of(feed, 0, MIDNIGHT + round(hours * HOUR))
    assert facts.market_cap_estimated is estimated
    assert facts_of(feed, 1, MIDNIGHT + round(hours * HOUR)).as_dict() == {}


hourly = st.lists(
    st.tuples(
        st.sampled_from(["AAAUSDT", "BBBUSDT", "CCCUSDT"]),
        st.integers(0, 20),
        st.sampled_from([0.5, 1.0, 3.0]),
        st.just(70.0),
        st.sampled_from([DAILY, CARRIED, NONE]),
    ),
    min_size=2,
    max_size=30,
    unique_by=lambda row: row[:2],
).map(sorted)


@settings(max_examples=50, deadline=None)
@given(rows=hourly, hour=st.integers(0, 22))
def test_a_range_in_two_parts_has_the_bars_of_the_whole(rows: list[Row], hour: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        feed = write_bars(Path(folder), rows)
        cut = MIDNIGHT + hour * HOUR
        assert same(events(feed, 0, cut) + events(feed, cut), events(feed))


@settings(max_examples=50, deadline=None)
@given(rows=hourly, hour=st.integers(1, 20))
def test_later_bars_never_change_earlier_events_or_facts(rows: list[Row], hour: int) -> None:
    earlier = [row for row in rows if row[1] < hour]
    if not earlier:
        return
    cut = MIDNIGHT + hour * HOUR
    with tempfile.TemporaryDirectory() as folder:
        whole = write_bars(Path(folder), rows)
        expected = {
            (whole.instruments[e.token].name, e.known_at, e.price_usd, repr(e.market_cap_usd))
            for e in events(whole, 0, cut + 1)
        }
        estimates = {i.name: facts_of(whole, n, cut) for n, i in enumerate(whole.instruments)}
        part = write_bars(Path(folder), earlier)
        assert expected == {
            (part.instruments[e.token].name, e.known_at, e.price_usd, repr(e.market_cap_usd))
            for e in events(part)
        }
        for number, instrument in enumerate(part.instruments):
            assert facts_of(part, number, cut) == estimates[instrument.name]


# What is refused.


def test_the_address_names_the_content_of_every_file(tmp_path: Path) -> None:
    one = write_bars(tmp_path, FIRST, SECOND).content_address()
    (tmp_path / "symbols.csv").write_text("not read")
    assert HourlyBars(tmp_path).content_address() == one
    assert write_bars(tmp_path, FIRST, SECOND[:1]).content_address() != one
    assert write_bars(tmp_path, FIRST, SECOND).content_address() == one
    quarter(tmp_path, 2).rename(quarter(tmp_path, 3))
    assert HourlyBars(tmp_path).content_address() != one


def test_a_folder_without_bars_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadMarketData, match=r"ohlcv_1h: no \*\.parquet file; give the folder"):
        HourlyBars(tmp_path)


def test_a_symbol_that_is_no_pair_against_usdt_is_refused(tmp_path: Path) -> None:
    for symbol in ("AAABTC", "USDT"):
        with pytest.raises(BadMarketData, match=f"column symbol: '{symbol}': expected a pair like"):
            write_bars(tmp_path, [(symbol, 0, 1.0, None, NONE)])


def test_files_that_overlap_in_time_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadMarketData, match=r"2021Q2\.parquet: column timestamp begins with 2021-"):
        write_bars(tmp_path, FIRST, [("CCCUSDT", 3, 1.0, None, NONE)])


@pytest.mark.parametrize("hours", [(1, 1), (2, 1)], ids=["duplicate", "out of order"])
def test_two_bars_of_one_hour_and_bars_out_of_order_are_refused(
    tmp_path: Path, hours: tuple[int, int]
) -> None:
    rows: list[Row] = [("AAAUSDT", 0, 1.0, None, NONE), ("BBBUSDT", 0, 1.0, None, NONE)]
    rows += [("AAAUSDT", hour, 1.0, None, NONE) for hour in hours]
    feed = write_bars(tmp_path, rows)
    message = r"2021Q1\.parquet: row 3: timestamp .*01:00:00.* of AAAUSDT is not after"
    with pytest.raises(BadMarketData, match=message):
        events(feed)
    with pytest.raises(BadMarketData, match=message):
        facts_of(feed, 0, MIDNIGHT)


def texts(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


LOW, HIGH = np.float32(1.0), np.nextafter(np.float32(1.0), np.float32(2.0))
MISTAKES: list[tuple[str, Any, str]] = [
    ("symbol", None, "column symbol is missing"),
    ("close", None, "column close is missing"),
    ("market_cap_src", None, "column market_cap_src is missing"),
    ("close", [1, 2], "column close is int64: expected floating point numbers"),
    ("timestamp", [0, HOUR], "column timestamp is int64: expected timestamps with a time zone"),
    (
        "timestamp",
        pa.array([MIDNIGHT, MIDNIGHT + HOUR + 1], pa.timestamp("us", tz="UTC")),
        r"row 1: timestamp 2021-.*T01:00:00\.000001.*: expected a full hour",
    ),
    ("symbol", texts("AAAUSDT", None), "row 1: symbol is missing"),
    ("volume", [1.0, None], "row 1: volume is missing"),
    ("volume", [1.0, -1.0], r"row 1: volume -1\.0 of AAAUSDT at 2021-.*T01:00"),
    ("volume", [1.0, math.nan], "row 1: volume nan of AAAUSDT"),
    ("open", [1.0, 0.0], r"row 1: open 0\.0 of AAAUSDT at 2021-.* a finite amount > 0"),
    ("high", [0.0, 1.0], r"row 0: high 0\.0 of AAAUSDT"),
    ("low", [1.0, -1.0], r"row 1: low -1\.0 of AAAUSDT"),
    ("close", [1.0, math.inf], "row 1: close inf of AAAUSDT"),
    ("open", [1.0, HIGH], "row 1: high 1.* of AAAUSDT at .* is below the open or the close"),
    ("close", [1.0, HIGH], "row 1: high 1.* of AAAUSDT at .* is below the open or the close"),
    ("high", [np.float32(0.5), 1.0], r"row 0: high 0\.5 of AAAUSDT at .* is below the open"),
    ("low", [1.0, HIGH], "row 1: low 1.0000.* of AAAUSDT at .* is above the open or the close"),
    ("open", [1.0, 0.5], r"row 1: low 1\.0 of AAAUSDT at .* is above the open or the close"),
    ("close", [1.0, 0.5], r"row 1: low 1\.0 of AAAUSDT at .* is above the open or the close"),
    ("market_cap_src", texts(DAILY, "guess"), "row 1: market_cap_src guess is not known"),
    ("market_cap", [70.0, None], f"row 1: market_cap nan of AAAUSDT at .* market_cap_src {DAILY}"),
    ("market_cap", [70.0, 0.0], r"row 1: market_cap 0\.0 of AAAUSDT at .*: expected an amount > 0"),
]


@pytest.mark.parametrize(("column", "value", "message"), MISTAKES)
def test_a_wrong_file_is_refused_with_the_file_the_column_and_the_value(
    tmp_path: Path, column: str, value: Any, message: str
) -> None:
    columns = bar_columns([("AAAUSDT", hour, 1.0, 70.0, DAILY) for hour in (0, 1)])
    for name in ("open", "high", "low", "close"):
        columns[name] = pa.array([LOW, LOW], pa.float32())
    (tmp_path / "ohlcv_1h").mkdir()
    pq.write_table(pa.table(columns), quarter(tmp_path))
    assert len(events(HourlyBars(tmp_path))) == 2
    if value is None:
        del columns[column]
    elif isinstance(value, list) and any(isinstance(v, float | np.float32) for v in value):
        columns[column] = pa.array(value, pa.float32())
    else:
        columns[column] = value
    pq.write_table(pa.table(columns), quarter(tmp_path))
    with pytest.raises(BadMarketData, match=rf"2021Q1\.parquet: {message}"):
        events(HourlyBars(tmp_path))


def test_a_damaged_or_empty_file_is_named(tmp_path: Path) -> None:
    write_bars(tmp_path, FIRST)
    pq.write_table(pa.table(bar_columns([])), quarter(tmp_path))
    with pytest.raises(BadMarketData, match=r"2021Q1\.parquet: the file holds no rows"):
        HourlyBars(tmp_path)
    quarter(tmp_path).write_bytes(b"no bars")
    with pytest.raises(BadMarketData, match=r"2021Q1\.parquet: is not a readable Parquet file"):
        HourlyBars(tmp_path)


# The recording.


def at(year: int, month: int, day: int, hour: int = 0) -> int:
    return micros(datetime(year, month, day, hour, tzinfo=UTC))


@pytest.fixture(scope="module")
def recording() -> HourlyBars:
    return HourlyBars(RECORDING)


@pytest.fixture(scope="module")
def recorded(recording: HourlyBars) -> dict[str, np.ndarray]:
    batches = list(recording.batches(0, 2**62))
    return {name: np.concatenate([getattr(b, name) for b in batches]) for name in COLUMNS}


@needs_recording
def test_the_recording_has_its_counts_and_span(
    recording: HourlyBars, recorded: dict[str, np.ndarray]
) -> None:
    assert len(recording.instruments) == 87
    assert len(recorded["token"]) == 1_157_036
    assert recorded["known_at"][0] == at(2021, 4, 4, 21)
    assert recorded["known_at"][-1] == at(2023, 1, 1)
    assert sum(len(b) for b in recording.batches(0, at(2021, 7, 1, 1))) == 113_490


@needs_recording
def test_the_recording_is_in_order_and_complete(recorded: dict[str, np.ndarray]) -> None:
    time_step, token_step = np.diff(recorded["known_at"]), np.diff(recorded["token"])
    assert ((time_step > 0) | ((time_step == 0) & (token_step > 0))).all()
    pool = {"flow_usd", "liquidity_usd", "liquidity_change_usd"}
    pool |= {"reserve_quote", "reserve_token", "quote_usd"}
    assert {name for name in COLUMNS if np.isnan(recorded[name]).all()} == pool
    unknown = {name for name in COLUMNS if np.isnan(recorded[name]).any()}
    assert unknown == pool | {"market_cap_usd"}
    assert np.isnan(recorded["market_cap_usd"]).sum() == 4841 + 2202 + 360 + 1264


@needs_recording
def test_the_recording_has_the_known_values_of_a_bar(recording: HourlyBars) -> None:
    token = next(i for i, one in enumerate(recording.instruments) if one.name == "ACM/USDT")
    read = events(recording, at(2022, 10, 1, 1), at(2022, 10, 1, 2))  # opened at midnight
    event = next(event for event in read if event.token == token)
    prices = (event.open_usd, event.high_usd, event.low_usd, event.price_usd)
    assert prices == pytest.approx((3.881, 3.922, 3.880, 3.906))
    assert event.volume_usd == pytest.approx(3897.600098 * 3.906)
    assert event.market_cap_usd == 7_816_526.5


@needs_recording
def test_the_recorded_market_caps_are_estimates_from_2022(recording: HourlyBars) -> None:
    token = next(i for i, one in enumerate(recording.instruments) if one.name == "ACM/USDT")
    assert facts_of(recording, token, at(2022, 1, 1)).market_cap_estimated is None
    assert facts_of(recording, token, at(2022, 1, 1, 1)).market_cap_estimated is True
