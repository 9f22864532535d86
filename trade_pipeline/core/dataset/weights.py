"""How much a label tells that others do not: weights for overlapping labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd


def micros_of(moments: pd.Series[pd.Timestamp]) -> Ints:
    """Microseconds since 1970-01-01 UTC of aware moments without a missing one."""
    return np.asarray(moments.dt.as_unit("us").astype("int64"), np.int64)


def label_uniqueness(rows: pd.DataFrame) -> Floats:
    """The `average_uniqueness` of labelled decisions; a market's instruments are its own."""
    return average_uniqueness(
        rows.groupby(["market", "instrument"]).ngroup(),
        micros_of(rows["decided_at"]),
        micros_of(rows["label_end"]),
    )


def average_uniqueness(instrument: npt.ArrayLike, start: Ints, end: Ints) -> Floats:
    """The average over each label's life of 1 / (labels of its instrument that are open).

    Lopez de Prado, Advances in Financial Machine Learning (2018), chapter 4.4, in continuous time
    instead of bars.  Sums are kept in whole numbers, so they do not lose precision over long times
    or many labels: each piece of time is rounded to a part in 2^61 of the longest life.

    Args:
        instrument: one value per label; labels of different instruments do not overlap.
        start, end: the label's life, microseconds.

    Returns:
        Weights in 0..1; 1 for a label that shares none of its life, or that has none.

    Raises:
        BadConfig: a label ends before it starts.
    """
    life = end - start
    if (life < 0).any():
        raise BadConfig(f"label {int((life < 0).argmax())}: ends before it starts")
    longest = int(life.max(initial=0))
    if longest == 0:
        return np.ones(len(start))
    owner = np.unique(np.asarray(instrument), return_inverse=True)[1]
    change = np.repeat((1, -1), len(start))
    moments = np.concatenate((start, end))
    order = np.lexsort((moments, np.tile(owner, 2)))
    concurrency = np.cumsum(change[order])
    span = np.diff(moments[order], append=0)
    shared = concurrency > 0
    # The integral of 1 / concurrency up to each moment, in fractions of a microsecond so small that
    # one label's part just fits 63 bits.  The running sum may wrap around; differences do not mind.
    scale = 2.0 ** (62 - longest.bit_length())
    parts = np.zeros(len(order), np.int64)
    parts[shared] = np.rint(span[shared] / concurrency[shared] * scale)
    integral = np.empty_like(parts)
    integral[order] = np.cumsum(parts) - parts
    alone = integral[len(start) :] - integral[: len(start)]
    weights = np.ones(len(start))
    np.divide(alone, life * scale, out=weights, where=life > 0)
    return weights
