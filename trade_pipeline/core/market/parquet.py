"""Parquet recordings: read with exactly the columns that are wanted, or refused with the reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trade_pipeline.core.canonical import ADDRESS_PREFIX, address_of, canonical_bytes
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import Floats, Ints

TEXT = pa.dictionary(pa.int32(), pa.string())
INTEGER = pa.int64()
NUMBER = pa.float64()
TIME = pa.timestamp("us", tz="UTC")

_LONGEST_TEXT = 1000
# 1970 to 2200, in microseconds.
_EARLIEST, _LATEST = 0, 7_258_118_400_000_000
_OUTSIDE = "expected times between 1970 and 2200"
_EXPECTED = {
    TEXT: "text",
    INTEGER: "integers",
    NUMBER: "floating point numbers",
    TIME: "timestamps with a time zone",
}


def required(name: str, kind: pa.DataType) -> pa.Field:
    """A column that must have a value in every row."""
    return pa.field(name, kind, nullable=False)


def table(rows: Sequence[Sequence[object]], schema: pa.Schema) -> pa.Table:
    """Rows as a table, a value a column; None is missing."""
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    arrays = [
        pa.array(column, pa.string()).dictionary_encode()
        if f.type == TEXT
        else pa.array(column, f.type)
        for column, f in zip(columns, schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def read(path: Path, schema: pa.Schema) -> pa.Table:
    """The columns of ``schema`` in its types; other columns are not read.

    Raises:
        BadMarketData: the file is missing or damaged, has no rows, lacks a column, or a column has
            another type or a missing value.
    """
    file = _checked(path, schema)
    try:
        table = file.read(columns=schema.names).select(schema.names)
        # Also texts that are no UTF-8, and places beyond the end of a dictionary.
        table.validate(full=True)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise BadMarketData(f"{path}: cannot be read: {error}") from error
    for wanted in schema:
        column = table[wanted.name]
        if not wanted.nullable and column.null_count:
            row = column.is_null().index(True).as_py()
            raise BadMarketData(f"{path}: row {row}: {wanted.name} is missing")
    try:
        table = table.cast(pa.schema([pa.field(f.name, f.type) for f in schema]))
    except pa.ArrowException as error:
        raise BadMarketData(f"{path}: a value does not fit its column: {error}") from error
    table = table.combine_chunks()
    for wanted in schema:
        if wanted.type == TIME:
            _require_times(path, table, wanted.name)
        elif wanted.type == TEXT:
            _require_texts(path, table, wanted.name)
    return table


def _require_times(path: Path, table: pa.Table, name: str) -> None:
    """Refuse moments that are none: they could neither be shown nor added to."""
    times = table[name].cast(INTEGER)
    values = pc.fill_null(times, _EARLIEST).to_numpy()
    refuse(
        path,
        (values < _EARLIEST) | (values >= _LATEST),
        lambda row: f"{name} {values[row]}: {_OUTSIDE}",
    )


def _require_texts(path: Path, table: pa.Table, name: str) -> None:
    """Refuse texts that PostgreSQL cannot hold, or that nobody would have written."""
    texts = table[name].combine_chunks().dictionary
    if pc.any(pc.match_substring(texts, "\0")).as_py():
        raise BadMarketData(f"{path}: {name}: expected texts without NUL")
    if (pc.max(pc.utf8_length(texts)).as_py() or 0) > _LONGEST_TEXT:
        raise BadMarketData(f"{path}: {name}: expected texts of at most {_LONGEST_TEXT} characters")


def column_names(path: Path) -> list[str]:
    """The names of a file's columns."""
    names: list[str] = _open(path).schema_arrow.names
    return names


def time_range(path: Path, column: str) -> tuple[int, int]:
    """The first and the last time in a column.

    The file's own statistics are not asked: they may say anything, and pyarrow ends the process
    where they are damaged.
    """
    times = integers(read(path, pa.schema([required(column, TIME)])), column)
    return int(times.min()), int(times.max())


def texts(path: Path, column: str) -> list[str]:
    """The different texts of a column, sorted."""
    table = read(path, pa.schema([required(column, TEXT)]))
    return sorted(pc.unique(table[column]).to_pylist())


def rows_until(table: pa.Table, column: str, until: int | None) -> pa.Table:
    """The rows whose time is not after a moment; all of them for None."""
    if until is None:
        return table
    return table.filter(pc.less_equal(table[column].cast(INTEGER), until)).combine_chunks()


def integers(table: pa.Table, name: str) -> Ints:
    """An `INTEGER` column, or a `TIME` column as microseconds."""
    values: Ints = table[name].cast(INTEGER).to_numpy()
    return values


