"""A profile of a feature table: what is missing, how values are spread, what drifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.market.event import Floats

if TYPE_CHECKING:
    import pandas as pd

# Common practice in credit scoring: below .1 stable, above .25 shifted.
DRIFT_BINS = 10
SHIFTED = 0.25
_EMPTY_BIN = 1e-4


@dataclass(frozen=True, slots=True)
class FeatureProfile:
    """One feature over a table.

    Attributes:
        missing: share of rows without a value, 0..1.
        low, median, high: quantiles .01, .5 and .99 of the known values; NaN where there is none.
        distinct: number of different values.
        drift: population stability index of the later rows against the earlier ones, missing rows
            a bin of their own; NaN where one side has no row.
    """

    name: str
    rows: int
    missing: float
    low: float
    median: float
    high: float
    distinct: int
    drift: float


def profile_features(
    frame: pd.DataFrame, features: list[str], later: pd.Series[bool]
) -> list[FeatureProfile]:
    """Profile features; ``later`` marks the rows whose drift against the others is asked."""
    mask = later.to_numpy(dtype=bool)
    found = []
    for name in features:
        values = frame[name].to_numpy(dtype=np.float64)
        known = values[~np.isnan(values)]
        low, median, high = (
            np.quantile(known, (0.01, 0.5, 0.99)).tolist() if len(known) else [np.nan] * 3
        )
        found.append(
            FeatureProfile(
                name=name,
                rows=len(values),
                missing=1.0 - len(known) / len(values) if len(values) else np.nan,
                low=low,
                median=median,
                high=high,
                distinct=len(np.unique(known)),
                drift=stability_index(values[~mask], values[mask]),
            )
        )
    return found


def stability_index(earlier: Floats, later: Floats) -> float:
    """Population stability index between two samples; bins are deciles of the earlier one."""
    if not len(earlier) or not len(later):
        return float("nan")
    known = earlier[~np.isnan(earlier)]
    deciles = np.linspace(0, 1, DRIFT_BINS + 1)[1:-1]
    edges: Floats = np.unique(np.quantile(known, deciles)) if len(known) else np.empty(0)
    before, after = (_shares(sample, edges) for sample in (earlier, later))
    return float(((after - before) * np.log(after / before)).sum())


def _shares(sample: Floats, edges: Floats) -> Floats:
    """Share of a sample by bin, the missing ones last; no bin is quite empty."""
    missing = np.isnan(sample)
    inside = np.searchsorted(edges, sample[~missing], side="right")
    counts = np.append(np.bincount(inside, minlength=len(edges) + 1), missing.sum())
    return np.maximum(counts / len(sample), _EMPTY_BIN)
