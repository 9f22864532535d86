"""Training: the same again is the same model, and later rows never reach it."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.registry import FEATURES as REGISTRY
from trade_pipeline.core.strategy.config import SignalConfig
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.policy import break_even_confidence, stakes
from trade_pipeline.core.training.train import Training, train, training_rows
from trade_pipeline_tests.core.training.rows import FEATURES, labelled

QUICK = TrainingConfig(trials=2, folds=3)
_AGAIN = """
import hashlib
from trade_pipeline_tests.core.training.test_train import trained
print(hashlib.sha256(trained().model.to_bytes()).hexdigest())
"""


def trained(**changes: object) -> Training:
    return train(labelled(), FEATURES, "spot-1h", QUICK.model_copy(update=changes))


@pytest.fixture(scope="module")
def training() -> Training:
    return trained()


def test_the_same_again_in_another_process_gives_the_same_bytes(training: Training) -> None:
    again = subprocess.run(
        [sys.executable, "-c", _AGAIN], capture_output=True, text=True, check=True
    )
    assert again.stdout.strip() == hashlib.sha256(training.model.to_bytes()).hexdigest()


def test_another_seed_gives_another_model(training: Training) -> None:
    assert trained(seed=8).model.to_bytes() != training.model.to_bytes()


def test_what_tells_of_the_return_is_found(training: Training) -> None:
    later = labelled(seed=9)
    found = training.model.predict(later[list(training.model.inputs)].to_numpy(np.float64))
    told = np.corrcoef(found.expected_return, later["volatility_24h"])[0, 1]
    assert told > 0.8
    assert np.corrcoef(found.confidence, later["target_return"] > 0)[0, 1] > 0.2


def test_confidence_is_the_share_of_profits(training: Training) -> None:
    later = labelled(6_000, seed=9)
    found = training.model.predict(later[list(training.model.inputs)].to_numpy(np.float64))
    won = (later["target_return"] > 0).to_numpy()
    for tenth in np.array_split(np.argsort(found.confidence), 10):
        assert abs(found.confidence[tenth].mean() - won[tenth].mean()) < 0.1


def test_every_row_is_predicted_out_of_fold_once(training: Training) -> None:
    held_out = np.concatenate([rows for _, rows in training.search.folds])
    assert sorted(held_out.tolist()) == list(range(len(training.rows.frame)))
    for trial in training.search.trials:
        assert np.isfinite(trial.margin).all()


def test_the_trial_with_the_best_mean_of_folds_is_chosen(training: Training) -> None:
    scores = [trial.score for trial in training.search.trials]
    assert training.search.chosen == scores.index(max(scores))
    for trial in training.search.trials:
        both = [(f.rank_correlation + f.return_rank_correlation) / 2 for f in trial.folds]
        assert trial.score == pytest.approx(np.mean(both))


def test_own_records_are_no_inputs_and_old_rows_weigh_less() -> None:
    own = [feature.name for feature in REGISTRY if feature.source == "own records"]
    frame = labelled(400).assign(**dict.fromkeys(own, 1.0))
    rows = training_rows(frame, [*FEATURES, *own], QUICK)
    assert list(rows.inputs) == list(FEATURES)
    short = training_rows(frame, FEATURES, QUICK.model_copy(update={"recency_half_life_days": 10}))
    ratio = short.weights / rows.weights
    assert (np.diff(ratio) > 0).all()
    assert rows.weights.mean() == pytest.approx(1)


def test_too_few_winners_are_named() -> None:
    frame = labelled(300).assign(target_return=-0.1)
    with pytest.raises(BadConfig, match="0 winners among 300 rows"):
        train(frame, FEATURES, "spot-1h", QUICK)


def test_an_unknown_setting_is_named() -> None:
    with pytest.raises(BadConfig, match="trails=3: no such setting; did you mean trials"):
        TrainingConfig.parse({"trails": 3})


def test_the_stake_follows_confidence_and_the_filters_of_every_model() -> None:
    frame = labelled(6).assign(
        rug_risk=[0.1, 0.7, 0.1, 0.1, np.nan, 0.1], return_24h=[0.1, 0.1, 0.01, -0.1, 0.1, 0.1]
    )
    confidence = np.array([0.4, 0.9, 0.9, 1.0, 0.7, 0.39])
    assert stakes(confidence, 0.4, frame, SignalConfig()).tolist() == pytest.approx(
        [0.5, 0.0, 0.0, 1.0, 0.75, 0.0]
    )


def test_at_break_even_the_expected_return_is_zero() -> None:
    returns, weights = np.array([0.3, 0.1, -0.2, -0.1]), np.array([1.0, 2.0, 1.0, 1.0])
    p = break_even_confidence(returns, weights)
    gain, loss = np.average([0.3, 0.1], weights=[1, 2]), np.average([0.2, 0.1])
    assert p * gain - (1 - p) * loss == pytest.approx(0)
    with pytest.raises(ValueError, match="winners and losers"):
        break_even_confidence(np.array([0.1]), np.ones(1))


def test_a_model_that_was_read_again_predicts_the_same_bits(training: Training) -> None:
    model, frame = training.model, labelled(50, seed=3)
    x = frame[list(model.inputs)].to_numpy(np.float64)
    read = TradeModel.from_bytes(model.to_bytes())
    assert read.to_bytes() == model.to_bytes()
    assert read.predict(x).confidence.tobytes() == model.predict(x).confidence.tobytes()
    alone = np.concatenate([read.predict(row[None]).confidence for row in x])
    assert alone.tobytes() == model.predict(x).confidence.tobytes()


def test_contributions_sum_to_the_log_odds_of_the_confidence(training: Training) -> None:
    x = labelled(50, seed=3)[list(training.model.inputs)].to_numpy(np.float64)
    base, values = training.model.contributions(x)
    p = training.model.predict(x).confidence
    assert base + values.sum(axis=1) == pytest.approx(np.log(p / (1 - p)), abs=1e-4)
    largest = np.abs(values).mean(axis=0).argmax()
    assert training.model.inputs[largest] == "volatility_24h"


def test_another_number_of_columns_is_refused(training: Training) -> None:
    with pytest.raises(BadConfig, match="expected rows of"):
        training.model.predict(np.zeros((2, 1)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (b"{}", "format"),
        (b"not JSON", "incomplete or damaged"),
        (b'{"format":"other"}', "format='other'"),
        (b'{"format":"trade-model-1"}', "incomplete or damaged"),
    ],
)
def test_what_is_no_model_is_refused(change: bytes, told: str) -> None:
    with pytest.raises(BadConfig, match=told):
        TradeModel.from_bytes(change)


def test_another_curve_is_another_file(training: Training) -> None:
    changed = replace(training.model, entry_confidence=0.1)
    assert changed.to_bytes() != training.model.to_bytes()
