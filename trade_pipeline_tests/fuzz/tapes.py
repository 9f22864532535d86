"""Readers of recorded markets: Parquet files, and the JSON beside them."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.mentions import Mentions
from trade_pipeline.core.market.recorded import MANIFEST, RecordedMarket
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
from trade_pipeline_tests.core.market import test_bars, test_recorded, test_uniswap_v2
from trade_pipeline_tests.fuzz.parser import Parser

EVER = (0, 1 << 60)
_NUMBERS = (
    float("nan"), float("inf"), -float("inf"), 0.0, -0.0, -1.0, 1e308, 5e-324, 1e-300, 1.0, None,
)  # fmt: skip
_WHOLE = (0, -1, 1, (1 << 63) - 1, -(1 << 63), 1 << 62, 255, 256, -(1 << 31), 10**15, None)
_TEXTS = (
    "",
    "\0",
    "a" * 5000,
    "<script>alert(1)</script>",
    "\x1b[31m",
    "\u202e",
    "USDT",
    "../..",
    None,
)
_TYPES = (
    pa.string(), pa.large_string(), pa.binary(), pa.int8(), pa.int64(), pa.uint64(), pa.float16(),
    pa.float32(), pa.float64(), pa.bool_(), pa.timestamp("s", "UTC"), pa.timestamp("ns", "UTC"),
    pa.timestamp("us"), pa.date32(), pa.list_(pa.int64()), pa.dictionary(pa.int8(), pa.string()),
    pa.decimal128(38, 10), pa.null(),
)  # fmt: skip


def parsers(folder: Path) -> list[Parser]:
    """A reader for each file of each kind of market; the other files are as they should be."""
    tape, bars, recorded, mentions = (
        folder / name for name in ("tape", "bars", "recorded", "mentions")
    )
    for one in (tape, bars, mentions):
        one.mkdir()
    test_uniswap_v2.write_tape(tape, test_uniswap_v2.ROWS)
    test_bars.write_bars(bars, test_bars.FIRST, test_bars.SECOND)
    test_recorded.write(recorded)
    _write_mentions(mentions)

    def read_mentions(_: Path) -> object:
        counts = Mentions(mentions, ["AAA", "BBB"], None)
        counts.content_address()
        return counts.at(np.zeros(1, np.int32), np.array([test_bars.MIDNIGHT + (1 << 37)]))

    kinds: list[tuple[Path, Callable[[Path], object], int]] = [
        (tape, lambda place: _read(UniswapV2Tape(place)), 2),
        (bars, lambda place: _read(HourlyBars(place)), 2),
        (recorded, lambda place: _read(RecordedMarket(place)), 2),
        (mentions, read_mentions, 1),
    ]
    found = []
    for place, read, weight in kinds:
        for file in sorted(place.rglob("*.parquet")):
            found.append(_parser(place, file, read, weight))
    manifest = recorded / MANIFEST
    found.append(_parser(recorded, manifest, kinds[2][1], 4))
    return found


def _parser(place: Path, file: Path, read: Callable[[Path], object], weight: int) -> Parser:
    valid = file.read_bytes()
    is_table = file.suffix == ".parquet"
    table = pq.read_table(io.BytesIO(valid)) if is_table else None

    def parse(data: bytes) -> object:
        file.write_bytes(data)
        try:
            return read(place)
        finally:
            # The next reader finds it as it should be.
            file.write_bytes(valid)

    return Parser(
        f"{place.name}/{file.name}", "bytes" if is_table else "json", [valid], parse, weight,
        make=None if table is None else lambda random: _changed(random, table),
    )  # fmt: skip


def _read(market: UniswapV2Tape | HourlyBars | RecordedMarket) -> object:
    """Everything that a session asks of a market."""
    market.content_address()
    market.span()
    batches = list(market.batches(*EVER))
    token = np.zeros(2, np.int32)
    at = np.array([test_bars.MIDNIGHT, 1 << 50])
    market.facts_at(token, at)
    market.rules(0)
    return batches


def _write_mentions(folder: Path) -> None:
    hours = [test_bars.MIDNIGHT + hour * 3_600_000_000 for hour in range(6)]
    times = pa.array(hours, pa.timestamp("us", tz="UTC"))
    counts = pa.array([3, 0, 1, 2, 5, 1], pa.int64())
    named = {"symbol": ["AAA", "BBB"] * 3, "timestamp": times, "mentions": counts}
    pq.write_table(pa.table(named), folder / "mentions_1h.parquet")
    pq.write_table(
        pa.table({"timestamp": times, "messages": counts}), folder / "messages_total_1h.parquet"
    )


def _changed(random: Random, table: pa.Table) -> bytes:
    """A file that is sound Parquet, with other values, types, columns or rows."""
    for _ in range(random.choice((1, 1, 2, 3))):
        number = random.randrange(table.num_columns)
        field, column = table.schema.field(number), table.column(number)
        match random.randrange(7):
            case 0 | 1 | 2:
                table = table.set_column(number, field.name, _with_value(random, column))
            case 3:
                table = table.set_column(number, field.name, _as_type(random, column))
            case 4:
                table = table.remove_column(number) if table.num_columns > 1 else table
            case 5:
                name = random.choice(["", field.name, "other", "\0"])
                table = table.append_column(name, column)
            case _:
                rows = (
                    [random.randrange(len(table)) for _ in range(random.choice((0, 1, 3, 40)))]
                    if len(table)
                    else []
                )
                table = table.take(pa.array(rows, pa.int64()))
    stream = io.BytesIO()
    # A moment that Parquet cannot hold: the file ends in the middle.
    with suppress(pa.ArrowException):
        pq.write_table(
            table, stream, compression=random.choice(["none", "snappy", "zstd"]),
            use_dictionary=random.random() < 0.5, write_statistics=random.random() < 0.7,
        )  # fmt: skip
    return stream.getvalue()


def _with_value(random: Random, column: pa.ChunkedArray) -> pa.Array:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    is_time = pa.types.is_timestamp(kind)
    # A moment may be one that no datetime can hold.
    values = (column.cast(pa.int64()) if is_time else column).to_pylist()
    for _ in range(random.choice((1, 1, 3)) if values else 0):
        at = random.randrange(len(values))
        if pa.types.is_floating(kind):
            values[at] = random.choice(_NUMBERS)
        elif is_time:
            values[at] = random.choice([*_WHOLE, *values])
        elif pa.types.is_integer(kind):
            bits = kind.bit_width - pa.types.is_signed_integer(kind)
            low = -(1 << bits) if pa.types.is_signed_integer(kind) else 0
            fitting = [n for n in _WHOLE if n is None or low <= n < 1 << bits]
            values[at] = random.choice(fitting)
        elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
            values[at] = random.choice(_TEXTS)
        else:
            values[at] = None
    return pa.array(values, pa.int64()).cast(kind) if is_time else pa.array(values, kind)


def _as_type(random: Random, column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    wanted = random.choice(_TYPES)
    try:
        return column.cast(wanted, safe=False)
    except (pa.ArrowException, NotImplementedError):
        return pa.nulls(len(column), wanted)


def remove(folder: Path) -> None:
    """Take away what `parsers` wrote."""
    shutil.rmtree(folder, ignore_errors=True)
