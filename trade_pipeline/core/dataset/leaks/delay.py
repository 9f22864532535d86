"""Features whose power is gone once the market is seen as late as it is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.dataset.leaks.guard import DAY, Guard, decided, features_of, matrix
from trade_pipeline.core.dataset.leaks.power import centred, mean_by_cluster, ranks
from trade_pipeline.core.dataset.leaks.separating import LABELS, RETURN_ROWS
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    import pandas as pd

# Rank correlation that a feature must have beyond doubt before its loss means anything: an area of
# 0.58 for an even class, above what fast honest features of a volatile market reach.
POWER = 0.14
# What must be lost, as a share of the power; that something is must be beyond doubt.
LOST = 0.5
# One-sided 99.95 % of the normal distribution: three labels of some eighty features are looked at.
CONFIDENCE = 3.29
FEWEST_DAYS = 20


def delay_sensitive_features(
    frame: pd.DataFrame, shifted: pd.DataFrame, labels: Sequence[str] = LABELS
) -> Guard:
    """Features with clear power, most of which vanishes as of ``decided_at`` less the delay.

    Power is the rank correlation with a label over the rows where both values are known, its error
    is clustered by UTC day, and the loss is measured on the same rows.

    Args:
        shifted: the same rows, each feature recomputed as of ``decided_at`` less its recording
            delay.

    Returns:
        The guard; ``numbers["features"]`` has (power, power when shifted) of what it names.

    Raises:
        BadConfig: the frames do not have the same rows and features, a label is not there, or the
            rows are not sorted by decided_at.
    """
    names = features_of(frame)
    if not frame.index.equals(shifted.index):
        raise BadConfig("shifted: its rows are not those of the frame, in the same order")
    missing = sorted(set(names) - set(shifted.columns)) + sorted(set(labels) - set(frame.columns))
    if missing:
        raise BadConfig(f"column={missing[0]!r}: the shifted frame or the frame does not have it")
    now, then = matrix(frame, names), matrix(shifted, names)
    both = ~np.isnan(now) & ~np.isnan(then)
    day = decided(frame) // DAY
    # A feature that the delay does not change cannot lose by it.
    moved = np.flatnonzero(np.where(both, now != then, False).any(axis=0))
    enough = both.sum(axis=0) >= RETURN_ROWS
    unjudged = [
        f"{names[i]}: known in {int(both[:, i].sum())} rows with the delay, {RETURN_ROWS} needed: "
        "not judged"
        for i in np.flatnonzero(~enough)
    ]
    days = len(np.unique(day))
    if days < FEWEST_DAYS:
        moved = moved[:0]
        unjudged = [f"{days} days, {FEWEST_DAYS} needed: not judged"]
    judged = moved[enough[moved]]
    x = centred(ranks(np.where(both, now, np.nan)[:, judged]))
    x_then = centred(ranks(np.where(both, then, np.nan)[:, judged]))
    found: dict[str, tuple[float, float]] = {}
    reasons: list[str] = []
    for label in labels:
        y = centred(ranks(frame[label].to_numpy(np.float64)[:, None]))
        power, power_error = mean_by_cluster(x * y, both[:, judged], day)
        late, _ = mean_by_cluster(x_then * y, both[:, judged], day)
        sign = np.sign(power)
        lost, lost_error = mean_by_cluster(sign * (x - x_then) * y, both[:, judged], day)
        named = (
            (np.abs(power) - CONFIDENCE * power_error >= POWER)
            & (lost - CONFIDENCE * lost_error > 0)
            & (lost >= LOST * np.abs(power))
        )
        for i in np.flatnonzero(named):
            name = names[judged[i]]
            found[name] = (float(power[i]), float(late[i]))
            reasons.append(
                f"{name}: rank correlation {power[i]:.3f} with {label} is {late[i]:.3f} once its "
                "recording delay is kept"
            )
    return Guard(
        "delay_sensitive_features",
        not found,
        reasons + unjudged,
        {"features": found, "judged": len(judged)},
        sorted(found),
    )
