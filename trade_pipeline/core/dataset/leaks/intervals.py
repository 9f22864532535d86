"""Training labels that reach into the time of another split."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.dataset.leaks.guard import NAMED, Guard, moments
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Ints

if TYPE_CHECKING:
    import pandas as pd


def overlapping_intervals(
    train: pd.DataFrame, others: pd.DataFrame, *, embargo: timedelta = timedelta(0)
) -> Guard:
    """Training rows whose closed interval [decided_at, label_end] touches one of another split.

    Args:
        others: the rows of validation and test.
        embargo: a smaller gap between two intervals is named as well (Lopez de Prado 2018,
            ch. 7.4).

    Returns:
        The guard; its culprits are the UUIDs of the training rows.

    Raises:
        BadConfig: a time is missing, or a label ends before its decision.
    """
    start, end = _intervals(train)
    other_start, other_end = _intervals(others)
    gap = max(int(embargo / timedelta(microseconds=1)) - 1, 0)
    # Those begun by the end, less those over before the start: these have begun, too.
    begun = np.searchsorted(np.sort(other_start), end + gap, side="right")
    over = np.searchsorted(np.sort(other_end), start - gap, side="left")
    rows = np.flatnonzero(begun > over)
    uuids = [str(uuid) for uuid in train.index[rows]]
    reasons = []
    if uuids:
        more = f" and {len(uuids) - NAMED} more" if len(uuids) > NAMED else ""
        reasons = [
            f"{len(uuids)} of {len(train)} training rows touch a validation or test interval"
            f"{f' or its embargo of {embargo}' if gap else ''}: {', '.join(uuids[:NAMED])}{more}"
        ]
    numbers = {"overlapping": len(uuids), "train": len(train), "others": len(others)}
    return Guard("overlapping_intervals", not uuids, reasons, numbers, uuids)


def _intervals(frame: pd.DataFrame) -> tuple[Ints, Ints]:
    start, end = moments(frame, "decided_at"), moments(frame, "label_end")
    wrong = np.flatnonzero(end < start)
    if len(wrong):
        row = frame.iloc[wrong[0]]
        raise BadConfig(
            f"label_end={row['label_end']} at uuid={row.name!r}: before decided_at="
            f"{row['decided_at']}"
        )
    return start, end
