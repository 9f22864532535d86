"""The tape of a live market: what is read, what is refused, and nothing that came later."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market import recorded
from trade_pipeline.core.market.event import HOUR, Instrument, TradeRules
from trade_pipeline.core.market.recorded import MANIFEST, RecordedMarket
from trade_pipeline.core.market.series import AMOUNTS
from trade_pipeline.core.market.simulator import SimulatorConfig
from trade_pipeline.core.market.source import market_in, open_market
from trade_pipeline_tests.core.market.test_until import assert_same_until

START = 1_640_995_200_000_000
NAMES = ("b", "a")


def write(folder: Path, **changes: Callable[[Any], Any]) -> Path:
    """A small recording; a change takes what a file would hold."""
    folder.mkdir(exist_ok=True)
    at = [moment_of(START + HOUR * (row // 2)) for row in range(20)]
    events: dict[str, Any] = {
        "instrument": [NAMES[row % 2] for row in range(20)],
        "event_time": at,
        "known_at": at,
        "number": [row % 2 for row in range(20)],
    } | {name: [None if row % 5 == 0 else row + 0.5 for row in range(20)] for name in AMOUNTS}
    instruments = {
        "name": list(NAMES),
        "symbol": ["B", None],
        "contract_address": [None, "0xa"],
        "created_at": [None, at[0]],
    }
    noted: dict[str, Any] = {"instrument": ["a", "b", "a"], "known_at": [at[0], at[2], at[8]]}
    files = {
        "events": (events, recorded.EVENT_SCHEMA),
        "instruments": (instruments, recorded.INSTRUMENT_SCHEMA),
        "facts": (noted | {"holders": [5.0, 7.0, 6.0], "sentiment:x": [None, 0.5, 0.25]}, None),
        "rules": (
            {"instrument": ["a"], "known_at": [at[0]], "buy_tax": [0.1], "sell_tax": [0.2],
             "sells_blocked_from": [float(START)]},
            None,
        ),
    }  # fmt: skip
    rows = {}
    for name, (columns, schema) in files.items():
        columns = changes.get(name, lambda given: given)(columns)
        table = pa.table(columns, schema=schema) if schema else pa.table(columns)
        pq.write_table(table, folder / f"{name}.parquet")
        rows[f"{name}.parquet"] = len(table)
    manifest = {
        "format": 1, "market": "uniswap-v2", "account": "x", "covered": [[START, START + HOUR]],
        "decided": None, "rows": rows,
    }  # fmt: skip
    manifest = changes.get("manifest", lambda given: given)(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def test_what_was_recorded_is_read_with_its_facts_and_rules(tmp_path: Path) -> None:
    folder = write(tmp_path)
    assert market_in(folder) == "uniswap-v2"
    market = open_market(
        "uniswap-v2", data=folder, seed=1, start=0, end=1, simulator=SimulatorConfig()
    )
    assert list(market.instruments) == [
        Instrument("b", "B", None, None), Instrument("a", None, "0xa", START),
    ]  # fmt: skip
    (batch,) = market.batches(START + HOUR, START + 3 * HOUR)
    assert batch.token.tolist() == [0, 1, 0, 1]
    assert batch.price_usd.tolist()[:3] == [2.5, 3.5, 4.5]
    assert np.isnan(batch.low_usd[3])
    token, at = np.array([1, 0, 0, 1], np.int32), START + HOUR * np.array([3, 0, 1, 4])
    facts = market.facts_at(token, at)
    assert [*facts] == ["holders", "sentiment:x"]
    assert np.array_equal(facts["holders"], [5, np.nan, 7, 6], equal_nan=True)
    assert market.mentions_at(token, at) == {}
    assert market.rules(1) == TradeRules(0.1, 0.2, START)
    assert market.rules(0) == TradeRules()
    for hour in (0, 1, 4, 9):
        assert_same_until(market, START + hour * HOUR)


def test_another_kind_of_market_and_foreign_mentions_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path)
    given: dict[str, Any] = {"seed": 1, "start": 0, "end": 1, "simulator": SimulatorConfig()}
    with pytest.raises(BadConfig, match=r"market='spot-1h': .* is a recording of 'uniswap-v2'"):
        open_market("spot-1h", data=folder, **given)
    with pytest.raises(BadConfig, match="mentions="):
        open_market("uniswap-v2", data=folder, mentions=tmp_path, **given)


def put(column: str, row: int, value: Any) -> Callable[[Any], Any]:
    def change(columns: dict[str, Any]) -> dict[str, Any]:
        return columns | {column: [*columns[column][:row], value, *columns[column][row + 1 :]]}

    return change


LATER = moment_of(START + 50 * HOUR)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"events": put("price_usd", 3, 0.0)}, "row 3: price_usd 0.0 of a at .*: expected one > 0"),
        ({"events": put("volume_usd", 4, np.inf)}, "row 4: volume_usd inf of b"),
        ({"events": put("event_time", 2, LATER)}, "row 2: event_time 2022-01-03.*after known_at"),
        ({"events": put("known_at", 2, LATER)}, "row 3: number 1 of a .*: is not after"),
        (
            {"events": put("number", 3, 0)},
            "row 3: number 0 of a at .*: is not after the row before",
        ),
        ({"events": put("instrument", 1, "c")}, "row 1: instrument c is not known"),
        ({"instruments": put("name", 1, "b")}, "row 1: name b is listed twice"),
        ({"rules": put("sell_tax", 0, 1.5)}, r"row 0: taxes 0.1, 1.5 of a: expected 0..1"),
        ({"manifest": lambda m: m | {"format": 2}}, "recording.json: format: "),
        ({"manifest": lambda m: m | {"rows": m["rows"] | {"events.parquet": 9}}}, "has 20 rows"),
        ({"manifest": lambda m: m | {"rows": {}}}, "rows: events.parquet is missing"),
    ],
)
def test_a_wrong_recording_is_refused_with_the_place(
    tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    folder = write(tmp_path, **changes)
    with pytest.raises(BadMarketData, match=told):
        read(folder)


def read(folder: Path) -> None:
    market = RecordedMarket(folder)
    list(market.batches(0, 1 << 60))
    market.rules(0)
