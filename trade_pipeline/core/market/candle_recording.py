"""Checked candles as hourly bars, in the folder that every command takes by ``--data``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.bars import BAR_SCHEMA, ESTIMATED, QUOTE, SOURCES, UNKNOWN
from trade_pipeline.core.market.candles import MINUTE, CandleFormat, Candles, read_candles, text_of
from trade_pipeline.core.market.event import HOUR, Floats, Ints

# A market cap that the file tells is of the candle itself.
_TOLD = 0


@dataclass(frozen=True, slots=True)
class HourlyCandles:
    """One symbol's hours, as a recording holds them.

    Attributes:
        volume: in the base currency.
        market_cap: USD; NaN is unknown.  ``estimated``: from a supply that somebody gave.
        missing: candles that are not in the file.
        cut: candles of hours at either end that the file does not hold whole; left out.
    """

    base: str
    at: Ints
    price: Mapping[str, Floats]
    volume: Floats
    market_cap: Floats
    estimated: bool
    missing: int
    cut: int


def import_candles(paths: Sequence[Path], form: CandleFormat, out: Path) -> list[dict[str, Any]]:
    """Write candles as a recording of hourly bars; nothing is written where anything is wrong.

    Args:
        paths: CSV files, or folders with ``*.csv``.
        out: the recording's folder, new or empty.

    Returns:
        By symbol: the pair, its first and last hour, hours, missing and cut off candles, and where
        its market cap is from.

    Raises:
        BadConfig, BadMarketData: see `read_candles` and `hourly`; the folder is not empty; a supply
            for a symbol that is not there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise BadConfig(f"out={str(out)!r}: there is something already; name a new folder")
    by_base: dict[str, list[Candles]] = {}
    for file in _files(paths):
        for candles in read_candles(file, form):
            by_base.setdefault(candles.base, []).append(candles)
    for symbol in form.supply:
        if symbol not in by_base:
            known = ", ".join(sorted(by_base))
            raise BadConfig(f"supply of {symbol!r}: no such symbol (there are {known})")
    found = [hourly(_joined(parts), form) for _, parts in sorted(by_base.items())]
    _write(found, out)
    return [
        {
            "instrument": f"{one.base}/{QUOTE}",
            "first": text_of(one.at[0]),
            "last": text_of(one.at[-1]),
            "hours": len(one.at),
            "missing_candles": one.missing,
            "cut_candles": one.cut,
            "market_cap": "supply given" if one.estimated else
            "unknown" if np.isnan(one.market_cap).all() else "in the file",
        }
        for one in found
    ]  # fmt: skip


def hourly(candles: Candles, form: CandleFormat) -> HourlyCandles:
    """Candles as whole hours: first open, highest high, lowest low, last close, all of the volume.

    Raises:
        BadMarketData: candles are missing and gaps are not allowed, a candle crosses an hour, or no
            hour is whole.
    """
    at, step = candles.at, candles.interval
    where = f"{candles.files[0]}: {candles.base}"
    if HOUR % step:
        raise BadMarketData(f"{where}: candles of {step / MINUTE:g} minutes do not fill an hour")
    off = at % step != 0
    if off.any():
        row = int(off.argmax())
        raise BadMarketData(
            f"{candles.where(row)}: time {text_of(at[row])} is not a multiple of "
            f"the candles' {step / MINUTE:g} minutes"
        )
    jumps = np.diff(at) // step - 1
    missing = int(jumps.sum())
    if missing and not form.allow_gaps:
        row = int((jumps > 0).argmax()) + 1
        raise BadMarketData(
            f"{candles.where(row)}: time {text_of(at[row])} of {candles.base} "
            f"comes {jumps[row - 1]} candles of {step / MINUTE:g} minutes late; in all {missing} "
            "are missing (--allow-gaps takes them as they are)"
        )
    hour = at // HOUR * HOUR
    # An hour of which the file holds only the end or the beginning tells less than it seems.
    first = 0 if at[0] == hour[0] else int(np.searchsorted(hour, hour[0], "right"))
    whole_end = at[-1] + step == hour[-1] + HOUR
    stop = len(at) if whole_end else int(np.searchsorted(hour, hour[-1], "left"))
    if first >= stop:
        raise BadMarketData(f"{where}: no whole hour in {len(at)} candles")
    kept = slice(first, stop)
    hours, begins = np.unique(hour[kept], return_index=True)
    ends = np.append(begins[1:], stop - first) - 1
    close = candles.price["close"][kept][ends]
    volume = np.add.reduceat(candles.volume[kept], begins)
    given = form.supply.get(candles.base)
    market_cap = candles.market_cap[kept][ends]
    return HourlyCandles(
        base=candles.base,
        at=hours,
        price={
            "open": candles.price["open"][kept][begins],
            "high": np.maximum.reduceat(candles.price["high"][kept], begins),
            "low": np.minimum.reduceat(candles.price["low"][kept], begins),
            "close": close,
        },
        volume=volume / close if candles.volume_is_quote else volume,
        market_cap=market_cap if given is None else given * close,
        estimated=given is not None,
        missing=missing,
        cut=len(at) - (stop - first),
    )


