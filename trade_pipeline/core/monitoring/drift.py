"""Drift of inputs and predictions, by a verdict that does not depend on the sample size alone.

The effect size is the population stability index over deciles of the reference, unknown values a
bin of their own, less what it is by chance in samples of these sizes.  It is judged against a fixed
size, and against what stretches of the reference as long as the recent one show beside the rest of
it: values that wander for weeks differ that much without any drift.  If only the mean wanders, the
index of a stretch over the mean index of k others has an F distribution of 1 and k degrees of
freedom; the level is its quantile.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.dataset.profile import (
    bin_count,
    bins_of,
    decile_edges,
    stability_of_counts,
)
from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.verdict import not_judged, verdict

# A reference is at least that many times as long as the stretches that it is cut into.
_STRETCHES = 4
_QUANTILE = 0.995


@dataclass(frozen=True, slots=True)
class Drift:
    """How far one column has moved.

    Attributes:
        index: population stability index of the recent rows, that of chance taken off.
        own: how large the index must be for the reference's own stretches.
        missing, missing_before: shares of unknown values, recent and in the reference.
        importance: share of what moves the model's confidence; 0 for a prediction.
        drifted: the index is above both the fixed size and ``own``.
    """

    name: str
    index: float
    own: float
    missing: float
    missing_before: float
    importance: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The verdict, and a line for each column; none where it was not judged."""

    guardrail: Guardrail
    columns: Sequence[Drift]


@dataclass(frozen=True, slots=True)
class Columns:
    """Columns of decisions: ``at`` in microseconds and (rows, names) values, NaN where unknown."""

    at: Ints
    values: Floats


def feature_drift(
    names: Sequence[str],
    reference: Columns,
    recent: Columns,
    until: int,
    importance: Mapping[str, float],
    config: MonitoringConfig,
) -> DriftReport:
    """Whether the inputs that matter to the model are still those that it learned from.

    Args:
        reference: what it learned from.
        importance: of each input, as shares of 1.
    """
    found = _drifts(names, reference, recent, until, importance, config)
    if isinstance(found, str):
        return DriftReport(not_judged("feature_drift", found, {"rows": len(recent.at)}), ())
    drifted = [one for one in found if one.drifted]
    share = sum(one.importance for one in drifted)
    line = verdict(
        "feature_drift",
        share <= config.max_drifted_share,
        f"{share:.0%} of the importance has drifted, allowed {config.max_drifted_share:.0%}: "
        + ", ".join(one.name for one in drifted),
        {"features": len(found), "drifted": len(drifted), "share": share,
         "allowed": config.max_drifted_share},
    )  # fmt: skip
    return DriftReport(line, found)


def prediction_drift(
    names: Sequence[str], reference: Columns, recent: Columns, until: int, config: MonitoringConfig
) -> DriftReport:
    """Whether the model still says what it said of decisions that it did not learn from.

    Of those that it learned from it is surer, which is no drift.
    """
    found = _drifts(names, reference, recent, until, {}, config)
    if isinstance(found, str):
        return DriftReport(not_judged("prediction_drift", found, {"rows": len(recent.at)}), ())
    drifted = [one for one in found if one.drifted]
    line = verdict(
        "prediction_drift",
        not drifted,
        "; ".join(
            f"{one.name} has drifted by {one.index:.2f}, allowed {config.max_drift:g} and "
            f"{one.own:.2f} by its own noise"
            for one in drifted
        ),
        {one.name: one.index for one in found},
    )
    return DriftReport(line, found)


def _drifts(
    names: Sequence[str],
    reference: Columns,
    recent: Columns,
    until: int,
    importance: Mapping[str, float],
    config: MonitoringConfig,
) -> list[Drift] | str:
    """The drift of each column, or what is missing to tell it."""
    if not len(recent.at) or not len(reference.at):
        return "no decision yet"
    first = int(reference.at.min()) // DAY
    day = reference.at // DAY - first
    long = min(
        config.window_days,
        -(-(until - int(recent.at.min())) // DAY),
        (int(day.max()) + 1) // _STRETCHES,
    )
    rows = recent.at > until - long * DAY
    if int(rows.sum()) < config.min_rows:
        return f"{int(rows.sum())} decisions in {long} days, needs {config.min_rows}"
    now = recent.values[rows]
    held = np.bincount(day)
    usable = _sums(held[:, None], long)[:, 0] >= config.min_rows
    if not usable.any():
        return f"no {long} days of the reference hold {config.min_rows} decisions to compare with"
    # Stretches overlap; this many stand for themselves.
    alone = float(usable.sum() - 1) / long + 1
    return [
        _drift(
            name, reference.values[:, n], day, now[:, n], usable, alone, importance.get(name, 0.0),
            config,
        )
        for n, name in enumerate(names)
    ]  # fmt: skip


def _drift(
    name: str,
    reference: Floats,
    day: Ints,
    now: Floats,
    usable: np.ndarray,
    alone: float,
    importance: float,
    config: MonitoringConfig,
) -> Drift:
    from scipy.stats import f

    edges = decile_edges(reference)
    bins, days = bin_count(edges), int(day.max()) + 1
    by_day = np.bincount(day * bins + bins_of(reference, edges), minlength=days * bins)
    by_day = by_day.reshape(days, bins)
    whole = by_day.sum(axis=0)
    stretches = _sums(by_day, days - len(usable) + 1)[usable]
    own = _beyond_chance(whole - stretches, stretches, whole)
    index = float(_beyond_chance(whole, np.bincount(bins_of(now, edges), minlength=bins), whole))
    noise = max(0.0, float(own.mean())) * float(f.ppf(_QUANTILE, 1, alone))
    return Drift(
        name=name,
        index=index,
        own=noise,
        missing=float(np.isnan(now).mean()),
        missing_before=float(np.isnan(reference).mean()),
        importance=importance,
        drifted=index > max(config.max_drift, noise),
    )


def _beyond_chance(before: Ints, after: Ints, whole: Ints) -> Floats:
    """The index of counts by bin, less its mean in samples of one distribution."""
    freedom = int((whole > 0).sum()) - 1
    chance = freedom * (1.0 / before.sum(axis=-1) + 1.0 / after.sum(axis=-1))
    found: Floats = stability_of_counts(before, after) - chance
    return found


def _sums(by_day: Ints, long: int) -> Ints:
    """Sums over each ``long`` successive days."""
    total = np.vstack([np.zeros((1, by_day.shape[1]), np.int64), np.cumsum(by_day, axis=0)])
    sums: Ints = total[long:] - total[:-long]
    return sums
