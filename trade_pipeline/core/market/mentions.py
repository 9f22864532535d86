"""Hourly counts of the messages that name a coin, recorded from chat channels.

An hour's counts are known when it has ended.  An hour within the recording without a row had no
mention.  Outside the recording nothing is known, nor of a coin before it was first named: whether
it was looked for by then nobody can tell, and that it will be named is news from later.  From when
to when was recorded is how the recorder was set, which is no news.  How often a message was viewed
was counted later, so it is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market import parquet
from trade_pipeline.core.market.event import HOUR, Floats, Ints
from trade_pipeline.core.market.facts import CountTable
from trade_pipeline.core.market.parquet import INTEGER, TEXT, TIME, required

MENTION_HOURS = (1, 24, 48, 168)
MESSAGE_HOURS = (24,)

_MENTIONS = pa.schema(
    [required("symbol", TEXT), required("timestamp", TIME), required("mentions", INTEGER)]
)
_MESSAGES = pa.schema([required("timestamp", TIME), required("messages", INTEGER)])


class Mentions:
    """A folder with ``mentions_1h.parquet`` and ``messages_total_1h.parquet``.

    Args:
        symbols: the coins by token number.
        until: leave out what was not known by this moment; None: nothing.

    Raises:
        BadMarketData: a file is missing.
    """

    def __init__(self, folder: Path, symbols: Sequence[str], until: int | None = None) -> None:
        self._folder = folder
        self._paths = [folder / "mentions_1h.parquet", folder / "messages_total_1h.parquet"]
        for path in self._paths:
            if not path.is_file():
                raise BadMarketData(
                    f"{path}: the file is missing; give a folder that holds mentions_1h.parquet "
                    "and messages_total_1h.parquet"
                )
        self._symbols = list(symbols)
        self._until = np.iinfo(np.int64).max if until is None else until

    def content_address(self) -> str:
        """The address of both files, with their names."""
        return parquet.content_address(self._folder, self._paths)

    def at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """Columns as in `MarketFeed.mentions_at`.

        Raises:
            BadMarketData: a count is negative, a time is no full hour, or an hour is counted twice.
        """
        mentions, first_named = self._mentions
        messages, first, last = self._messages
        nobody = np.zeros(len(at), np.int32)
        columns = {
            f"messages_{hours}h": _inside(
                messages.window(nobody, at, hours * HOUR), hours, at, first, last
            )
            for hours in MESSAGE_HOURS
        }
        for hours in MENTION_HOURS:
            found = _inside(mentions.window(token, at, hours * HOUR), hours, at, first, last)
            columns[f"mentions_{hours}h"] = np.where(at >= first_named[token], found, np.nan)
        return columns

    @cached_property
    def _mentions(self) -> tuple[CountTable, Ints]:
        """The counts of the coins, and when it was known that each is named at all."""
        table = parquet.read(self._paths[0], _MENTIONS)
        column = table["symbol"].combine_chunks()
        entry = column.indices.to_numpy()
        ended, count = _hours(self._paths[0], table, "mentions", entry)
        place = {symbol: number for number, symbol in enumerate(self._symbols)}
        of_entry = np.array(
            [place.get(text, -1) for text in column.dictionary.to_pylist()], np.int32
        )
        token = of_entry[entry]
        rows = (token >= 0) & (ended <= self._until)
        token, ended, count = token[rows], ended[rows], count[rows]
        first_named = np.full(len(self._symbols), np.iinfo(np.int64).max)
        np.minimum.at(first_named, token[count > 0], ended[count > 0])
        return CountTable(token, ended, ended, count), first_named

    @cached_property
    def _messages(self) -> tuple[CountTable, int, int]:
        """The counts of all messages, and where the recording begins and ends."""
        table = parquet.read(self._paths[1], _MESSAGES)
        nobody = np.zeros(len(table), np.int32)
        ended, count = _hours(self._paths[1], table, "messages", nobody)
        rows = ended <= self._until
        counts = CountTable(nobody[rows], ended[rows], ended[rows], count[rows])
        return counts, int(ended.min()) - HOUR, int(ended.max())


def _hours(
    path: Path, table: pa.Table, name: str, owner: npt.NDArray[np.int32]
) -> tuple[Ints, Floats]:
    """The ends of the hours of a file, and a count each: one an hour and owner."""
    opened, count = parquet.integers(table, "timestamp"), parquet.integers(table, name)
    parquet.refuse(
        path,
        opened % HOUR != 0,
        lambda row: f"timestamp {parquet.time_text(opened[row])}: expected a full hour",
    )
    parquet.refuse(path, count < 0, lambda row: f"{name} {count[row]}: expected a count >= 0")
    order = np.lexsort((opened, owner))
    twice = np.zeros(len(order), np.bool_)
    twice[order[1:]] = (np.diff(opened[order]) == 0) & (np.diff(owner[order]) == 0)
    parquet.refuse(
        path,
        twice,
        lambda row: f"timestamp {parquet.time_text(opened[row])}: {name} were counted before",
    )
    return opened + HOUR, count.astype(np.float64)


def _inside(found: Floats, hours: int, at: Ints, first: int, last: int) -> Floats:
    """Sums over windows that lie within the recording; NaN over others."""
    return np.where((at - hours * HOUR >= first) & (at <= last), found, np.nan)
