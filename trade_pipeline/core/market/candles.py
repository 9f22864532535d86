"""Candles from CSV files as a recording of hourly bars, or the reason why not.

Every row is checked and the first wrong one named by file, line and field.  Candles of a minute up
to an hour become hourly bars; what is coarser cannot, and is refused: nobody knows what happened
inside.  What a file does not say (a market cap) stays unknown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.market.bars import QUOTE
from trade_pipeline.core.market.event import HOUR, Floats, Ints

FIELDS = ("time", "open", "high", "low", "close", "volume")
OPTIONAL = ("symbol", "market_cap")
# What a column may be called, where nobody maps it.
_CALLED = {
    "time": ("time", "timestamp", "date", "datetime", "open_time", "unix"),
    "open": ("open",), "high": ("high",), "low": ("low",), "close": ("close",),
    "volume": ("volume",), "symbol": ("symbol", "pair", "ticker"),
    "market_cap": ("market_cap", "marketcap"),
}  # fmt: skip
DOLLARS = ("USDT", "USDC", "BUSD", "FDUSD", "TUSD", "USD")
_SECOND = 1_000_000
# Whole numbers are taken for the unit in which they lie between 1990 and 2100.
_UNITS = {"s": _SECOND, "ms": 1_000, "us": 1}
_FIRST, _LAST = 631_152_000 * _SECOND, 4_102_444_800 * _SECOND
MINUTE = 60 * _SECOND
_SYMBOL = re.compile(r"[A-Z0-9]{1,20}")


@dataclass(frozen=True, slots=True)
class CandleFormat:
    """How the files say it.

    Attributes:
        columns: the file's name by field of `FIELDS` and `OPTIONAL`; others are found by name.
        header: names of the columns of files without a first line of names.
        delimiter: between two values.
        time_unit: ``s``, ``ms``, ``us`` or ``iso``; None: told by the values.
        zone: of times without one; None: they are refused.
        stamped: whether the time is a candle's ``open`` or its ``close``.
        quote: the currency of the prices; a dollar.  None: told by the symbol, or USD.
        volume_in: ``base`` or ``quote`` currency.
        supply: tokens in circulation by symbol, for a market cap that no column tells.
        allow_gaps: missing candles are counted and not refused.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    header: Sequence[str] | None = None
    delimiter: str = ","
    time_unit: str | None = None
    zone: tzinfo | None = None
    stamped: str = "open"
    quote: str | None = None
    volume_in: str = "base"
    supply: Mapping[str, float] = field(default_factory=dict)
    allow_gaps: bool = False

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in (*FIELDS, *OPTIONAL):
                known = ", ".join((*FIELDS, *OPTIONAL))
                raise BadConfig(f"map={name!r}: no such field; expected one of {known}")
        allowed: dict[str, tuple[str | None, tuple[str, ...]]] = {
            "time_unit": (self.time_unit, (*_UNITS, "iso")),
            "stamped": (self.stamped, ("open", "close")),
            "volume_in": (self.volume_in, ("base", "quote")),
            "quote": (self.quote, DOLLARS),
        }
        for option, (value, choices) in allowed.items():
            if value is not None and value not in choices:
                more = ": convert prices to dollars first" if option == "quote" else ""
                raise BadConfig(f"{option}={value!r}: expected one of {', '.join(choices)}{more}")
        if len(self.delimiter) != 1:
            raise BadConfig(f"delimiter={self.delimiter!r}: expected one character")
        for symbol, tokens in self.supply.items():
            if not (np.isfinite(tokens) and tokens > 0):
                raise BadConfig(f"supply of {symbol!r}: {tokens!r}: expected a number > 0")


@dataclass(frozen=True, slots=True)
class Candles:
    """The candles of one symbol, in order.

    Attributes:
        base: the symbol without its quote currency.
        at: when each begins, microseconds since 1970-01-01 UTC.
        files: that they are from; ``file``: index of each candle's, ``line`` in it: for messages.
        interval: microseconds of one candle.
        volume_is_quote: whether the volume is in dollars.
        market_cap: USD; NaN is unknown.
    """

    base: str
    at: Ints
    files: Sequence[Path]
    file: Ints
    line: Ints
    interval: int
    price: Mapping[str, Floats]
    volume: Floats
    volume_is_quote: bool
    market_cap: Floats

    def where(self, row: int) -> str:
        """A candle's place, for messages."""
        return f"{self.files[self.file[row]]}: line {self.line[row]}"


