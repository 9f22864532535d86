"""From the trade frame to labelled decisions: each once, and only those whose label has ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.records import TerminationReason

if TYPE_CHECKING:
    import pandas as pd

NOT_FILLED = "not_filled"
_KEYS = ("session_id", "market", "kind", "instrument", "decided_at", "slot", "feature_set")
_RESULTS = ("return", "end", "reason")
# What one decision is, however many sessions replayed it.
_DECISION = ["market", "instrument", "slot"]


def label_definition(config: DatasetConfig) -> dict[str, str]:
    """What the labels mean, in words that a dataset's version covers."""
    return {
        "target_return": f"{config.label}_return, a fraction after all costs",
        "profit": "target_return > 0",
        "rug": f"{config.label}_reason is rugpull_exit, or target_return <= {config.rug_return}",
        "label_end": f"{config.label}_end",
    }


def feature_names(frame: pd.DataFrame) -> list[str]:
    """The features that ``frame.attrs["features"]`` names, in order.

    Raises:
        BadConfig: there are none, or a column is missing, not float64, or infinite somewhere.
    """
    names = list(frame.attrs.get("features", ()))
    if not names:
        raise BadConfig('frame.attrs["features"]: expected the names of the feature columns')
    _require_columns(frame, names)
    for name in names:
        if frame[name].dtype != np.float64:
            raise BadConfig(f"feature {name!r}: dtype {frame[name].dtype}, expected float64")
        if np.isinf(frame[name].to_numpy()).any():
            raise BadConfig(f"feature {name!r}: holds an infinite value; unknown is NaN")
    return names


def labelled_decisions(
    frame: pd.DataFrame, config: DatasetConfig
) -> tuple[pd.DataFrame, dict[str, int]]:
    """The decisions that can be learned from, sorted by (decided_at, uuid).

    Of several rows of one decision (market, instrument, slot) one with a realised result stays,
    and among those the one with the smallest UUID.

    Returns:
        The rows with the columns ``target_return`` (fraction), ``profit`` and ``rug`` (bool) and
        ``label_end`` (UTC) added; and how many rows were left out: ``out_of_range``, ``unended``
        (no result of this kind so far, or by ``known_until``), ``duplicate``, ``not_filled``.

    Raises:
        BadConfig: a column is missing, a UUID stands twice, kinds or feature sets are mixed, a
            return is infinite, or a label ends before its decision.
    """
    _require_columns(frame, _KEYS)
    _require_columns(
        frame, [f"{kind}_{what}" for kind in ("shadow", "realised") for what in _RESULTS]
    )
    if frame.index.has_duplicates:
        twice = frame.index[frame.index.duplicated()].min()
        raise BadConfig(f"uuid={twice!r}: stands in the frame more than once")
    if frame["decided_at"].isna().any():
        raise BadConfig(
            f"uuid={frame.index[frame['decided_at'].isna()][0]!r}: decided_at is missing"
        )
    rows = frame.sort_index().sort_values("decided_at", kind="stable")
    left_out = {}

    def keep(name: str, kept: pd.Series[bool]) -> None:
        nonlocal rows
        left_out[name] = int((~kept).sum())
        rows = rows[kept]

    keep("out_of_range", _in_range(rows, config))
    _require_one_kind(rows, config)
    rows = _with_labels(rows, config)
    known = rows[["target_return", "label_end", f"{config.label}_reason"]].notna().all(axis=1)
    if config.known_until is not None:
        known &= rows["label_end"] <= config.known_until
    keep("unended", known)
    _require_sound_labels(rows)
    keep("duplicate", ~_repeated(rows))
    if config.exclude_not_filled:
        keep(NOT_FILLED, rows[f"{config.label}_reason"] != NOT_FILLED)
    return rows, {NOT_FILLED: 0} | left_out


def _in_range(rows: pd.DataFrame, config: DatasetConfig) -> pd.Series[bool]:
    kept = rows["decided_at"].notna()
    if config.start is not None:
        kept &= rows["decided_at"] >= config.start
    if config.end is not None:
        kept &= rows["decided_at"] < config.end
    return kept


def _with_labels(rows: pd.DataFrame, config: DatasetConfig) -> pd.DataFrame:
    import pandas as pd

    reason = rows[f"{config.label}_reason"]
    # A column without any result has no dtype of its own.
    returns = rows[f"{config.label}_return"].astype("float64")
    return rows.assign(
        target_return=returns,
        profit=returns > 0,
        rug=(reason == TerminationReason.RUGPULL_EXIT.value) | (returns <= config.rug_return),
        label_end=pd.to_datetime(rows[f"{config.label}_end"], utc=True).dt.as_unit("us"),
    )


def _repeated(rows: pd.DataFrame) -> pd.Series[bool]:
    """Whether another row of the same decision is preferred to a row."""
    preferred = (
        rows[_DECISION]
        .assign(without=rows["realised_return"].isna())
        .sort_index()
        .sort_values("without", kind="stable")
    )
    return preferred.duplicated(_DECISION).reindex(rows.index)


def _require_columns(frame: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise BadConfig(f"frame: column {missing[0]!r} is missing")


def _require_one_kind(rows: pd.DataFrame, config: DatasetConfig) -> None:
    kinds = sorted(rows["kind"].unique())
    if len(kinds) > 1 and not config.kinds_mixed:
        raise BadConfig(
            f"kind={kinds}: a dataset of several kinds of market must be asked for "
            "(kinds_mixed=true)"
        )
    sets = sorted(rows["feature_set"].unique())
    if len(sets) > 1:
        raise BadConfig(f"feature_set={sets}: a dataset has one; extract the features anew")


def _require_sound_labels(rows: pd.DataFrame) -> None:
    for name, wrong, expected in (
        ("target_return", np.isinf(rows["target_return"]), "a finite fraction"),
        ("label_end", rows["label_end"] < rows["decided_at"], "a moment after the decision"),
    ):
        if wrong.any():
            uuid = rows.index[wrong][0]
            raise BadConfig(f"uuid={uuid!r}: {name}={rows.loc[uuid, name]}, expected {expected}")
