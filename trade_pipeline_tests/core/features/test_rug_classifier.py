"""A classifier learnt from made-up tokens whose risk is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import orjson
import pandas as pd
import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.rug_classifier import Fold, RugClassifier, RugSettings
from trade_pipeline.core.features.rug_metrics import rug_metrics

SETTINGS = RugSettings(rounds=15, depth=3, learning_rate=0.2, column_share=0.7, seeds=(0, 1))
ROWS = 300


def tokens(rows: int = ROWS, seed: int = 0) -> tuple[pd.DataFrame, np.ndarray]:
    """Tokens that are the riskier the higher ``heat``; every fifth ``locked`` is missing."""
    random = np.random.default_rng(seed)
    heat = random.normal(size=rows)
    locked = np.where(np.arange(rows) % 5 == 0, np.nan, random.uniform(size=rows))
    rug = random.uniform(size=rows) < 1 / (1 + np.exp(-2 * heat + np.nan_to_num(locked)))
    features = pd.DataFrame({"heat": heat, "locked": locked, "noise": random.normal(size=rows)})
    return features, rug


def folds(rows: int = ROWS) -> list[Fold]:
    blocks = np.array_split(np.arange(rows), 3)
    return [(np.setdiff1d(np.arange(rows), block), block) for block in blocks]


@pytest.fixture(scope="module")
def fitted() -> RugClassifier:
    return RugClassifier.fit(*tokens(), folds=folds(), settings=SETTINGS)


def test_what_is_read_back_gives_the_same_bytes_and_probabilities(fitted: RugClassifier) -> None:
    features, _ = tokens(seed=1)
    stored = fitted.to_bytes()
    read = RugClassifier.from_bytes(stored)
    assert read.to_bytes() == stored
    assert (read.names, read.threshold) == (fitted.names, fitted.threshold)
    assert read.settings == fitted.settings
    np.testing.assert_array_equal(read.probability(features), fitted.probability(features))
    assert orjson.loads(stored)["format"] == "rug-classifier-1"


def test_the_same_inputs_give_the_same_bytes_and_another_seed_others(
    fitted: RugClassifier,
) -> None:
    features, rug = tokens()
    again = RugClassifier.fit(features, rug, folds=folds(), settings=SETTINGS)
    other = RugClassifier.fit(
        features, rug, folds=folds(), settings=replace(SETTINGS, seeds=(0, 2))
    )
    assert again.to_bytes() == fitted.to_bytes() != other.to_bytes()


def test_a_row_has_the_same_probability_alone_as_among_many(fitted: RugClassifier) -> None:
    features, _ = tokens(seed=2)
    alone = [fitted.probability(features.iloc[[row]])[0] for row in range(len(features))]
    np.testing.assert_array_equal(alone, fitted.probability(features))


def test_columns_are_found_by_name(fitted: RugClassifier) -> None:
    features, _ = tokens(seed=2)
    turned = features.assign(other=1.0)[["other", "noise", "locked", "heat"]]
    np.testing.assert_array_equal(fitted.probability(turned), fitted.probability(features))


def test_probabilities_lie_in_0_to_1_and_keep_the_models_order(fitted: RugClassifier) -> None:
    features, _ = tokens(seed=3)
    probability = fitted.probability(features)
    assert ((probability > 0) & (probability < 1)).all()
    assert fitted.slope > 0
    # The same models on their own scale.
    margin = replace(fitted, slope=1.0, offset=0.0).probability(features)
    order = np.argsort(margin)
    assert (np.diff(probability[order]) >= 0).all()
    assert len(np.unique(probability)) == len(np.unique(margin))


def test_models_too_sure_of_themselves_are_corrected_by_rows_they_had_not_seen() -> None:
    sure = replace(SETTINGS, rounds=60, depth=6, learning_rate=0.5, l2=0.1, min_child_weight=0.1)
    model = RugClassifier.fit(*tokens(), folds=folds(), settings=sure)
    every = np.arange(ROWS)
    seen = RugClassifier.fit(*tokens(), folds=[(every, every)], settings=sure)
    assert model.slope < 0.9 < seen.slope
    features, rug = tokens(2000, seed=4)
    corrected = rug_metrics(rug, model.probability(features), model.threshold)
    believed = rug_metrics(rug, seen.probability(features), seen.threshold)
    assert corrected.auc == pytest.approx(believed.auc)
    assert corrected.brier < 0.85 * believed.brier
    assert corrected.ece < 0.06 < 0.12 < believed.ece


def test_margins_that_tell_nothing_give_every_token_the_share_of_rugs() -> None:
    features, _ = tokens()
    # Learnt from rows that say the contrary of those predicted.
    first, second = np.arange(150), np.arange(150, 300)
    contrary = features["heat"].to_numpy() > 0
    contrary[second] = ~contrary[second]
    model = RugClassifier.fit(
        features, contrary, folds=[(first, second), (second, first)], settings=SETTINGS
    )
    assert model.slope == 0.0
    (only,) = set(model.probability(features).tolist())
    assert only == pytest.approx(contrary.mean(), abs=0.01)


def test_a_missing_value_stays_missing(fitted: RugClassifier) -> None:
    features, _ = tokens(seed=5)
    unknown, zero = features.assign(locked=np.nan), features.assign(locked=0.0)
    assert (fitted.probability(unknown) != fitted.probability(zero)).any()


def test_a_falling_feature_never_raises_the_risk() -> None:
    features, rug = tokens()
    settings = replace(SETTINGS, rising=("noise",), falling=("locked",))
    model = RugClassifier.fit(features, rug, folds=folds(), settings=settings)
    steps = np.linspace(0, 1, 50)
    one = features.iloc[[1]].loc[np.repeat(1, 50)]
    assert (np.diff(model.probability(one.assign(locked=steps))) <= 0).all()
    assert (np.diff(model.probability(one.assign(noise=4 * steps - 2))) >= 0).all()


def test_weights_move_the_models_towards_what_counts_more() -> None:
    features, rug = tokens()
    heavy = RugClassifier.fit(
        features, rug, weight=np.where(rug, 5.0, 1.0), folds=folds(), settings=SETTINGS
    )
    light = RugClassifier.fit(features, rug, folds=folds(), settings=SETTINGS)

    def mean(model: RugClassifier) -> float:
        return float(model.probability(features).mean())

    assert mean(heavy) > mean(light) + 0.1
    # The models alone.
    bare = {"slope": 1.0, "offset": 0.0}
    assert mean(replace(heavy, **bare)) > mean(replace(light, **bare)) + 0.1


def test_columns_that_are_missing_or_no_finite_numbers_are_named(fitted: RugClassifier) -> None:
    features, _ = tokens()
    with pytest.raises(BadConfig, match=r"missing \['locked'\]"):
        fitted.probability(features.drop(columns="locked"))
    with pytest.raises(BadConfig, match=r"\['noise'\] hold infinite"):
        fitted.probability(features.assign(noise=1e39))
    with pytest.raises(BadConfig, match=r"\['heat'\] are not numbers"):
        fitted.probability(features.assign(heat="hot"))


def test_what_nothing_can_be_learnt_from_is_refused() -> None:
    features, rug = tokens()
    with pytest.raises(BadConfig, match="0 rugs among 300"):
        RugClassifier.fit(features, np.zeros(ROWS, bool), folds=folds(), settings=SETTINGS)
    with pytest.raises(BadConfig, match="rug: 299 values for 300 rows"):
        RugClassifier.fit(features, rug[1:], folds=folds(), settings=SETTINGS)
    with pytest.raises(BadConfig, match="weight: 1 values"):
        RugClassifier.fit(features, rug, weight=np.ones(1), folds=folds(), settings=SETTINGS)
    with pytest.raises(BadConfig, match="folds: none"):
        RugClassifier.fit(features, rug, folds=[], settings=SETTINGS)
    one_class = [(np.flatnonzero(rug), np.arange(ROWS))]
    with pytest.raises(BadConfig, match=r"folds\[0\]"):
        RugClassifier.fit(features, rug, folds=one_class, settings=SETTINGS)
    with pytest.raises(BadConfig, match="'luck'"):
        RugClassifier.fit(
            features, rug, folds=folds(), settings=replace(SETTINGS, rising=("luck",))
        )


def test_other_documents_are_refused(fitted: RugClassifier) -> None:
    with pytest.raises(BadConfig, match="not JSON"):
        RugClassifier.from_bytes(b"\x80\x04")
    with pytest.raises(BadConfig, match="format='other'"):
        RugClassifier.from_bytes(b'{"format":"other"}')
    content = orjson.loads(fitted.to_bytes())
    with pytest.raises(BadConfig, match="damaged"):
        RugClassifier.from_bytes(orjson.dumps({k: v for k, v in content.items() if k != "names"}))
    with pytest.raises(BadConfig, match="damaged"):
        RugClassifier.from_bytes(orjson.dumps(content | {"models": [{"learner": {}}]}))
    content["models"][0]["learner"]["learner_model_param"]["base_score"] = "[1.5E0]"
    with pytest.raises(BadConfig, match="expected a probability between 0 and 1"):
        RugClassifier.from_bytes(orjson.dumps(content))
