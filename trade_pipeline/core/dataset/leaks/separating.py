"""Features that alone tell more of a label than anything known beforehand can.

Honest single features of returns stay below an area under the ROC curve of about 0.65 and a rank
correlation of about 0.2.  The thresholds lie far from there, so a feature that is named holds the
label, whatever its name and definition say (Kaufman et al., "Leakage in Data Mining", 2012).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.dataset.leaks.guard import DAY, Guard, decided, features_of, matrix
from trade_pipeline.core.dataset.leaks.power import (
    Folds,
    areas,
    bin_codes,
    binned_areas,
    binned_information,
    bins_for,
    rank_correlations,
    ranks,
)
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

LABELS = ("target_return", "profit", "rug")
# A rug shows beforehand: on real pools the share of purchases alone has an area of 0.98, where
# nobody can sell; what is called a leak lies above that.
AREA = 0.985
AREA_IN_ONE_HALF = 0.99
CORRELATION = 0.6
CLEAR_CORRELATION = 0.45
INFORMATION = 0.25
# Least rows of each class, and days and (where there are several) tokens that they come from.
CLASS_ROWS = 20
CLASS_GROUPS = 5
SEVERAL_TOKENS = 20
RETURN_ROWS = 200
# An error clustered by fewer days than this is no error; the information is judged all the same.
RETURN_DAYS = 14
# Least tokens, decisions of each, and lower bound of the correlation between tokens.
ENCODED_TOKENS = 30
ENCODED_ROWS = 3
ENCODED_CORRELATION = 0.6
# By statistic: the limit in both halves, and in one alone.
LIMITS = {
    "area": (AREA, AREA_IN_ONE_HALF),
    "area of bins": (AREA, AREA),
    "rank correlation": (CORRELATION, CORRELATION),
    "information": (INFORMATION, INFORMATION),
}
# One-sided 99.9 % of the normal distribution.
CONFIDENCE = 3.09


def separating_features(frame: pd.DataFrame, labels: Sequence[str] = LABELS) -> Guard:
    """Features whose value or missingness gives a label away.

    The halves of the frame by time are judged apart.  A feature is named when its value separates a
    class with an area of `AREA` in both or `AREA_IN_ONE_HALF` in one, or when in one of them

    - bins of it, learned from other tokens and times, separate a class with an area of `AREA`,
    - its rank correlation with the return is `CORRELATION`, and above `CLEAR_CORRELATION` beyond
      doubt, with an error clustered by day,
    - its bins tell a share of `INFORMATION` of the return's decile.

    A label that is encoded by token is found at each token's first decision: nothing known then
    agrees with the mean label of all that follows.

    Args:
        labels: columns of the frame; bool is a class, float a return.

    Returns:
        The guard; a reason says which label could not be judged in which half, and why.

    Raises:
        BadConfig: the frame lacks a label or is not sorted by decided_at, or a row lacks its label
            or instrument.
    """
    names = features_of(frame)
    values = matrix(frame, names)
    at = decided(frame)
    tokens = _numbered(frame["instrument"])
    day = at // DAY
    groups = {"days": day}
    if tokens.max(initial=-1) + 1 >= SEVERAL_TOKENS:
        groups["tokens"] = tokens
    targets = {label: _target(frame, label) for label in labels}
    middle = len(frame) // 2
    found: dict[tuple[str, str], list[Floats]] = {}
    unjudged: list[str] = []
    for half, part in (("first", slice(0, middle)), ("second", slice(middle, None))):
        ranked = ranks(values[part])
        folds = Folds.of(tokens[part])
        for label, target in targets.items():
            why = _too_little(target[part], {name: group[part] for name, group in groups.items()})
            if why is not None:
                unjudged.append(f"{label}, {half} half: {why}: not judged")
                continue
            for statistic, power in _statistics(ranked, target[part], folds, day[part]).items():
                found.setdefault((label, statistic), []).append(power)
    scores: dict[str, dict[str, float]] = {}
    reasons: list[str] = []
    for (label, statistic), halves in found.items():
        limit, limit_in_one = LIMITS[statistic]
        power = np.max(halves, axis=0)
        named = power >= limit_in_one
        if len(halves) == 2:
            named |= np.min(halves, axis=0) >= limit
        for i in np.flatnonzero(named).tolist():
            reasons.append(f"{names[i]}: {statistic} {power[i]:.3f} with {label}, limit {limit:g}")
            scores.setdefault(names[i], {})[f"{label}/{statistic}"] = float(power[i])
    if np.count_nonzero(np.bincount(tokens) >= ENCODED_ROWS) < ENCODED_TOKENS:
        unjudged.append(
            f"label encoded by token: fewer than {ENCODED_TOKENS} tokens with {ENCODED_ROWS} "
            "decisions: not judged"
        )
    for (i, label), correlation in sorted(_encoded(values, tokens, targets).items()):
        reasons.append(
            f"{names[i]}: rank correlation {correlation:.3f} at the first decision of each token "
            f"with the token's mean {label}: the label encoded by token"
        )
        scores.setdefault(names[i], {})[f"{label}/tokens"] = correlation
    numbers: dict[str, Any] = {"scores": scores, "unjudged": unjudged}
    return Guard("separating_features", not scores, reasons + unjudged, numbers, sorted(scores))


def _target(frame: pd.DataFrame, label: str) -> Floats | npt.NDArray[np.bool_]:
    if label not in frame.columns:
        raise BadConfig(f"label={label!r}: the trade frame has no such column")
    if frame[label].isna().any():
        raise BadConfig(
            f"{label}: missing in {int(frame[label].isna().sum())} rows; leave them out"
        )
    return np.asarray(frame[label].to_numpy())


def _numbered(keys: pd.Series[Any]) -> Ints:
    """A number for each key, by first appearance."""
    if keys.isna().any():
        raise BadConfig(f"{keys.name}: missing in {int(keys.isna().sum())} rows")
    return np.asarray(keys.factorize()[0], np.int64)


def _too_little(target: npt.NDArray[Any], groups: dict[str, Ints]) -> str | None:
    """Why a label cannot be judged on some rows."""
    if target.dtype != np.bool_:
        if len(target) < RETURN_ROWS:
            return f"{len(target)} rows, {RETURN_ROWS} needed"
        return None
    for name, rows in (("positive", target), ("negative", ~target)):
        if rows.sum() < CLASS_ROWS:
            return f"{int(rows.sum())} {name} rows, {CLASS_ROWS} needed"
        for what, group in groups.items():
            if len(np.unique(group[rows])) < CLASS_GROUPS:
                return f"{name} rows of fewer than {CLASS_GROUPS} {what}"
    return None


def _statistics(
    ranked: Floats, target: npt.NDArray[Any], folds: Folds, day: Ints
) -> dict[str, Floats]:
    """What is measured of each feature against a label, by name; 0 where it cannot be."""
    there = ~np.isnan(ranked)
    bins = bins_for(len(ranked))
    codes = bin_codes(ranked, bins)
    if target.dtype == np.bool_:
        area = areas(ranked, target)
        # With few known values of a class only the bins judge it, which count missing as a value.
        few = np.minimum(there[target].sum(axis=0), there[~target].sum(axis=0)) < CLASS_ROWS
        return {
            "area": np.where(few, 0.0, np.maximum(area, 1 - area)),
            "area of bins": binned_areas(codes, bins, target, folds),
        }
    correlation, error = rank_correlations(ranked, target, day)
    correlation = np.abs(correlation)
    clear = correlation - CONFIDENCE * error >= CLEAR_CORRELATION
    clear &= (there.sum(axis=0) >= RETURN_ROWS) & (len(np.unique(day)) >= RETURN_DAYS)
    return {
        "rank correlation": np.where(clear, correlation, 0.0),
        "information": binned_information(codes, bins, target, folds),
    }


def _encoded(
    values: Floats, tokens: Ints, targets: dict[str, npt.NDArray[Any]]
) -> dict[tuple[int, str], float]:
    """Correlations of features whose value at each token's first decision is its mean label.

    All tokens and those of either half by first appearance are looked at: an encoding may be fitted
    on some of the rows alone.
    """
    first = np.unique(tokens, return_index=True)[1]
    count = np.bincount(tokens)
    several = np.flatnonzero(count >= ENCODED_ROWS)
    half = len(several) // 2
    encoded: dict[tuple[int, str], float] = {}
    for part in (several, several[:half], several[half:]):
        ranked = ranks(values[first[part]])
        known = (~np.isnan(ranked)).sum(axis=0)
        for label, target in targets.items():
            means = np.bincount(tokens, weights=target.astype(np.float64)) / count
            correlation, error = rank_correlations(ranked, means[part], part)
            lower = np.abs(correlation) - CONFIDENCE * error
            named = (lower >= ENCODED_CORRELATION) & (known >= ENCODED_TOKENS)
            for i in np.flatnonzero(named).tolist():
                encoded[i, label] = float(correlation[i])
    return encoded
