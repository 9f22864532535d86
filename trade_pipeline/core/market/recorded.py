"""A recording of a live market, as `ingest export` writes it.

The folder holds ``recording.json`` (the kind of market, and how many rows each file has),
``events.parquet`` and ``instruments.parquet``, and, where the market knew such things,
``facts.parquet``, ``mentions.parquet`` and ``rules.parquet``.

It answers about the tokens and moments that the live session asked about as it was answered then;
in between, a fact holds from the moment before that was asked about.  Of a token's rules the last
ones that were seen are known, throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market import parquet
from trade_pipeline.core.market.event import Floats, Instrument, Ints, MarketBatch, TradeRules
from trade_pipeline.core.market.facts import FactTable
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.parquet import INTEGER, NUMBER, TEXT, TIME, required, time_text
from trade_pipeline.core.market.series import AMOUNTS

MANIFEST = "recording.json"
EVENTS, INSTRUMENTS = "events.parquet", "instruments.parquet"
RULES = "rules.parquet"
BATCH_ROWS = 65_536

EVENT_SCHEMA = pa.schema(
    [
        required("instrument", TEXT),
        required("event_time", TIME),
        required("known_at", TIME),
        required("number", INTEGER),
        *(pa.field(name, NUMBER) for name in AMOUNTS),
    ]
)
INSTRUMENT_SCHEMA = pa.schema(
    [
        required("name", TEXT),
        pa.field("symbol", TEXT),
        pa.field("contract_address", TEXT),
        pa.field("created_at", TIME),
    ]
)
_KEYS = (required("instrument", TEXT), required("known_at", TIME))


class Manifest(BaseModel):
    """What a folder holds.  Ranges are in microseconds since 1970-01-01 UTC, their end excluded.

    Attributes:
        covered: where every event of the market is in the recording.
        decided: the range in which the account's sessions decided, where they are known.
        away: ranges in between in which none of them did, see `MarketFeed`.
        rows: of each file.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: Literal[1] = 1
    market: str = Field(min_length=1)
    account: str
    covered: list[list[int]]
    decided: list[int] | None
    away: list[tuple[int, int]] = []
    rows: dict[str, int]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a recording.

    Raises:
        BadMarketData: it is missing or wrong.
    """
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise BadMarketData(f"{path}: cannot be read: {error}") from error
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise BadMarketData(f"{path}: {where}: {problem['msg']}") from None


class RecordedMarket(EventsOnly):
    """A folder that `ingest export` wrote.

    Args:
        until: leave out what was not known by this moment; None: nothing.

    The manifest and the instruments are read at once, everything else at its first use.

    Raises:
        BadMarketData: a file is missing or is not what the manifest says.
    """

    def __init__(self, folder: Path, until: int | None = None) -> None:
        self._folder = folder
        self._until = until
        self.manifest = read_manifest(folder)
        self.kind = self.manifest.market
        self.away = self.manifest.away
        self._paths = [folder / name for name in sorted(self.manifest.rows)]
        for name in (EVENTS, INSTRUMENTS):
            if name not in self.manifest.rows:
                raise BadMarketData(f"{folder / MANIFEST}: rows: {name} is missing")
        table = self._read(INSTRUMENTS, INSTRUMENT_SCHEMA)
        self._names: list[str] = table["name"].to_pylist()
        first = {name: row for row, name in reversed(list(enumerate(self._names)))}
        parquet.refuse(
            folder / INSTRUMENTS,
            np.array([first[name] != row for row, name in enumerate(self._names)]),
            lambda row: f"name {self._names[row]} is listed twice",
        )
        self.instruments: Sequence[Instrument] = [
            Instrument(*row)
            for row in zip(
                self._names,
                table["symbol"].to_pylist(),
                table["contract_address"].to_pylist(),
                table["created_at"].cast(INTEGER).to_pylist(),
                strict=True,
            )
        ]

    def content_address(self) -> str:
        """The address of the kind, of when nobody decided, and of all files with their names."""
        files = parquet.content_address(self._folder, self._paths)
        return address_of(
            canonical_bytes([self.kind, *([list(self.away)] if self.away else []), files])
        )

    def span(self) -> tuple[int, int]:
        """When the first and the last event were known."""
        return parquet.time_range(self._folder / EVENTS, "known_at")

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        """Events with ``start <= known_at < end``, in order, at most 65,536 at a time."""
        first, last = np.searchsorted(self._events.known_at, [start, end])
        for row in range(first, last, BATCH_ROWS):
            yield self._events.rows(row, min(row + BATCH_ROWS, last))

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """What the live session was told, or would have been by what it knew."""
        return {} if self._facts is None else self._facts.as_of(token, at)

    def mentions_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """See `facts_at`."""
        return {} if self._mentions is None else self._mentions.as_of(token, at)

    def until(self, moment: int) -> RecordedMarket:
        """The recording as it stood at a moment."""
        return RecordedMarket(self._folder, moment)

    def rules(self, token: int) -> TradeRules:
        """The last rules that the venue was told; none where it never asked."""
        return self._rules.get(token, TradeRules())

    def _read(self, name: str, schema: pa.Schema) -> pa.Table:
        path = self._folder / name
        table = parquet.read(path, schema)
        expected = self.manifest.rows[name]
        if len(table) != expected:
            raise BadMarketData(
                f"{path}: has {len(table)} rows: expected the {expected} of {MANIFEST}"
            )
        return table

    @cached_property
    def _events(self) -> MarketBatch:
        path = self._folder / EVENTS
        table = parquet.rows_until(self._read(EVENTS, EVENT_SCHEMA), "known_at", self._until)
        token = parquet.codes(path, table, "instrument", self._names)
        known_at, event_time = (parquet.integers(table, n) for n in ("known_at", "event_time"))
        number = parquet.integers(table, "number")

        def where(row: int) -> str:
            return f"of {self._names[token[row]]} at {time_text(known_at[row])}"

        parquet.refuse(
            path,
            known_at < event_time,
            lambda row: f"event_time {time_text(event_time[row])} {where(row)}: is after known_at",
        )
        step, next_one = np.diff(known_at, prepend=known_at[:1]), np.diff(number, prepend=-1)
        parquet.refuse(
            path,
            (step < 0) | ((step == 0) & (next_one <= 0)),
            lambda row: f"number {number[row]} {where(row)}: is not after the row before",
        )
        amounts = {name: parquet.numbers(table, name) for name in AMOUNTS}
        for name, values in amounts.items():
            parquet.refuse(
                path,
                np.isinf(values),
                lambda row, name=name, values=values: (  # type: ignore[misc]
                    f"{name} {values[row]} {where(row)}: expected a finite amount, or none"
                ),
            )
        parquet.refuse(
            path,
            amounts["price_usd"] <= 0,
            lambda row: f"price_usd {amounts['price_usd'][row]} {where(row)}: expected one > 0",
        )
        return MarketBatch(token=token, event_time=event_time, known_at=known_at, **amounts)

    @cached_property
    def _facts(self) -> FactTable | None:
        return self._answers("facts.parquet")

    @cached_property
    def _mentions(self) -> FactTable | None:
        return self._answers("mentions.parquet")

    def _answers(self, name: str) -> FactTable | None:
        if name not in self.manifest.rows:
            return None
        path = self._folder / name
        columns = [c for c in parquet.column_names(path) if c not in ("instrument", "known_at")]
        schema = pa.schema([*_KEYS, *(pa.field(column, NUMBER) for column in columns)])
        table = parquet.rows_until(self._read(name, schema), "known_at", self._until)
        token = parquet.codes(path, table, "instrument", self._names)
        known_at = parquet.integers(table, "known_at")
        values = {column: parquet.numbers(table, column) for column in columns}
        return FactTable(token, known_at, known_at, values)

    @cached_property
    def _rules(self) -> dict[int, TradeRules]:
        if RULES not in self.manifest.rows:
            return {}
        path = self._folder / RULES
        names = ("buy_tax", "sell_tax", "sells_blocked_from")
        table = self._read(RULES, pa.schema([*_KEYS, *(pa.field(n, NUMBER) for n in names)]))
        token = parquet.codes(path, table, "instrument", self._names)
        buy, sell, blocked = (parquet.numbers(table, name) for name in names)
        parquet.refuse(
            path,
            ~((buy >= 0) & (buy <= 1) & (sell >= 0) & (sell <= 1)),
            lambda row: (
                f"taxes {buy[row]}, {sell[row]} of {self._names[token[row]]}: expected 0..1"
            ),
        )
        parquet.refuse(
            path,
            np.isinf(blocked) | (np.abs(blocked) > 1 << 62),
            lambda row: f"sells_blocked_from {blocked[row]}: expected microseconds, or none",
        )
        return {
            one: TradeRules(
                float(buy[row]), float(sell[row]),
                None if np.isnan(blocked[row]) else int(blocked[row]),
            )
            for row, one in enumerate(token.tolist())
        }  # fmt: skip