def read_candles(file: Path, form: CandleFormat) -> list[Candles]:
    """The candles of a file by symbol, checked.

    Raises:
        BadMarketData: a value cannot be, or a candle is missing, doubled or out of order; the line
            and the field are named.
        BadConfig: a column that is not there, or a quote currency that is no dollar.
    """
    table = _table(file, form)
    line = np.arange(len(table), dtype=np.int64) + (1 if form.header is not None else 2)
    names = {name: _column(file, table, form, name) for name in (*FIELDS, *OPTIONAL)}
    at = _times(file, table[names["time"]], str(names["time"]), line, form)
    price = {
        name: _numbers(file, table, str(names[name]), line, positive=True)
        for name in ("open", "high", "low", "close")
    }
    volume = _numbers(file, table, str(names["volume"]), line, positive=False)
    _require_a_range(file, price, line)
    market_cap = np.full(len(table), np.nan)
    if names["market_cap"] is not None:
        market_cap = _numbers(file, table, names["market_cap"], line, positive=True, may_miss=True)
    codes, symbols = _symbols(file, table, names["symbol"], line)
    found = []
    order = np.argsort(codes, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(codes[order])) + 1):
        base = _base(file, symbols[codes[rows[0]]], form)
        times = _ordered(file, at[rows], line[rows], base)
        interval = _interval(file, times, base)
        found.append(
            Candles(
                base=base,
                at=times - (interval if form.stamped == "close" else 0),
                files=(file,),
                file=np.zeros(len(rows), np.int64),
                line=line[rows],
                interval=interval,
                price={name: values[rows] for name, values in price.items()},
                volume=volume[rows],
                volume_is_quote=form.volume_in == "quote",
                market_cap=market_cap[rows],
            )
        )
    return found


def _table(file: Path, form: CandleFormat) -> pa.Table:
    read = pyarrow.csv.ReadOptions(column_names=None if form.header is None else list(form.header))
    parse = pyarrow.csv.ParseOptions(delimiter=form.delimiter, ignore_empty_lines=False)
    try:
        # As text first, so that a wrong value can be shown as it is.
        with pyarrow.csv.open_csv(file, read, parse) as opened:
            names = opened.schema.names
        convert = pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
        )
        table = pyarrow.csv.read_csv(file, read, parse, convert)
    except FileNotFoundError:
        raise BadMarketData(f"{file}: no such file") from None
    except (OSError, pa.ArrowException) as error:
        raise BadMarketData(f"{file}: cannot be read as CSV: {str(error).strip()}") from None
    if not len(table):
        raise BadMarketData(f"{file}: no candle")
    return table.combine_chunks()


def _column(file: Path, table: pa.Table, form: CandleFormat, name: str) -> str | None:
    """The file's name of a field; None for an optional one that is not there."""
    there = table.column_names
    wanted = form.columns.get(name)
    if wanted is not None:
        if wanted not in there:
            raise BadConfig(f"map {name}={wanted!r}: {file} has the columns {', '.join(there)}")
        return wanted
    found = [one for one in there if one.strip().lower().replace(" ", "_") in _CALLED[name]]
    if len(found) > 1:
        raise BadConfig(
            f"{file}: {name} may be {' or '.join(found)}; say which by --map {name}=..."
        )
    if not found and name in FIELDS:
        raise BadConfig(
            f"{file}: no column for {name}; say which by --map {name}=... (there are "
            f"{', '.join(there)})"
        )
    return found[0] if found else None


def _numbers(
    file: Path,
    table: pa.Table,
    name: str,
    line: Ints,
    *,
    positive: bool,
    may_miss: bool = False,
) -> Floats:
    text = pc.utf8_trim_whitespace(table[name].combine_chunks())
    empty = pc.equal(text, "")
    wanted = "a finite amount " + ("> 0" if positive else ">= 0")
    try:
        values = pc.cast(pc.if_else(empty, None, text), pa.float64())
    except pa.ArrowInvalid:
        row = next(n for n, one in enumerate(text.to_pylist()) if one and not _is_number(one))
        raise BadMarketData(
            f"{file}: line {line[row]}: {name} {text[row].as_py()!r}: expected {wanted}"
        ) from None
    found: Floats = values.to_numpy(zero_copy_only=False).astype(np.float64)
    with np.errstate(invalid="ignore"):
        fits = np.isfinite(found) & (found > 0 if positive else found >= 0)
    if may_miss:
        fits |= empty.to_numpy(zero_copy_only=False)
    if not fits.all():
        row = int((~fits).argmax())
        raise BadMarketData(
            f"{file}: line {line[row]}: {name} {text[row].as_py()!r}: expected {wanted}"
        )
    return found


def _is_number(text: str) -> bool:
    try:
        pc.cast(pa.array([text]), pa.float64())
    except pa.ArrowInvalid:
        return False
    return True


def _times(file: Path, column: pa.ChunkedArray, name: str, line: Ints, form: CandleFormat) -> Ints:
    text = pc.utf8_trim_whitespace(column.combine_chunks())
    if form.time_unit == "iso" or (form.time_unit is None and not _is_number(text[0].as_py())):
        texts = zip(line.tolist(), text.to_pylist(), strict=True)
        found = np.array([_moment(file, name, n, one, form) for n, one in texts], np.int64)
    else:
        try:
            values = pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            row = next(n for n, one in enumerate(text.to_pylist()) if not _is_number(one))
            raise BadMarketData(
                f"{file}: line {line[row]}: {name} {text[row].as_py()!r}: expected a number"
            ) from None
        unit = form.time_unit or _unit(file, name, int(line[0]), float(values[0]))
        with np.errstate(invalid="ignore"):
            scaled = values * _UNITS[unit]
        fits = np.isfinite(scaled) & (scaled >= _FIRST) & (scaled < _LAST)
        if not fits.all():
            row = int((~fits).argmax())
            raise BadMarketData(
                f"{file}: line {line[row]}: {name} {text[row].as_py()!r}: no time between 1990 and "
                f"2100 in the unit {unit}"
            )
        found = np.rint(scaled).astype(np.int64)
    return found


