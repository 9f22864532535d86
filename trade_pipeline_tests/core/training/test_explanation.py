"""Why a model decides as it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from trade_pipeline.core.report import model_pictures
from trade_pipeline.core.report.model_pictures import shapley_png
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.explanation import (
    SHAPLEY_ROWS,
    ShapleyValues,
    explain_model,
    influences,
    interactions,
    shapley_values,
)
from trade_pipeline.core.training.train import Training, train, training_rows
from trade_pipeline_tests.core.training.rows import FEATURES, labelled
from trade_pipeline_tests.core.training.strong import TELLING, Strong

QUICK = TrainingConfig(trials=2, folds=3)
PARAMS = {
    "max_features": 10, "n_estimators": 60, "max_depth": 3, "learning_rate": 0.1,
    "min_leaf_share": 0.02, "subsample": 0.8, "colsample_bytree": 0.8, "reg_lambda": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def training() -> Training:
    return train(labelled(), FEATURES, "spot-1h", QUICK)


def test_the_input_that_tells_of_the_profit_moves_the_confidence_most(training: Training) -> None:
    found = influences(training.model, labelled(seed=5))
    assert found[0].feature == "volatility_24h"
    assert found[0].direction > 0.9
    assert sum(one.share for one in found) == pytest.approx(1)
    assert [one.share for one in found] == sorted((one.share for one in found), reverse=True)


def test_what_the_inputs_add_is_what_the_model_says(training: Training) -> None:
    later = labelled(200, seed=5)
    found = shapley_values(training.model, later)
    assert {one.feature for one in found} == set(training.model.inputs)
    inputs = training.model.inputs_of(later)
    base, _ = training.model.contributions(inputs)
    odds = base + sum(one.contributions for one in found)
    confidence = training.model.predict(inputs).confidence
    assert 1 / (1 + np.exp(-odds)) == pytest.approx(confidence, abs=1e-5)
    for one in found:
        assert np.array_equal(one.values, later[one.feature].to_numpy(), equal_nan=True)
    assert shapley_png(found).startswith(b"\x89PNG")


def test_of_many_rows_those_that_are_kept_lie_all_along(training: Training) -> None:
    many = labelled(SHAPLEY_ROWS + 500, seed=5)
    for one in shapley_values(training.model, many):
        values = many[one.feature].to_numpy()
        assert len(one.values) == len(one.contributions) == SHAPLEY_ROWS
        ends = np.array([one.values[0], one.values[-1]])
        assert np.array_equal(ends, values[[0, -1]], equal_nan=True)


def test_the_picture_has_a_line_of_dots_for_each_of_the_strongest_inputs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    draw = np.random.default_rng(0)
    inputs = [
        ShapleyValues(f"input-{n}", draw.normal(size=40), draw.normal(size=40)) for n in range(20)
    ]
    inputs[0].values[:10] = np.nan
    inputs[1].values[:] = np.nan
    axes = _drawn(inputs, monkeypatch)
    # From below, as an axis counts: the strongest stands on top.
    assert _labels(axes) == [f"input-{n}" for n in reversed(range(15))]
    unknown, known = axes.collections[0::2], axes.collections[1::2]
    assert len(unknown) == len(known) == 15
    for place, one in enumerate(reversed(inputs[:15])):
        is_known = ~np.isnan(one.values)
        x, height = np.array(known[place].get_offsets()).reshape(-1, 2).T
        assert x == pytest.approx(one.contributions[is_known])
        assert np.abs(height - place).max(initial=0) < 0.5
        grey, _ = np.array(unknown[place].get_offsets()).reshape(-1, 2).T
        assert grey == pytest.approx(one.contributions[~is_known])
        # The colour is the rank of the value.
        colour = np.array(known[place].get_array())
        assert np.array_equal(np.argsort(colour), np.argsort(one.values[is_known]))


def test_a_planted_pair_is_named_first_and_by_every_fold() -> None:
    planted = labelled(signal=0)
    product = planted["volatility_24h"] * (planted["heuristic_confidence"] - 0.5)
    noise = np.random.default_rng(3).normal(0, 0.05, len(planted))
    planted["target_return"] = (0.2 * np.tanh(4 * product) + noise).clip(-0.9, 0.9)
    first, *others = interactions(training_rows(planted, FEATURES, QUICK), PARAMS, QUICK)
    assert (first.first, first.second) == ("heuristic_confidence", "volatility_24h")
    assert first.folds == 1
    assert all(first.strength > 5 * one.strength for one in others)


def test_pairs_are_named_with_the_folds_that_saw_them(strong_store: Store, strong: Strong) -> None:
    found = explain_model(strong_store, strong.model)
    assert {one.feature for one in found.influences[: len(TELLING)]} == set(TELLING)
    assert all(one.first < one.second and 0 < one.folds <= 1 for one in found.interactions)
    assert all(one.strength > 0 for one in found.interactions)
    order = [(-one.folds, -one.strength) for one in found.interactions]
    assert order == sorted(order)


def _drawn(inputs: list[ShapleyValues], patch: pytest.MonkeyPatch) -> Any:
    """The axes of the picture, before they become pixels."""
    axes = Figure().add_subplot()
    patch.setattr(model_pictures, "picture", lambda title, draw, height: draw(axes) or b"")
    shapley_png(inputs)
    return axes


def _labels(axes: Any) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]
