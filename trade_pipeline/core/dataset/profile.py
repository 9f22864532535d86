"""A profile of a feature table: what is missing, how values are spread, what drifts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Floats, Ints

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
    edges = decile_edges(earlier)
    bins = bin_count(edges)
    before, after = (np.bincount(bins_of(sample, edges), minlength=bins)
                     for sample in (earlier, later))  # fmt: skip
    return float(stability_of_counts(before, after))


def decile_edges(sample: Floats) -> Floats:
    """The distinct deciles of a sample's known values."""
    known = sample[~np.isnan(sample)]
    deciles = np.linspace(0, 1, DRIFT_BINS + 1)[1:-1]
    edges: Floats = np.unique(np.quantile(known, deciles)) if len(known) else np.empty(0)
    return edges


def bin_count(edges: Floats) -> int:
    """How many bins `bins_of` tells apart."""
    return 2 * len(edges) + 2


def bins_of(sample: Floats, edges: Floats) -> Ints:
    """The bin of each value: between two edges, or on an edge, where a value that many rows share
    has a bin of its own; the missing ones are in the last.
    """
    found = np.searchsorted(edges, sample, side="left") + np.searchsorted(
        edges, sample, side="right"
    )
    return np.where(np.isnan(sample), bin_count(edges) - 1, found).astype(np.int64)


def stability_of_counts(before: npt.ArrayLike, after: npt.ArrayLike) -> Floats:
    """Population stability index of counts by bin (the last axis); no bin is quite empty."""
    one, other = _shares(before), _shares(after)
    index: Floats = ((other - one) * np.log(other / one)).sum(axis=-1)
    return index


def _shares(counts: npt.ArrayLike) -> Floats:
    held = np.asarray(counts, np.float64)
    shares: Floats = np.maximum(held / held.sum(axis=-1, keepdims=True), _EMPTY_BIN)
    return shares