def numbers(table: pa.Table, name: str) -> Floats:
    """A `NUMBER` column; a missing value is NaN."""
    values: Floats = table[name].to_numpy()
    return values


def codes(path: Path, table: pa.Table, name: str, known: Sequence[str]) -> npt.NDArray[np.int32]:
    """A `TEXT` column as positions in ``known``; any other text is refused."""
    column = table[name].combine_chunks()
    position = {text: i for i, text in enumerate(known)}
    of_entry = np.array([position.get(t, -1) for t in column.dictionary.to_pylist()], np.int32)
    values: npt.NDArray[np.int32] = of_entry[column.indices.to_numpy()]
    refuse(path, values < 0, lambda row: f"{name} {column[row]} is not known")
    return values


def refuse(path: Path, wrong: npt.NDArray[np.bool_], describe: Callable[[int], str]) -> None:
    """Refuse a recording for its first wrong row; ``describe(row)`` says what is wrong there."""
    if wrong.any():
        row = int(wrong.argmax())
        raise BadMarketData(f"{path}: row {row}: {describe(row)}")


def amounts(
    path: Path,
    table: pa.Table,
    name: str,
    where: Callable[[int], str],
    positive: bool = False,
) -> Floats:
    """A `NUMBER` column of finite amounts, which are not negative, or not even zero.

    Args:
        where: says for a message whose amount a row's is.
    """
    values = numbers(table, name)
    fits = np.isfinite(values) & (values > 0 if positive else values >= 0)
    expected = "expected a finite amount " + ("> 0" if positive else ">= 0")
    refuse(path, ~fits, lambda row: f"{name} {values[row]} {where(row)}: {expected}")
    return values


def log_times(path: Path, table: pa.Table) -> Ints:
    """The ``timestamp`` of a blockchain's logs, which must be in order.

    That is: (``block``, ``log_index``) rises and the time does not fall.
    """
    block, log_index = integers(table, "block"), integers(table, "log_index")
    time = integers(table, "timestamp")
    block_step, log_step = np.diff(block, prepend=block[:1] - 1), np.diff(log_index, prepend=0)
    refuse(
        path,
        (block_step < 0) | ((block_step == 0) & (log_step <= 0)),
        lambda row: (
            f"block {block[row]}, log_index {log_index[row]} is not after "
            f"block {block[row - 1]}, log_index {log_index[row - 1]}"
        ),
    )
    refuse(
        path,
        np.diff(time, prepend=time[:1]) < 0,
        lambda row: (
            f"timestamp {time_text(time[row])} of block {block[row]} is before "
            f"{time_text(time[row - 1])}"
        ),
    )
    return time


def time_text(at: int | np.int64) -> str:
    """A time for a message."""
    return moment_of(int(at)).isoformat()


def content_address(folder: Path, paths: Sequence[Path]) -> str:
    """The address of some files' content and of their names in ``folder``."""
    content = []
    for path in paths:
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise BadMarketData(f"{path}: cannot be read: {error}") from error
        content.append([path.relative_to(folder).as_posix(), ADDRESS_PREFIX + digest])
    return address_of(canonical_bytes(content))


def _open(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise BadMarketData(
            f"{path}: the file is missing; put it there or name the recording's folder"
        ) from error
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise BadMarketData(f"{path}: is not a readable Parquet file: {error}") from error


def _checked(path: Path, schema: pa.Schema) -> pq.ParquetFile:
    """A file that has rows, and the columns of ``schema`` in types that can be read as theirs."""
    file = _open(path)
    for wanted in schema:
        if wanted.name not in file.schema_arrow.names:
            found = ", ".join(file.schema_arrow.names)
            raise BadMarketData(f"{path}: column {wanted.name} is missing (found: {found})")
        if file.schema_arrow.names.count(wanted.name) > 1:
            raise BadMarketData(f"{path}: column {wanted.name} is there twice")
        kind = file.schema_arrow.field(wanted.name).type
        try:
            like = _is_like(kind, wanted.type)
        except UnicodeDecodeError:
            raise BadMarketData(f"{path}: column {wanted.name} has no readable time zone") from None
        if not like:
            expected = _EXPECTED[wanted.type]
            raise BadMarketData(f"{path}: column {wanted.name} is {kind}: expected {expected}")
    if file.metadata.num_rows == 0:
        raise BadMarketData(f"{path}: the file holds no rows")
    return file


def _is_like(kind: pa.DataType, wanted: pa.DataType) -> bool:
    """Whether a stored type can be read as the wanted one without a guess."""
    types = pa.types
    if wanted == TEXT:
        text = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(text) or types.is_large_string(text))
    if wanted == TIME:
        return bool(types.is_timestamp(kind) and kind.tz is not None)
    return bool(types.is_integer(kind) if wanted == INTEGER else types.is_floating(kind))
