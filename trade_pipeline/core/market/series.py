"""Market events as rows of ``trade.market_series``, bit for bit in both directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Ints, MarketBatch

AMOUNTS = tuple(
    f.name for f in fields(MarketBatch) if f.name not in ("token", "event_time", "known_at")
)
COLUMNS = ("account", "market", "instrument", "event_time", "known_at", "number", *AMOUNTS)
# PostgreSQL counts microseconds from 2000-01-01.
_EPOCH = 946_684_800_000_000
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_END = b"\xff\xff"


def copy_data(
    batch: MarketBatch, account: str, market: str, instruments: Sequence[str]
) -> Iterator[bytes]:
    """The rows of a batch as PostgreSQL's binary COPY takes them; a NaN becomes NULL.

    Psycopg's own rows take ten times as long, in a thread that shares the interpreter with the
    decisions.

    Args:
        instruments: the names of the instruments that ``batch.token`` indexes.
    """
    number = places(batch.known_at)
    amounts = [getattr(batch, name) for name in AMOUNTS]
    pattern = np.zeros(len(batch), np.int64)
    for bit, column in enumerate(amounts):
        pattern |= np.isnan(column).astype(np.int64) << bit
    start = len(COLUMNS).to_bytes(2) + _text(account) + _text(market)
    prefix = {token: start + _text(instruments[token]) for token in np.unique(batch.token).tolist()}
    # Rows that lack the same columns have the same layout.
    for lacking in np.unique(pattern).tolist():
        rows = np.flatnonzero(pattern == lacking)
        times = [batch.event_time[rows] - _EPOCH, batch.known_at[rows] - _EPOCH]
        given = [(">i8", 8, times[0]), (">i8", 8, times[1]), (">i4", 4, number[rows])]
        given += [
            (">f8", -1 if lacking >> bit & 1 else 8, column[rows])
            for bit, column in enumerate(amounts)
        ]
        layout: list[tuple[str, str]] = []
        for place, (kind, size, _) in enumerate(given):
            layout.append((f"size{place}", ">i4"))
            if size > 0:
                layout.append((f"value{place}", kind))
        packed = np.empty(len(rows), np.dtype(layout))
        for place, (_, size, values) in enumerate(given):
            packed[f"size{place}"] = size
            if size > 0:
                packed[f"value{place}"] = values
        width, plain = packed.dtype.itemsize, packed.tobytes()
        yield b"".join(
            prefix[token] + plain[row * width : (row + 1) * width]
            for row, token in enumerate(batch.token[rows].tolist())
        )


def places(known_at: Ints) -> npt.NDArray[np.int32]:
    """The place of each event among those before it that were known at the same moment."""
    row = np.arange(len(known_at))
    first = np.diff(known_at, prepend=known_at[:1] - 1) != 0
    return (row - np.maximum.accumulate(np.where(first, row, 0))).astype(np.int32)


def _text(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(4) + encoded
