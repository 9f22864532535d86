"""The rows of a file of trades: CSV, JSON or freqtrade's zipped backtest, told apart by content."""

from __future__ import annotations

import csv
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from trade_pipeline.core.imports.problems import BadTrades, Problem

# Of what a zip file unpacks to: a few bytes can stand for any number of them.
_LARGEST = 1 << 30
_DELIMITERS = ",;\t"


class Format(StrEnum):
    """Whose file it is."""

    LEGACY = "legacy"
    FREQTRADE = "freqtrade"
    # Its trades are simulated, and none of them is left open.
    FREQTRADE_BACKTEST = "freqtrade-backtest"


@dataclass(frozen=True, slots=True)
class TradeFile:
    """What a file holds.

    Attributes:
        strategy: which one of a backtest's; None: the file names none.
        rows: number and values of each trade.
    """

    format: Format
    strategy: str | None
    rows: tuple[tuple[int, Mapping[str, Any]], ...]


def read_trade_file(
    name: str, data: bytes, format_: str = "auto", strategy: str | None = None
) -> TradeFile:
    """Read a file's rows; what their values say is looked at later.

    Args:
        name: for errors.
        format_: auto, legacy or freqtrade.
        strategy: of a freqtrade backtest with several.

    Raises:
        BadTrades: it is none of these, or damaged.
    """
    try:
        if len(data) > _LARGEST:
            raise _Unreadable("file", len(data), f"at most {_LARGEST:,} bytes")
        return _read(_unzipped(data), format_, strategy)
    except _Unreadable as error:
        raise BadTrades(name, [error.problem]) from None


class _Unreadable(Exception):
    def __init__(self, field: str, value: object, expected: str, row: int = 0) -> None:
        super().__init__(field)
        self.problem = Problem(row, field, value, expected)


def _unzipped(data: bytes) -> bytes:
    if not data.startswith(b"PK"):
        return data
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            # Beside the result lie the configuration, the strategy's code and series.
            names = [n for n in archive.namelist() if n.endswith(".json") and "_config" not in n]
            for name in names:
                with archive.open(name) as member:
                    found = member.read(_LARGEST + 1)
                if len(found) > _LARGEST:
                    raise _Unreadable("file", name, f"at most {_LARGEST} bytes in a zip file")
                if b'"strategy"' in found:
                    return found
    # zipfile tells damage in many ways, none of them documented as the only one.
    except (
        zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError,
        zlib.error,
    ) as error:  # fmt: skip
        raise _Unreadable("file", str(error), "a zip file that can be read") from None
    raise _Unreadable("file", names, "a zip file with the JSON of a freqtrade backtest")


def _read(data: bytes, format_: str, strategy: str | None) -> TradeFile:
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        return _of_json(data.removeprefix(b"\xef\xbb\xbf"), format_, strategy)
    rows = tuple(_of_csv(data))
    if not rows:
        raise _Unreadable("file", data[:80], "a header and at least one trade")
    return _plain(rows, format_, strategy)


def _plain(
    rows: tuple[tuple[int, Mapping[str, Any]], ...], format_: str, strategy: str | None
) -> TradeFile:
    if strategy is not None:
        raise _Unreadable("strategy", strategy, "nothing: the file is no backtest of freqtrade")
    return TradeFile(_format(rows, format_), None, rows)


def _of_json(data: bytes, format_: str, strategy: str | None) -> TradeFile:
    try:
        told = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise _Unreadable("file", str(error), "JSON") from None
    backtest = told.get("strategy") if isinstance(told, dict) else None
    if isinstance(backtest, dict) and format_ != "legacy":
        if strategy is None and len(backtest) != 1:
            raise _Unreadable("strategy", None, f"one of {', '.join(backtest)}: give --strategy")
        chosen = strategy or next(iter(backtest))
        if chosen not in backtest:
            raise _Unreadable("strategy", strategy, f"one of {', '.join(backtest)}")
        result = backtest[chosen]
        trades = result.get("trades") if isinstance(result, dict) else None
        return TradeFile(Format.FREQTRADE_BACKTEST, chosen, _numbered(trades))
    rows = _numbered(told.get("trades") if isinstance(told, dict) else told)
    return _plain(rows, format_, strategy)


def _numbered(trades: object) -> tuple[tuple[int, Mapping[str, Any]], ...]:
    if not isinstance(trades, list) or not trades:
        raise _Unreadable("trades", trades, "a list of at least one trade")
    for number, trade in enumerate(trades, 1):
        if not isinstance(trade, dict):
            raise _Unreadable("trade", trade, "an object", number)
    return tuple(enumerate(trades, 1))


def _of_csv(data: bytes) -> Iterator[tuple[int, Mapping[str, Any]]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _Unreadable("file", data[error.start : error.end], "UTF-8", line) from None
    head = text.lstrip().split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    names: list[str] | None = None
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if names is None:
                names = [cell.strip() for cell in cells]
                if len(set(names)) < len(names):
                    raise _Unreadable("header", names, "each column once", reader.line_num)
                continue
            if len(cells) != len(names):
                raise _Unreadable("row", cells, f"{len(names)} cells", reader.line_num)
            yield reader.line_num, dict(zip(names, cells, strict=True))
    except csv.Error as error:
        raise _Unreadable("row", str(error), "CSV", reader.line_num) from None


def _format(rows: tuple[tuple[int, Mapping[str, Any]], ...], format_: str) -> Format:
    if format_ != "auto":
        return Format(format_)
    return Format.FREQTRADE if {"pair", "open_rate"} <= rows[0][1].keys() else Format.LEGACY
