"""Why a model decides as it does."""

from __future__ import annotations

import numpy as np
import pytest

from trade_pipeline.core.report.model_pictures import shapley_png
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.explanation import explain_model, influences, shapley_values
from trade_pipeline.core.training.train import Training, train
from trade_pipeline_tests.core.training.rows import FEATURES, labelled
from trade_pipeline_tests.core.training.strong import TELLING, Strong


@pytest.fixture(scope="module")
def training() -> Training:
    return train(labelled(), FEATURES, "spot-1h", TrainingConfig(trials=2, folds=3))


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


def test_pairs_are_named_with_the_folds_that_saw_them(strong_store: Store, strong: Strong) -> None:
    found = explain_model(strong_store, strong.model)
    assert {one.feature for one in found.influences[: len(TELLING)]} == set(TELLING)
    assert all(one.first < one.second and 0 < one.folds <= 1 for one in found.interactions)
    assert all(one.strength > 0 for one in found.interactions)
    order = [(-one.folds, -one.strength) for one in found.interactions]
    assert order == sorted(order)
