"""Recorded hourly bars of an exchange's spot pairs against USDT.

A bar is known when it has closed: an hour after the time that stamps it.  The first bar after a
listing can open at an absurd price.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market import parquet
from trade_pipeline.core.market.event import (
    HOUR,
    Floats,
    Instrument,
    Ints,
    MarketBatch,
    unknown_column,
)
from trade_pipeline.core.market.facts import FactTable
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.mentions import Mentions
from trade_pipeline.core.market.parquet import NUMBER, TEXT, TIME, required, time_text

BATCH_ROWS = 65_536
QUOTE = "USDT"
# Where a row's market cap comes from: its supply is of the same day, is of another, or is unknown.
SOURCES = ("coingecko_daily", "supply_carried_forward", "none")
ESTIMATED, UNKNOWN = SOURCES.index("supply_carried_forward"), SOURCES.index("none")

_KEYS = (required("symbol", TEXT), required("timestamp", TIME), required("market_cap_src", TEXT))
_PRICES = ("open", "high", "low", "close")
BAR_SCHEMA = pa.schema(
    [
        *_KEYS,
        *(required(name, NUMBER) for name in (*_PRICES, "volume")),
        pa.field("market_cap", NUMBER),
    ]
)
_SOURCE = pa.schema(_KEYS)


class HourlyBars(EventsOnly):
    """A folder whose ``ohlcv_1h`` holds one Parquet file per quarter.

    Args:
        mentions: a folder with hourly counts of the messages that name the coins; see `Mentions`.
        until: leave out what was not known by this moment; None: nothing.

    The symbols and the span of every file are read at once, bars and facts when they are asked for.

    Raises:
        BadMarketData: there is no file, a symbol is no pair against USDT, or files overlap in time.
    """

    kind = "spot-1h"

    def __init__(
        self, folder: Path, mentions: Path | None = None, until: int | None = None
    ) -> None:
        self._folder = folder
        self._mentions_folder = mentions
        # A bar is stamped with its beginning, and known when it has closed.
        self._until = None if until is None else until - HOUR
        self._paths = sorted((folder / "ohlcv_1h").glob("*.parquet"))
        if not self._paths:
            raise BadMarketData(
                f"{folder / 'ohlcv_1h'}: no *.parquet file; give the folder of a recording, which "
                "holds ohlcv_1h/<quarter>.parquet"
            )
        self._symbols = sorted({s for path in self._paths for s in parquet.texts(path, "symbol")})
        for symbol in self._symbols:
            if not symbol.removesuffix(QUOTE) or not symbol.endswith(QUOTE):
                raise BadMarketData(
                    f"{folder}: column symbol: {symbol!r}: expected a pair like ACM{QUOTE}"
                )
        self._spans = [parquet.time_range(path, "timestamp") for path in self._paths]
        for (path, span), (later_path, later) in pairwise(
            zip(self._paths, self._spans, strict=True)
        ):
            if later[0] <= span[1]:
                raise BadMarketData(
                    f"{later_path}: column timestamp begins with {time_text(later[0])}, but "
                    f"{path.name} ends with {time_text(span[1])}: expected files without overlap"
                )
        bases = [symbol.removesuffix(QUOTE) for symbol in self._symbols]
        self.instruments: Sequence[Instrument] = [
            Instrument(f"{base}/{QUOTE}", base) for base in bases
        ]
        self._mentions = None if mentions is None else Mentions(mentions, bases, until)

    def content_address(self) -> str:
        """The address of all files of bars, with their names, and of the counts of mentions."""
        bars = parquet.content_address(self._folder, self._paths)
        if self._mentions is None:
            return bars
        return address_of(canonical_bytes([bars, self._mentions.content_address()]))

    def span(self) -> tuple[int, int]:
        """When the first and the last bar closed."""
        return self._spans[0][0] + HOUR, self._spans[-1][1] + HOUR

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        """Bars with ``start <= known_at < end``, by (known_at, symbol), at most 65,536 at a time.

        Files outside the range are not read.
        """
        for path, (first_open, last_open) in zip(self._paths, self._spans, strict=True):
            if last_open + HOUR < start or first_open + HOUR >= end:
                continue
            bars = self._bars(path)
            first, last = np.searchsorted(bars.known_at, [start, end])
            for row in range(first, last, BATCH_ROWS):
                yield bars.rows(row, min(row + BATCH_ROWS, last))

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """Whether the market cap of the tokens' latest bars is an estimate."""
        return self._estimates.as_of(token, at)

    def mentions_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """How often the pairs' coins had been named in messages."""
        return {} if self._mentions is None else self._mentions.at(token, at)

    def until(self, moment: int) -> HourlyBars:
        """The recording as it stood at a moment."""
        return HourlyBars(self._folder, self._mentions_folder, moment)

    def _bars(self, path: Path) -> MarketBatch:
        table = parquet.rows_until(parquet.read(path, BAR_SCHEMA), "timestamp", self._until)
        token, opened, source = self._keys(path, table)

        def where(row: int) -> str:
            return f"of {self._symbols[token[row]]} at {time_text(opened[row])}"

        price = {name: parquet.amounts(path, table, name, where, positive=True) for name in _PRICES}
        volume = parquet.amounts(path, table, "volume", where)
        market_cap = parquet.numbers(table, "market_cap")
        # Exact: rounding to float32 keeps the order of prices, and no recorded bar breaks it.
        parquet.refuse(
            path,
            price["high"] < np.maximum(price["open"], price["close"]),
            lambda row: f"high {price['high'][row]} {where(row)} is below the open or the close",
        )
        parquet.refuse(
            path,
            price["low"] > np.minimum(price["open"], price["close"]),
            lambda row: f"low {price['low'][row]} {where(row)} is above the open or the close",
        )
        parquet.refuse(
            path,
            (source != UNKNOWN) & ~(np.isfinite(market_cap) & (market_cap > 0)),
            lambda row: (
                f"market_cap {market_cap[row]} {where(row)}: expected an amount > 0 with the "
                f"market_cap_src {SOURCES[source[row]]}"
            ),
        )
        return bar_batch(
            token,
            opened,
            price,
            volume,
            market_cap=np.where(source == UNKNOWN, np.nan, market_cap),
            known_at=opened + HOUR,
        )

    def _keys(
        self, path: Path, table: pa.Table
    ) -> tuple[npt.NDArray[np.int32], Ints, npt.NDArray[np.int32]]:
        """Symbol, opening time and market cap source of each row, of which no two are one bar."""
        token = parquet.codes(path, table, "symbol", self._symbols)
        source = parquet.codes(path, table, "market_cap_src", SOURCES)
        opened = parquet.integers(table, "timestamp")
        parquet.refuse(
            path,
            opened % HOUR != 0,
            lambda row: f"timestamp {time_text(opened[row])}: expected a full hour",
        )
        by_token = np.argsort(token, kind="stable")
        same = np.diff(token[by_token], prepend=-1) == 0
        not_later = np.diff(opened[by_token], prepend=0) <= 0
        wrong = np.zeros(len(token), np.bool_)
        wrong[by_token] = same & not_later
        parquet.refuse(
            path,
            wrong,
            lambda row: (
                f"timestamp {time_text(opened[row])} of {self._symbols[token[row]]} is not after "
                "the symbol's row before: a duplicate, or out of order"
            ),
        )
        return token, opened, source

    @cached_property
    def _estimates(self) -> FactTable:
        """When it became known that a token's market cap is, or is no longer, estimated."""
        found = []
        for path in self._paths:
            table = parquet.rows_until(parquet.read(path, _SOURCE), "timestamp", self._until)
            token, opened, source = self._keys(path, table)
            by_token = np.argsort(token, kind="stable")
            estimated = source[by_token] == ESTIMATED
            changed = np.diff(token[by_token], prepend=-1) != 0
            changed[1:] |= estimated[1:] != estimated[:-1]
            rows = by_token[changed]
            value = np.where(estimated[changed], 1.0, np.nan)
            found.append((token[rows], opened[rows] + HOUR, value))
        token, known_at, value = (np.concatenate(column) for column in zip(*found, strict=True))
        return FactTable(token, known_at, known_at, {"market_cap_estimated": value})


def bar_batch(
    token: npt.NDArray[np.int32],
    opened: Ints,
    price: Mapping[str, Floats],
    volume: Floats,
    *,
    market_cap: Floats,
    known_at: Ints,
) -> MarketBatch:
    """Hourly bars as events, by (known_at, closing time, token).

    Args:
        price: ``open``, ``high``, ``low`` and ``close``, USD.
        volume: in the base currency.
        market_cap: USD; NaN is unknown.
        known_at: never before a bar's close.
    """
    order = np.lexsort((token, opened, known_at))
    unknown = unknown_column(len(order))
    return MarketBatch(
        token=token[order],
        event_time=opened[order] + HOUR,
        known_at=known_at[order],
        price_usd=price["close"][order],
        open_usd=price["open"][order],
        high_usd=price["high"][order],
        low_usd=price["low"][order],
        volume_usd=(volume * price["close"])[order],
        flow_usd=unknown,
        liquidity_usd=unknown,
        liquidity_change_usd=unknown,
        market_cap_usd=market_cap[order],
        reserve_quote=unknown,
        reserve_token=unknown,
        quote_usd=unknown,
    )