def _unit(file: Path, name: str, line: int, value: float) -> str:
    for unit, scale in _UNITS.items():
        if _FIRST <= value * scale < _LAST:
            return unit
    raise BadMarketData(f"{file}: line {line}: {name} {value:g}: no time in s, ms or us")


def _moment(file: Path, name: str, line: int, text: str, form: CandleFormat) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise BadMarketData(
            f"{file}: line {line}: {name} {text!r}: expected a time, such as 2024-01-31T15:00Z"
        ) from None
    if moment.utcoffset() is None:
        if form.zone is None:
            raise BadMarketData(
                f"{file}: line {line}: {name} {text!r} has no time zone; say which by --timezone"
            )
        moment = moment.replace(tzinfo=form.zone)
    return micros(moment.astimezone(UTC))


def _require_a_range(file: Path, price: Mapping[str, Floats], line: Ints) -> None:
    high, low = price["high"], price["low"]
    top = np.maximum(price["open"], price["close"])
    bottom = np.minimum(price["open"], price["close"])
    for wrong, name, other in (
        (high < low, "high", "is below the low"),
        (high < top, "high", "is below the open or the close"),
        (low > bottom, "low", "is above the open or the close"),
    ):
        if wrong.any():
            row = int(wrong.argmax())
            raise BadMarketData(f"{file}: line {line[row]}: {name} {price[name][row]:g} {other}")


def _symbols(
    file: Path, table: pa.Table, name: str | None, line: Ints
) -> tuple[npt.NDArray[np.int32], list[str]]:
    """The symbol of each row as an index into all of them."""
    if name is None:
        # WIFUSDT_1m.csv and PEPE-USDT.csv are named for their pair.
        return np.zeros(len(table), np.int32), [re.split(r"[ _.]", file.name)[0]]
    column = table[name].combine_chunks()
    empty = pc.equal(pc.utf8_trim_whitespace(column), "").to_numpy(zero_copy_only=False)
    if empty.any():
        raise BadMarketData(f"{file}: line {line[int(empty.argmax())]}: {name} is missing")
    encoded = column.dictionary_encode()
    return encoded.indices.to_numpy(), encoded.dictionary.to_pylist()


def _base(file: Path, symbol: str, form: CandleFormat) -> str:
    """The base of a pair.

    Raises:
        BadConfig: its prices are not in dollars, or it is no pair.
    """
    text = symbol.strip().upper()
    base, slash, quote = text.replace("-", "/").partition("/")
    if not slash:
        quote = next((one for one in DOLLARS if text.endswith(one) and text != one), "")
        base = text.removesuffix(quote)
    if form.quote is not None and quote not in ("", form.quote):
        raise BadConfig(f"quote={form.quote!r}: {file} has the pair {symbol!r}")
    if quote and quote not in DOLLARS:
        raise BadConfig(
            f"{file}: the pair {symbol!r} is in {quote}: expected prices in dollars "
            f"({', '.join(DOLLARS)}); convert them first"
        )
    if not _SYMBOL.fullmatch(base) or base == QUOTE:
        raise BadConfig(f"{file}: symbol {symbol!r}: expected WIF/USDT or WIF")
    return base


def _ordered(file: Path, at: Ints, line: Ints, base: str) -> Ints:
    step = np.diff(at)
    if (step <= 0).any():
        row = int((step <= 0).argmax()) + 1
        what = "is there twice" if at[row] == at[row - 1] else "is before the candle above it"
        raise BadMarketData(f"{file}: line {line[row]}: time {text_of(at[row])} of {base} {what}")
    return at


def _interval(file: Path, at: Ints, base: str) -> int:
    if len(at) < 2:
        raise BadMarketData(f"{file}: one candle of {base}: its interval cannot be told")
    steps, counts = np.unique(np.diff(at), return_counts=True)
    interval = int(steps[counts.argmax()])
    if interval > HOUR:
        raise BadMarketData(
            f"{file}: candles of {base} are {interval / HOUR:g} hours apart: expected an hour or "
            "less; coarser candles do not tell in which order stops and targets were reached"
        )
    if interval < MINUTE:
        raise BadMarketData(
            f"{file}: candles of {base} are {interval / _SECOND:g} seconds apart: expected a "
            "minute to an hour"
        )
    return interval


def text_of(at: int | np.int64) -> str:
    return moment_of(int(at)).isoformat()
