"""Stored vectors against those computed again, on a market cut off at the decision: equal bits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.dataset.leaks.guard import NAMED, Guard, features_of, matrix
from trade_pipeline.core.features.vector import differing_bits

if TYPE_CHECKING:
    import pandas as pd


def compare_vectors(stored: pd.DataFrame, recomputed: pd.DataFrame) -> Guard:
    """Where two frames of vectors differ in a single bit; rows are matched by UUID.

    NaN equals NaN whatever its bits; 0.0 and -0.0 differ.

    Args:
        stored: its ``attrs["features"]`` say what is compared; extra columns are not.

    Returns:
        The guard; its reasons name UUID, feature and both values of the first differences and what
        one frame does not have, its culprits every feature that differs or is not there.
    """
    names = features_of(stored)
    there = [name for name in names if name in recomputed.columns]
    lacking = [name for name in names if name not in recomputed.columns]
    reasons = [f"{name}: not recomputed" for name in lacking]
    for what, rows in (
        ("not recomputed", stored.index.difference(recomputed.index)),
        ("not stored", recomputed.index.difference(stored.index)),
    ):
        if len(rows):
            reasons.append(f"{len(rows)} rows {what}: {', '.join(map(str, rows[:NAMED]))}")
    twice = int(stored.index.duplicated().sum() + recomputed.index.duplicated().sum())
    if twice:
        reasons.append(f"{twice} rows repeat a uuid")
        return Guard("compare_vectors", False, reasons, {"repeated": twice}, sorted(lacking))
    shared = stored.index.intersection(recomputed.index, sort=False)
    one, two = matrix(stored.loc[shared], there), matrix(recomputed.loc[shared], there)
    differs = differing_bits(one, two)
    for row, column in np.argwhere(differs)[:NAMED]:
        reasons.append(
            f"uuid={shared[row]!r} {there[column]}: {float(one[row, column])!r} stored, "
            f"{float(two[row, column])!r} recomputed"
        )
    by_feature = differs.sum(axis=0)
    different = {there[i]: int(by_feature[i]) for i in np.flatnonzero(by_feature)}
    numbers = {"rows": len(shared), "features": len(there), "different": different}
    return Guard("compare_vectors", not reasons, reasons, numbers, sorted([*different, *lacking]))
