"""The preparation: what scikit-learn gives, from plain numbers, fitted on training rows."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.preparation import Preparation, select_features, selection_scores
from trade_pipeline_tests.core.dataset.frames import FEATURES, trade_frame

TRAIN, REST = trade_frame(300, seed=1), trade_frame(100, seed=2)
TARGET = TRAIN["shadow_return"].to_numpy()
USABLE = ["momentum", "noise", "sparse"]
# Without what breaks arithmetic on purpose: infinities, and squares that are.
VALUES = st.floats(-1e100, 1e100) | st.just(float("nan"))


def fitted(frame: pd.DataFrame = TRAIN, k: int = 50) -> Preparation:
    return Preparation.fit(frame, FEATURES, selection_scores(frame, FEATURES, TARGET), k)


def pipeline_of(frame: pd.DataFrame) -> Pipeline:
    """What scikit-learn learns of some rows, summed one row after the other."""
    pipeline = make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler())
    return pipeline.fit(np.ascontiguousarray(frame.to_numpy()))


def test_it_gives_what_the_pipeline_of_scikit_learn_gives_bit_for_bit() -> None:
    pipeline = pipeline_of(TRAIN[USABLE])
    for frame in (TRAIN, REST):
        expected = np.ascontiguousarray(pipeline.transform(frame[USABLE].to_numpy()))
        assert fitted().transform(frame).to_numpy().tobytes() == expected.tobytes()


@settings(deadline=None)
@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=2, max_size=12))
def test_it_equals_scikit_learn_for_any_values(rows: list[tuple[float, ...]]) -> None:
    frame = pd.DataFrame(rows, columns=list("abc"), dtype="float64")
    target = np.arange(len(rows)) % 3.0
    try:
        scores = selection_scores(frame, list("abc"), target)
        preparation = Preparation.fit(frame, list("abc"), scores, 2)
    except BadConfig:
        return
    selected = frame[list(preparation.features)]
    expected = pipeline_of(selected).transform(selected.to_numpy())
    assert np.array_equal(preparation.transform(frame).to_numpy(), expected)


def test_its_state_survives_json_with_every_bit() -> None:
    again = Preparation.from_dict(json.loads(json.dumps(fitted().to_dict())))
    assert again == fitted()
    pd.testing.assert_frame_equal(again.transform(REST), fitted().transform(REST), check_exact=True)


def test_training_rows_come_out_complete_with_mean_zero_and_deviation_one() -> None:
    prepared = fitted().transform(TRAIN)
    assert prepared.columns.tolist() == [*USABLE, "sparse_missing"]
    assert prepared.index.equals(TRAIN.index)
    assert np.allclose(prepared.mean(), 0)
    assert np.allclose(prepared.std(ddof=0), 1)


def test_a_feature_that_is_first_missing_after_training_gets_the_median_and_no_indicator() -> None:
    gap = REST.assign(noise=np.nan)
    prepared = fitted().transform(gap)
    expected = fitted().transform(REST.assign(noise=TRAIN["noise"].median()))
    pd.testing.assert_frame_equal(prepared, expected, check_exact=True)


def test_constant_and_unknown_features_are_left_out() -> None:
    assert fitted().features == tuple(USABLE)
    constant_where_known = TRAIN.assign(sparse=TRAIN["sparse"].where(TRAIN["sparse"].isna(), 1.0))
    assert fitted(constant_where_known).features == ("momentum", "noise")


def test_the_feature_that_tells_most_of_the_target_is_selected() -> None:
    assert fitted(k=1).features == ("momentum",)
    assert len(fitted(k=2).features) == 2


def test_the_layout_of_the_frame_in_memory_changes_no_bit() -> None:
    columns = np.asfortranarray(TRAIN[FEATURES].to_numpy())
    for layout in (columns, np.ascontiguousarray(columns)):
        assert fitted(pd.DataFrame(layout, columns=FEATURES)) == fitted()


def test_scores_are_rank_correlations_in_standard_errors_over_the_known_rows() -> None:
    scores = selection_scores(TRAIN, FEATURES, TARGET)
    for name, score in zip(FEATURES, scores, strict=True):
        known = TRAIN[name].notna().to_numpy()
        if name in USABLE:
            rho = spearmanr(TRAIN[name][known], TARGET[known]).statistic
            assert score == pytest.approx(abs(rho) * np.sqrt(known.sum() - 1), rel=1e-12)
        else:
            assert np.isnan(score)


def test_a_few_values_that_happen_to_fit_do_not_beat_many_that_tell_something() -> None:
    rare = np.full(len(TRAIN), np.nan)
    rare[:4] = TARGET[:4]
    frame = TRAIN.assign(rare=rare)
    scores = selection_scores(frame, ["rare", "momentum"], TARGET)
    assert list(select_features(["rare", "momentum"], scores, 1)) == ["momentum"]


def test_of_equal_features_the_first_is_selected() -> None:
    frame = TRAIN.assign(copy=TRAIN["momentum"], inverse=-TRAIN["momentum"])
    names = ["copy", "momentum", "inverse"]
    scores = selection_scores(frame, names, TARGET)
    assert list(select_features(names, scores, 2)) == ["copy", "momentum"]


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(50)))
def test_scores_do_not_depend_on_the_order_of_the_rows(order: list[int]) -> None:
    part = TRAIN.iloc[:50]
    shuffled = selection_scores(part.iloc[order], USABLE, TARGET[:50][order])
    assert shuffled.tolist() == selection_scores(part, USABLE, TARGET[:50]).tolist()


def test_rows_without_a_needed_feature_are_refused_by_its_name() -> None:
    with pytest.raises(BadConfig, match="'noise': the preparation needs it"):
        fitted().transform(TRAIN.drop(columns="noise"))


def test_training_rows_in_which_nothing_varies_are_refused() -> None:
    names = ["flat", "unknown"]
    scores = selection_scores(TRAIN, names, TARGET)
    with pytest.raises(BadConfig, match="none of 2 varies"):
        Preparation.fit(TRAIN, names, scores, 5)


def test_values_without_a_finite_variance_are_refused_by_the_features_name() -> None:
    huge = TRAIN.assign(noise=np.linspace(-1e300, 1e300, len(TRAIN)))
    with pytest.raises(BadConfig, match="'noise': its values are too large"):
        fitted(huge)