def _files(paths: Sequence[Path]) -> list[Path]:
    found = []
    for path in paths:
        files = sorted(path.glob("*.csv")) if path.is_dir() else [path]
        if not files:
            raise BadMarketData(f"{path}: no *.csv file in this folder")
        found += files
    return found


def _joined(parts: Sequence[Candles]) -> Candles:
    """The candles of one symbol from all of its files.

    Raises:
        BadMarketData: files overlap, or their candles have different intervals.
    """
    parts = sorted(parts, key=lambda one: int(one.at[0]))
    first = parts[0]
    for before, after in pairwise(parts):
        if after.at[0] <= before.at[-1]:
            raise BadMarketData(
                f"{after.where(0)}: time {text_of(after.at[0])} of {after.base} is not after the "
                f"last candle of {before.files[0]}"
            )
        if after.interval != before.interval:
            raise BadMarketData(
                f"{after.files[0]}: {after.base} has candles of {after.interval / MINUTE:g} "
                f"minutes; {before.files[0]} has them of {before.interval / MINUTE:g}"
            )
    if len(parts) == 1:
        return first

    def column(name: str) -> Any:
        return np.concatenate([getattr(one, name) for one in parts])

    return Candles(
        base=first.base,
        at=column("at"),
        files=tuple(one.files[0] for one in parts),
        file=np.repeat(np.arange(len(parts)), [len(one.at) for one in parts]),
        line=column("line"),
        interval=first.interval,
        price={name: np.concatenate([one.price[name] for one in parts]) for name in first.price},
        volume=column("volume"),
        volume_is_quote=first.volume_is_quote,
        market_cap=column("market_cap"),
    )


def _write(found: Sequence[HourlyCandles], out: Path) -> None:
    """One Parquet file per quarter (UTC), rows by time, then symbol."""
    at = np.concatenate([one.at for one in found])
    token = np.repeat(np.arange(len(found)), [len(one.at) for one in found])
    cap = np.concatenate([one.market_cap for one in found])
    known = np.where(np.array([one.estimated for one in found])[token], ESTIMATED, _TOLD)
    source = np.where(np.isnan(cap), UNKNOWN, known)
    columns: dict[str, Any] = {
        "symbol": np.array([f"{one.base}{QUOTE}" for one in found], object)[token],
        "timestamp": at,
        "market_cap_src": np.array(SOURCES, object)[source],
        **{
            name: np.concatenate([one.price[name] for one in found])
            for name in ("open", "high", "low", "close")
        },
        "volume": np.concatenate([one.volume for one in found]),
        "market_cap": cap,
    }
    order = np.lexsort((token, at))
    quarter = np.array([_quarter(moment) for moment in at[order].tolist()])
    folder = out / "ohlcv_1h"
    folder.mkdir(parents=True, exist_ok=True)
    for name in np.unique(quarter).tolist():
        rows = order[quarter == name]
        arrays = [
            pa.array(columns[one.name][rows], from_pandas=one.name == "market_cap").cast(one.type)
            for one in BAR_SCHEMA
        ]
        pq.write_table(pa.Table.from_arrays(arrays, schema=BAR_SCHEMA), folder / f"{name}.parquet")


def _quarter(at: int) -> str:
    moment = moment_of(at)
    return f"{moment.year}Q{(moment.month - 1) // 3 + 1}"
