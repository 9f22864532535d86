"""Parts of a market that end between two moments: what is known at once is looked at together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import fields

import numpy as np

from trade_pipeline.core.market.event import MarketBatch


def whole_moments(batches: Iterable[MarketBatch], rows: int) -> Iterator[MarketBatch]:
    """The events of some batches in parts of about ``rows``, no moment in two of them."""
    carry: MarketBatch | None = None
    for fresh in batches:
        batch = fresh if carry is None else joined(carry, fresh)
        start = 0
        while len(batch) - start > rows:
            last = batch.known_at[start + rows - 1]
            stop = int(batch.known_at.searchsorted(last, side="right"))
            if stop == len(batch):
                break
            yield batch.rows(start, stop)
            start = stop
        carry = batch.rows(start, len(batch))
    if carry is not None and len(carry):
        yield carry


def joined(*batches: MarketBatch) -> MarketBatch:
    """Some batches, at least one, as one."""
    if len(batches) == 1:
        return batches[0]
    return MarketBatch(
        *(np.concatenate([getattr(one, f.name) for one in batches]) for f in fields(MarketBatch))
    )
