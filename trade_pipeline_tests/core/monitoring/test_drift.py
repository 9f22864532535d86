"""Drift: an effect, not a sample size; and what wanders by itself has not drifted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f

from trade_pipeline.core.dataset.profile import (
    bin_count,
    bins_of,
    decile_edges,
    stability_of_counts,
)
from trade_pipeline.core.market.event import DAY, Floats
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.drift import (
    Columns,
    DriftReport,
    feature_drift,
    prediction_drift,
)

CONFIG = MonitoringConfig()
DAYS, LONG = 60, 14


def columns(values: Floats, days: int, first: int = 0) -> Columns:
    """Values spread evenly over days."""
    place = (np.arange(len(values)) + 0.5) * (days * DAY / max(1, len(values)))
    at = first * DAY + place.astype(np.int64)
    return Columns(at, values if values.ndim == 2 else values[:, None])


def drift_of(reference: Floats, recent: Floats, days: int = LONG) -> DriftReport:
    """Of one feature that is all that matters."""
    return feature_drift(
        ["x"], columns(reference, DAYS), columns(recent, days, 100), (100 + days) * DAY,
        {"x": 1.0}, CONFIG,
    )  # fmt: skip


@pytest.mark.parametrize(("shift", "drifts"), [(0.0, False), (0.15, False), (1.0, True)])
def test_the_verdict_is_the_same_with_200_rows_and_with_20_000(shift: float, drifts: bool) -> None:
    draw = np.random.default_rng(0)
    found = [
        drift_of(draw.normal(size=before), draw.normal(shift, 1, recent))
        for before in (3_000, 60_000)
        for recent in (200, 20_000)
    ]
    assert {one.columns[0].drifted for one in found} == {drifts}
    assert {one.guardrail.passed for one in found} == {not drifts}
    indices = [one.columns[0].index for one in found]
    assert indices == pytest.approx([indices[-1]] * 4, abs=0.25 if drifts else 0.06)


def wandering(draw: np.random.Generator, days: int, daily: float) -> Floats:
    """A level that wanders from day to day, and candidates around it."""
    level = np.zeros(days)
    level[0] = draw.normal()
    for day in range(1, days):
        level[day] = daily * level[day - 1] + np.sqrt(1 - daily**2) * draw.normal()
    values: Floats = (0.8 * level[:, None] + 0.6 * draw.normal(size=(days, 20))).ravel()
    return values


def test_what_wanders_for_weeks_by_itself_hardly_ever_counts_as_drift() -> None:
    draw = np.random.default_rng(3)
    drifted = fixed_size = 0
    for _ in range(200):
        values = wandering(draw, DAYS + LONG + 3, 0.9)
        found = drift_of(values[: DAYS * 20], values[-LONG * 20 :]).columns[0]
        drifted += found.drifted
        fixed_size += found.index > CONFIG.max_drift
    assert drifted <= 6
    # By the usual rule most of them would.
    assert fixed_size > 100


def test_the_own_noise_is_what_each_stretch_shows_beside_the_rest_of_the_reference() -> None:
    draw = np.random.default_rng(9)
    reference = wandering(draw, DAYS, 0.9)
    (found,) = drift_of(reference, reference[: LONG * 20]).columns
    edges = decile_edges(reference)
    day = np.repeat(np.arange(DAYS), 20)
    own = []
    for first in range(DAYS - LONG + 1):
        inside = (day >= first) & (day < first + LONG)
        counts = [
            np.bincount(bins_of(part, edges), minlength=bin_count(edges))
            for part in (reference[~inside], reference[inside])
        ]
        chance = 9 * (1 / (~inside).sum() + 1 / inside.sum())
        own.append(float(stability_of_counts(*counts)) - chance)
    alone = (DAYS - LONG) / LONG + 1
    assert found.own == pytest.approx(np.mean(own) * f.ppf(0.995, 1, alone))


def test_values_that_turn_unknown_or_leave_a_point_that_most_share_have_drifted() -> None:
    draw = np.random.default_rng(4)
    reference, recent = draw.normal(size=3_000), draw.normal(size=400)
    recent[:100] = np.nan
    (unknown,) = drift_of(reference, recent).columns
    assert unknown.drifted
    assert (unknown.missing, unknown.missing_before) == (0.25, 0.0)
    zeros = np.where(draw.uniform(size=3_000) < 0.95, 0.0, 1.0)
    assert drift_of(zeros, np.where(draw.uniform(size=400) < 0.3, 0.0, 1.0)).columns[0].drifted
    assert not drift_of(zeros, np.where(draw.uniform(size=400) < 0.95, 0.0, 1.0)).columns[0].drifted


def test_the_features_that_drifted_count_by_their_importance() -> None:
    draw = np.random.default_rng(5)
    reference, recent = draw.normal(size=(3_000, 2)), draw.normal(size=(400, 2))
    recent[:, 0] += 3
    for share, passed in ((0.4, True), (0.6, False)):
        found = feature_drift(
            ["moved", "stays"], columns(reference, DAYS), columns(recent, LONG, 100),
            (100 + LONG) * DAY, {"moved": share, "stays": 1 - share}, CONFIG,
        )  # fmt: skip
        assert [one.drifted for one in found.columns] == [True, False]
        assert found.guardrail.passed is passed
    assert "60% of the importance has drifted, allowed 50%: moved" in found.guardrail.reason


def test_a_prediction_that_drifts_breaks_by_itself_and_is_named() -> None:
    draw = np.random.default_rng(6)
    reference, recent = draw.normal(size=(3_000, 2)), draw.normal(size=(400, 2))
    names = ("confidence", "expected_return")
    until = (100 + LONG) * DAY
    before = columns(reference, DAYS)
    assert prediction_drift(
        names, before, columns(recent, LONG, 100), until, CONFIG
    ).guardrail.passed
    recent[:, 1] += 1
    found = prediction_drift(names, before, columns(recent, LONG, 100), until, CONFIG).guardrail
    assert not found.passed
    assert "expected_return has drifted by" in found.reason
    assert "confidence has" not in found.reason


def test_too_little_to_compare_judges_nothing() -> None:
    draw = np.random.default_rng(7)
    reference = draw.normal(size=3_000)
    few = drift_of(reference, draw.normal(9, 1, 99))
    assert few.guardrail.passed
    assert few.columns == ()
    assert "not judged yet: 99 decisions in 14 days, needs 100" in few.guardrail.reason
    sparse = drift_of(draw.normal(size=300), draw.normal(9, 1, 400))
    assert "no 14 days of the reference hold 100 decisions" in sparse.guardrail.reason
    nothing = drift_of(reference, np.empty(0))
    assert "no decision yet" in nothing.guardrail.reason


def test_soon_after_a_deployment_short_stretches_are_compared_with_short_ones() -> None:
    draw = np.random.default_rng(8)
    reference = np.repeat(draw.normal(size=DAYS), 200) + 0.3 * draw.normal(size=DAYS * 200)
    day = draw.normal() + 0.3 * draw.normal(size=200)
    # One day is unlike all of the others together, and like one of them.
    (found,) = drift_of(reference, day, days=1).columns
    assert found.index > CONFIG.max_drift
    assert not found.drifted
