"""Mentions in chat messages: when a count is known, what is none, and what is unknown."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.dataset.feature_table import feature_vectors
from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.event import DAY, HOUR, Floats
from trade_pipeline.core.market.mentions import Mentions
from trade_pipeline.core.market.simulator import SimulatorConfig
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline_tests.core.market.test_bars import DAILY, MIDNIGHT, write_bars
from trade_pipeline_tests.core.session.stored import market

# (coin, hour in which they were counted, how many); (hour, how many messages)
MENTIONS = [("AAA", 2, 3), ("AAA", 5, 1), ("ZZZ", 5, 9), ("BBB", 170, 2)]
MESSAGES = [(0, 10), (2, 20), (5, 30), (170, 40), (200, 50)]
# CCC is never named.
SYMBOLS = ["AAA", "BBB", "CCC"]
MENTIONS_FILE, MESSAGES_FILE = "mentions_1h.parquet", "messages_total_1h.parquet"


def write_counts(
    folder: Path, mentions: list[tuple[str, int, int]], messages: list[tuple[int, int]]
) -> Path:
    folder.mkdir(exist_ok=True)
    symbol, hour, count = zip(*mentions, strict=True)
    named = {"symbol": pa.array(symbol), "timestamp": times(hour), "mentions": pa.array(count)}
    pq.write_table(pa.table(named), folder / MENTIONS_FILE)
    hour, count = zip(*messages, strict=True)
    counted = {"timestamp": times(hour), "messages": pa.array(count)}
    pq.write_table(pa.table(counted), folder / MESSAGES_FILE)
    return folder


def times(hours: Any) -> pa.Array:
    return pa.array([MIDNIGHT + int(h * HOUR) for h in hours], pa.timestamp("us", tz="UTC"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_counts(tmp_path / "counts", MENTIONS, MESSAGES)


def counts(folder: Path, token: int, hours: list[float], until: float | None = None) -> Any:
    """The columns of a coin some hours after midnight."""
    end = None if until is None else MIDNIGHT + int(until * HOUR)
    at = np.array([MIDNIGHT + int(h * HOUR) for h in hours])
    return Mentions(folder, SYMBOLS, end).at(np.full(len(at), token, np.int32), at)


def same(one: Floats, other: Floats) -> bool:
    return one.tobytes() == other.tobytes()


def test_the_counts_of_an_hour_are_known_when_it_has_ended(folder: Path) -> None:
    found = counts(folder, 0, [2.999, 3, 3.999, 4])
    np.testing.assert_array_equal(found["mentions_1h"], [np.nan, 3, 3, 0])


def test_windows_of_all_lengths_and_all_messages(folder: Path) -> None:
    found = counts(folder, 0, [171])
    assert {name: values.tolist() for name, values in found.items()} == {
        "mentions_1h": [0], "mentions_24h": [0], "mentions_48h": [0], "mentions_168h": [1],
        "messages_24h": [40],
    }  # fmt: skip


def test_an_hour_of_the_recording_without_a_row_has_no_mention(folder: Path) -> None:
    found = counts(folder, 0, [100])
    assert (found["mentions_48h"].tolist(), found["messages_24h"].tolist()) == ([0], [0])


@pytest.mark.parametrize(("hours", "length"), [(23, 24), (47.5, 48), (167, 168)])
def test_a_window_that_begins_before_the_recording_is_unknown(
    folder: Path, hours: float, length: int
) -> None:
    found = counts(folder, 0, [hours, length])[f"mentions_{length}h"]
    assert np.isnan(found).tolist() == [True, False]


def test_nothing_is_known_after_the_recording(folder: Path) -> None:
    """Its last hour, that of 200, ends at 201."""
    found = counts(folder, 0, [201, 201.001, 300])
    for values in found.values():
        assert np.isnan(values).tolist() == [False, True, True]


def test_a_coin_is_unknown_until_it_is_first_named(folder: Path) -> None:
    """That it will be named is not known before."""
    known = counts(folder, 1, [170.999, 171, 172])
    np.testing.assert_array_equal(known["mentions_24h"], [np.nan, 2, 2])


def test_a_coin_that_is_never_named_is_unknown_but_the_messages_are_known(folder: Path) -> None:
    found = counts(folder, 2, [50])
    assert np.isnan(found["mentions_24h"]).all()
    assert found["messages_24h"].tolist() == [0]


def test_one_pair_is_told_the_same_as_many(folder: Path) -> None:
    token, at = np.arange(60, dtype=np.int32) % 3, MIDNIGHT + np.arange(60) * 4 * HOUR + 7
    mentions = Mentions(folder, SYMBOLS)
    for name, values in mentions.at(token, at).items():
        alone = [mentions.at(token[i : i + 1], at[i : i + 1])[name] for i in range(60)]
        assert same(values, np.concatenate(alone))


@settings(max_examples=60, deadline=None)
@given(hours=st.floats(1, 205), before=st.floats(0, 30))
def test_a_recording_that_was_cut_off_tells_the_same_of_the_time_before(
    tmp_path_factory: pytest.TempPathFactory, hours: float, before: float
) -> None:
    folder = tmp_path_factory.getbasetemp() / "cut"
    if not folder.is_dir():
        write_counts(folder, MENTIONS, MESSAGES)
    for token in range(len(SYMBOLS)):
        whole = counts(folder, token, [hours - before])
        cut = counts(folder, token, [hours - before], until=hours)
        assert all(same(cut[name], values) for name, values in whole.items())


def test_a_cut_recording_holds_nothing_that_was_not_known(folder: Path) -> None:
    """The hour of 5 ends at 6."""
    for until, mentions, messages in ((5.9, 0, 0), (6, 1, 30)):
        found = counts(folder, 0, [29], until)
        assert found["mentions_24h"].tolist() == [mentions]
        assert found["messages_24h"].tolist() == [messages]


@pytest.mark.parametrize("name", [MENTIONS_FILE, MESSAGES_FILE])
def test_a_folder_without_a_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(BadMarketData, match=f"{name}: the file is missing"):
        Mentions(folder, SYMBOLS)


@pytest.mark.parametrize(
    ("mentions", "messages", "message"),
    [
        ([("AAA", 1.5, 2)], MESSAGES, f"{MENTIONS_FILE}: row 0: timestamp .*expected a full hour"),
        ([("AAA", 1, -2)], MESSAGES, f"{MENTIONS_FILE}: row 0: mentions -2: expected a count >= 0"),
        (MENTIONS, [(1, -1)], f"{MESSAGES_FILE}: row 0: messages -1: expected a count >= 0"),
        ([*MENTIONS, ("AAA", 5, 4)], MESSAGES, "row 4: timestamp .* mentions were counted before"),
        (MENTIONS, [(1, 1), (2, 1), (1, 1)], "row 2: timestamp .* messages were counted before"),
    ],
)
def test_a_wrong_count_is_refused_with_the_file_and_the_value(
    tmp_path: Path, mentions: Any, messages: Any, message: str
) -> None:
    folder = write_counts(tmp_path / "counts", mentions, messages)
    with pytest.raises(BadMarketData, match=message):
        counts(folder, 0, [50])


def bars(folder: Path, mentions: Path | None = None) -> HourlyBars:
    write_bars(folder, [(f"{base}USDT", 30, 1.0, 10.0, DAILY) for base in ("BBB", "AAA")])
    return HourlyBars(folder, mentions)


def test_a_pair_has_the_mentions_of_its_coin(tmp_path: Path, folder: Path) -> None:
    feed = bars(tmp_path, folder)
    token, at = np.array([0, 1, 0], np.int32), np.full(3, MIDNIGHT + 29 * HOUR)
    assert [feed.instruments[t].name for t in (0, 1)] == ["AAA/USDT", "BBB/USDT"]
    np.testing.assert_array_equal(feed.mentions_at(token, at)["mentions_24h"], [1, np.nan, 1])
    cut = feed.until(MIDNIGHT + 6 * HOUR - 1)
    np.testing.assert_array_equal(cut.mentions_at(token, at)["mentions_24h"], [0, np.nan, 0])


def test_bars_without_counts_and_other_markets_never_know_mentions(tmp_path: Path) -> None:
    pair = np.zeros(1, np.int32), np.full(1, MIDNIGHT + 2 * DAY)
    assert bars(tmp_path).mentions_at(*pair) == {}
    assert market().mentions_at(*pair) == {}


def test_the_address_names_the_content_of_the_counts(tmp_path: Path, folder: Path) -> None:
    without, first = bars(tmp_path).content_address(), bars(tmp_path, folder).content_address()
    assert first == bars(tmp_path, folder).content_address()
    write_counts(folder, MENTIONS, [*MESSAGES, (201, 1)])
    second = bars(tmp_path, folder).content_address()
    write_counts(folder, [*MENTIONS, ("AAA", 7, 1)], [*MESSAGES, (201, 1)])
    assert len({without, first, second, bars(tmp_path, folder).content_address()}) == 4


def test_only_the_exchange_is_opened_with_mentions(tmp_path: Path, folder: Path) -> None:
    bars(tmp_path)
    rest: dict[str, Any] = {"seed": 1, "start": MIDNIGHT, "end": MIDNIGHT + DAY}
    rest |= {"simulator": SimulatorConfig(), "mentions": folder}
    opened = open_market("spot-1h", data=tmp_path, **rest)
    assert opened.mentions_at(np.zeros(1, np.int32), np.full(1, MIDNIGHT + 30 * HOUR))
    for kind in ("simulated", "uniswap-v2"):
        with pytest.raises(BadConfig, match=r"mentions='.*counts': market .* only spot-1h does"):
            open_market(kind, data=tmp_path, **rest)


def test_the_recorded_counts_agree_with_the_file(recordings: Path) -> None:
    path = recordings / "telegram_1h"
    if not path.is_dir():
        pytest.skip(f"no recorded mentions in {path}")
    rows = pq.read_table(path / MENTIONS_FILE, columns=["symbol", "timestamp", "mentions"])
    rows = rows.to_pandas()
    coin = str(rows["symbol"].value_counts().index[0])
    one = rows[rows["symbol"] == coin]
    ended = one["timestamp"].dt.as_unit("us").astype("int64").to_numpy() + HOUR
    at = ended[[len(ended) // 3, len(ended) // 2]]
    found = Mentions(path, [coin]).at(np.zeros(2, np.int32), at)
    for length in (1, 24, 168):
        expected = [one["mentions"][(ended > a - length * HOUR) & (ended <= a)].sum() for a in at]
        assert found[f"mentions_{length}h"].tolist() == expected
        assert min(expected) > 0


def test_most_recorded_pairs_have_features_of_their_mentions(recordings: Path) -> None:
    prices, path = recordings / "spot_1h", recordings / "telegram_1h"
    if not (prices.is_dir() and path.is_dir()):
        pytest.skip(f"no recorded bars and mentions in {recordings}")
    feed = HourlyBars(prices, path)
    names = [instrument.name for instrument in feed.instruments]
    at = np.full(len(names), micros(datetime(2021, 11, 10, 7, tzinfo=UTC)))
    vectors, _ = feature_vectors(feed, TradingConfig(), names, at)
    cut, _ = feature_vectors(feed.until(int(at[0])), TradingConfig(), names, at)
    assert same(cut, vectors)
    for name in NAMES:
        if name.startswith("mention"):
            values = vectors[:, NAMES.index(name)]
            assert (~np.isnan(values)).mean() > 0.8, name
            assert np.unique(values[~np.isnan(values)]).size > 1, name
