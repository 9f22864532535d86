"""Candles of a user's CSV files: what becomes an hourly bar, and which row is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.candle_recording import import_candles
from trade_pipeline.core.market.candles import CandleFormat
from trade_pipeline.core.market.event import HOUR

HEAD = "time,open,high,low,close,volume"
FIRST = 1_704_067_200  # 2024-01-01T00:00Z
QUARTERS = [
    # open, high, low, close, volume: four candles of 15 minutes
    (10.0, 12.0, 9.0, 11.0, 1.0), (11.0, 15.0, 10.5, 10.5, 2.0),
    (10.5, 10.75, 8.0, 9.5, 3.0), (9.5, 10.0, 9.25, 9.75, 4.0),
]  # fmt: skip


def lines(count: int, step: int = 900, first: int = FIRST) -> list[str]:
    return [
        f"{first + n * step}," + ",".join(map(str, QUARTERS[n % 4])) for n in range(count)
    ]  # fmt: skip


def written(folder: Path, rows: list[str], name: str = "ABC-USD.csv", head: str = HEAD) -> Path:
    file = folder / name
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


def imported(folder: Path, *files: Path, **given: Any) -> tuple[list[dict[str, Any]], HourlyBars]:
    out = folder / "out"
    told = import_candles(files, CandleFormat(**given), out)
    return told, HourlyBars(out)


def test_candles_of_a_quarter_become_whole_hours(tmp_path: Path) -> None:
    # Two candles before the first whole hour, and one after the last.
    rows = lines(2, first=FIRST - 1_800) + lines(9)
    (told,), bars = imported(tmp_path, written(tmp_path, rows))
    assert (told["instrument"], told["hours"], told["cut_candles"]) == ("ABC/USDT", 2, 3)
    (batch,) = bars.batches(0, 1 << 62)
    assert batch.open_usd.tolist() == [10.0, 10.0]
    assert batch.high_usd.tolist() == [15.0, 15.0]
    assert batch.low_usd.tolist() == [8.0, 8.0]
    assert batch.price_usd.tolist() == [9.75, 9.75]
    assert batch.volume_usd.tolist() == [97.5, 97.5]
    assert np.isnan(batch.market_cap_usd).all()
    # Known when the hour has closed, and no moment before.
    assert batch.known_at.tolist() == [FIRST * 1_000_000 + HOUR, FIRST * 1_000_000 + 2 * HOUR]


def test_a_time_that_is_the_end_of_its_candle_is_known_no_earlier(tmp_path: Path) -> None:
    rows = lines(4, first=FIRST + 900)
    _, bars = imported(tmp_path, written(tmp_path, rows), stamped="close")
    (batch,) = bars.batches(0, 1 << 62)
    assert batch.known_at.tolist() == [FIRST * 1_000_000 + HOUR]


def test_a_volume_in_dollars_and_a_supply_are_told_in_dollars(tmp_path: Path) -> None:
    given: dict[str, Any] = {"volume_in": "quote", "supply": {"ABC": 100.0}}
    (told,), bars = imported(tmp_path, written(tmp_path, lines(4)), **given)
    (batch,) = bars.batches(0, 1 << 62)
    assert batch.volume_usd.tolist() == [10.0]
    assert batch.market_cap_usd.tolist() == [975.0]
    assert told["market_cap"] == "supply given"
    facts = bars.facts_at(np.zeros(1, np.int32), batch.known_at)
    assert facts["market_cap_estimated"].tolist() == [1.0]


@pytest.mark.parametrize("form", ["s", "ms", "us", "iso", "local"])
def test_a_time_is_the_same_in_every_form(tmp_path: Path, form: str) -> None:
    scale = {"s": 1, "ms": 1_000, "us": 1_000_000}
    texts = [f"2024-01-01T0{n}:00:00" for n in range(3)]
    if form in scale:
        times = [str((FIRST + 3_600 * n) * scale[form]) for n in range(3)]
    else:
        times = [text + ("+00:00" if form == "iso" else "") for text in texts]
    file = written(tmp_path, [f"{at},1,1,1,1,1" for at in times])
    zone = ZoneInfo("UTC") if form == "local" else None
    _, bars = imported(tmp_path, file, zone=zone)
    assert bars.span()[0] == FIRST * 1_000_000 + HOUR


def test_symbols_of_a_column_and_months_of_files_stand_together(tmp_path: Path) -> None:
    head = "pair;date;o;h;l;c;vol;cap"
    rows = [
        f"{pair};{FIRST + 3_600 * n};1;2;1;2;5;{cap}"
        for n in range(3) for pair, cap in (("ABC/USDC", "7"), ("DEF", ""))
    ]  # fmt: skip
    later = [f"DEF;{FIRST + 3_600 * n};1;2;1;2;5;" for n in range(3, 5)]
    columns = {"open": "o", "high": "h", "low": "l", "close": "c", "volume": "vol",
               "market_cap": "cap"}  # fmt: skip
    files = (written(tmp_path, later, "b.csv", head), written(tmp_path, rows, "a.csv", head))
    told, bars = imported(tmp_path, *files, columns=columns, delimiter=";")
    assert [(one["instrument"], one["hours"], one["market_cap"]) for one in told] == [
        ("ABC/USDT", 3, "in the file"), ("DEF/USDT", 5, "unknown"),
    ]  # fmt: skip
    assert sum(len(batch) for batch in bars.batches(0, 1 << 62)) == 8


def changed(row: int, text: str) -> list[str]:
    rows = lines(12)
    rows[row] = text
    return rows


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (changed(3, f"{FIRST + 2700},10,9,11,10,1"), "line 5: high 9 is below the low"),
        (changed(3, f"{FIRST + 2700},10,10,9,11,1"), "line 5: high 10 is below the open"),
        (changed(3, f"{FIRST + 2700},10,12,10.5,11,1"), "line 5: low 10.5 is above the open"),
        (changed(3, f"{FIRST + 2700},10,12,9,-11,1"), "line 5: close '-11': expected a finite"),
        (changed(3, f"{FIRST + 2700},10,12,9,nan,1"), "line 5: close 'nan': expected a finite"),
        (changed(3, f"{FIRST + 2700},10,12,9,x,1"), "line 5: close 'x': expected a finite"),
        (changed(3, f"{FIRST + 2700},10,12,9,11,"), "line 5: volume '': expected a finite"),
        (changed(3, f"{FIRST + 1800},10,12,9,11,1"), "line 5: time .* of ABC is there twice"),
        (changed(3, f"{FIRST + 900},10,12,9,11,1"), "line 5: time .* is before the candle above"),
        (changed(3, "0,10,12,9,11,1"), "line 5: time '0': no time between 1990"),
        (changed(3, "x,10,12,9,11,1"), "line 5: time 'x': expected a number"),
        (lines(3) + lines(9, first=FIRST + 3600), "line 5: time .* comes 1 candles of 15 minutes"),
        (lines(12, first=FIRST + 7), "line 2: time .* is not a multiple"),
        (lines(12, step=14_400), "4 hours apart: expected an hour or less"),
        (lines(12, step=10), "10 seconds apart: expected a minute"),
        (lines(12, step=2_400), "candles of 40 minutes do not fill an hour"),
        (lines(3), "no whole hour in 3 candles"),
        (lines(1), "its interval cannot be told"),
        ([], "no candle"),
        (["2024-01-01 00:00,1,1,1,1,1"], "has no time zone; say which by --timezone"),
        ([*lines(4), "1,2"], "cannot be read as CSV"),
    ],
)
def test_a_row_that_cannot_be_is_named_and_nothing_is_written(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    file = written(tmp_path, rows)
    with pytest.raises(BadMarketData, match=message):
        imported(tmp_path, file)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"quote": "EUR"}, "quote='EUR'.*convert prices to dollars first"),
        ({"columns": {"price": "open"}}, "map='price': no such field"),
        ({"columns": {"open": "first"}}, "map open='first': .* has the columns time, open"),
        ({"time_unit": "h"}, "time_unit='h'"),
        ({"supply": {"XYZ": 1.0}}, "supply of 'XYZ': no such symbol"),
        ({"supply": {"ABC": -1.0}}, "supply of 'ABC': -1.0"),
    ],
)
def test_a_wrong_format_is_told(tmp_path: Path, given: dict[str, Any], message: str) -> None:
    file = written(tmp_path, lines(8))
    with pytest.raises(BadConfig, match=message):
        imported(tmp_path, file, **given)


def test_gaps_may_be_taken_as_they_are(tmp_path: Path) -> None:
    rows = lines(3) + lines(8, first=FIRST + 3600)
    (told,), _ = imported(tmp_path, written(tmp_path, rows), allow_gaps=True)
    assert (told["hours"], told["missing_candles"]) == (3, 1)


def test_a_pair_in_another_currency_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="'ABC-EUR' is in EUR: expected prices in dollars"):
        imported(tmp_path, written(tmp_path, lines(8), "ABC-EUR.csv"))


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    file = written(tmp_path, lines(8))
    imported(tmp_path, file)
    with pytest.raises(BadConfig, match="there is something already"):
        imported(tmp_path, file)
