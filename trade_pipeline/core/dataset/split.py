"""Splits by time.  What a later split is judged by is never known to an earlier one.

The life of a label is the closed interval [decided_at, label_end].  `purgedcv` has intervals that
leave out their end and ignores empty ones, so every end is moved by a microsecond, the resolution
of time here: a label that ends in the moment of a decision then counts as overlapping it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Ints

if TYPE_CHECKING:
    import pandas as pd

SPLITS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class TimeSplits:
    """Rows by position.

    Attributes:
        rows: those of each split, by its name.
        purged: whose labels reach into a later split.
        embargoed: decided too soon after the labels of an earlier split.
    """

    rows: Mapping[str, Ints]
    purged: Ints
    embargoed: Ints


@dataclass(frozen=True, slots=True)
class Overlap:
    """A decision whose label's life meets that of a label of another split."""

    uuid: str
    split: str
    other: str


def time_splits(rows: pd.DataFrame, config: DatasetConfig) -> TimeSplits:
    """Train, validation and test, one after the other in time.

    The distinct moments of the decisions are cut by the fractions, so decisions of one moment stay
    together; with three moments or more every split gets one before purging.  Then rows are purged
    whose labels reach into a later split, and within ``embargo_hours`` after the end of any label
    that is left in an earlier split no decision of a later one stays.

    Args:
        rows: labelled decisions sorted by decided_at (see `labels.labelled_decisions`).
    """
    import pandas as pd
    import purgedcv

    starts, ends = _lives(rows)
    moments, moment = np.unique(starts, return_inverse=True)
    first, second = _cuts(len(moments), config)
    train, validation, test = (
        np.flatnonzero(belongs)
        for belongs in (moment < first, (moment >= first) & (moment < second), moment >= second)
    )
    # What reaches into the test reaches into the validation before it.
    kept_train = purgedcv.purge(train, validation, starts, ends)
    kept_validation = purgedcv.purge(validation, test, starts, ends)
    embargo = pd.Timedelta(hours=config.embargo_hours)
    embargoed_validation = purgedcv.apply_embargo(
        kept_validation, kept_train, starts, ends, embargo
    )
    earlier = np.concatenate((kept_train, embargoed_validation))
    kept_test = purgedcv.apply_embargo(test, earlier, starts, ends, embargo)
    return TimeSplits(
        rows=dict(zip(SPLITS, (kept_train, embargoed_validation, kept_test), strict=True)),
        purged=np.setdiff1d(
            np.concatenate((train, validation)), np.concatenate((kept_train, kept_validation))
        ),
        embargoed=np.setdiff1d(
            np.concatenate((kept_validation, test)),
            np.concatenate((embargoed_validation, kept_test)),
        ),
    )


def cross_validation_splits(
    rows: pd.DataFrame, n_splits: int, *, embargo_hours: float = 48
) -> list[tuple[Ints, Ints]]:
    """K folds in the order of time: (training rows, test rows) by position, for each fold.

    No training label's life meets that of a test label, and none is decided within the embargo
    after a test label's end.  Training rows lie before and after the test fold (Lopez de Prado
    2018, chapter 7.4).

    Raises:
        BadConfig: fewer than two folds, or more folds than rows.
    """
    import pandas as pd
    import purgedcv

    if not 2 <= n_splits <= len(rows):
        raise BadConfig(f"n_splits={n_splits}: expected 2..{len(rows)}, the number of rows")
    starts, ends = _lives(rows)
    folds = purgedcv.PurgedKFold(
        n_splits,
        prediction_times=starts,
        evaluation_times=ends,
        embargo=pd.Timedelta(hours=embargo_hours),
    )
    return list(folds.split(rows))


def overlapping_labels(rows: pd.DataFrame, splits: Mapping[str, Ints]) -> list[Overlap]:
    """Every decision whose label's life meets one of another split; empty is as it should be.

    It counts, and asks `purgedcv` nothing: of the others, those that started by a label's end
    without those that had ended before its start.
    """
    starts, ends = micros_of(rows["decided_at"]), micros_of(rows["label_end"])
    found = []
    for (split, own), (other, others) in permutations(splits.items(), 2):
        started = np.sort(starts[others]).searchsorted(ends[own], side="right")
        over = np.sort(ends[others]).searchsorted(starts[own], side="left")
        found += [Overlap(str(uuid), split, other) for uuid in rows.index[own[started > over]]]
    return found


def _lives(
    rows: pd.DataFrame,
) -> tuple[npt.NDArray[np.datetime64], npt.NDArray[np.datetime64]]:
    """When each label's life begins, and the first moment after it, as UTC without a zone."""
    starts, ends = micros_of(rows["decided_at"]), micros_of(rows["label_end"]) + 1
    return starts.astype("datetime64[us]"), ends.astype("datetime64[us]")


def _cuts(moments: int, config: DatasetConfig) -> tuple[int, int]:
    """Where validation and test begin among the distinct moments."""
    first = round(moments * config.train_fraction)
    second = round(moments * (config.train_fraction + config.validation_fraction))
    first = max(1, min(first, moments - 2))
    return first, max(first + 1, min(second, moments - 1))
