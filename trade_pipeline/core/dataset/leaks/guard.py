"""What every leak guard returns, and what it reads from a trade frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

DAY = 86_400_000_000
# How many rows or values a reason names before it only counts.
NAMED = 5


@dataclass(frozen=True, slots=True)
class Guard:
    """The verdict of one guard.

    Attributes:
        passed: nothing was found; what could not be judged is said in ``reasons``.
        numbers: what was measured, ready for JSON.
        culprits: the features at fault, sorted; UUIDs where the guard judges rows.
    """

    name: str
    passed: bool
    reasons: list[str] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    culprits: list[str] = field(default_factory=list)


def features_of(frame: pd.DataFrame) -> list[str]:
    """The feature columns of a trade frame.

    Raises:
        BadConfig: the frame does not say which they are, or does not have one of them.
    """
    names = frame.attrs.get("features")
    if names is None:
        raise BadConfig(
            "features=None: the trade frame must name its features in attrs['features']"
        )
    missing = sorted(set(names) - set(frame.columns))
    if missing:
        raise BadConfig(f"feature={missing[0]!r}: the trade frame has no such column")
    return list(names)


def matrix(frame: pd.DataFrame, names: Sequence[str]) -> Floats:
    """Some columns as float64, one row per row of the frame.

    Times are microseconds and text is the place in its sorted order, so that a key among the
    features is judged, too.
    """
    import pandas as pd

    found = np.empty((len(frame), len(names)))
    for i, name in enumerate(names):
        column = frame[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.as_unit("us").astype("int64").where(column.notna())
        elif not pd.api.types.is_numeric_dtype(column.dtype):
            codes = column.factorize(sort=True)[0]
            column = pd.Series(np.where(codes < 0, np.nan, codes))
        found[:, i] = column.to_numpy(np.float64, na_value=np.nan)
    return found


def moments(frame: pd.DataFrame, column: str) -> Ints:
    """A column of times as microseconds since 1970-01-01 UTC.

    Raises:
        BadConfig: the column is not there, has no time zone or a time is missing.
    """
    import pandas as pd

    if column not in frame.columns:
        raise BadConfig(f"column={column!r}: the trade frame has no such column")
    times = frame[column]
    if not isinstance(times.dtype, pd.DatetimeTZDtype):
        raise BadConfig(f"{column}: dtype {times.dtype}, expected datetime64[us, UTC]")
    if times.isna().any():
        raise BadConfig(f"{column}=NaT at uuid={times.index[times.isna()][0]!r}: expected a time")
    return np.asarray(times.dt.as_unit("us").astype("int64").to_numpy())


def decided(frame: pd.DataFrame) -> Ints:
    """When each row was decided, microseconds since 1970-01-01 UTC.

    Raises:
        BadConfig: a time is missing, or the rows are not in the order of time.
    """
    at = moments(frame, "decided_at")
    late = np.flatnonzero(np.diff(at) < 0)
    if len(late):
        raise BadConfig(
            f"decided_at={frame['decided_at'].iloc[late[0] + 1]}: the trade frame must be sorted "
            "by decided_at"
        )
    return at
