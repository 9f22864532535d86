"""Splits: nothing of a later split is known to an earlier one, for any labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.split import (
    SPLITS,
    TimeSplits,
    cross_validation_splits,
    overlapping_labels,
    time_splits,
)
from trade_pipeline.core.errors import BadConfig
from trade_pipeline_tests.core.dataset.frames import HOUR, labels_over

# Whole hours, so that labels often end in the moment of a decision.
SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), min_size=1, max_size=40)
NO_EMBARGO = DatasetConfig(embargo_hours=0)


def meets(rows: pd.DataFrame, one: int, other: int) -> bool:
    """Whether the closed lives of two labels meet."""
    starts, ends = rows["decided_at"], rows["label_end"]
    return bool(starts.iloc[one] <= ends.iloc[other] and starts.iloc[other] <= ends.iloc[one])


def pairs(splits: TimeSplits) -> list[tuple[int, int]]:
    """Every row of a split with every row of a later one."""
    rows = [splits.rows[name].tolist() for name in SPLITS]
    return [
        (early, late)
        for number, earlier in enumerate(rows)
        for later in rows[number + 1 :]
        for early in earlier
        for late in later
    ]


@settings(deadline=None)
@given(SPANS, st.sampled_from([0.0, 1.0, 5.5, 48.0]))
def test_between_the_end_of_a_label_and_later_splits_lies_more_than_the_embargo(
    spans: list[tuple[float, float]], embargo: float
) -> None:
    rows = labels_over(spans)
    splits = time_splits(rows, DatasetConfig(embargo_hours=embargo))
    starts, ends = rows["decided_at"], rows["label_end"]
    for early, late in pairs(splits):
        assert starts.iloc[late] - ends.iloc[early] > embargo * HOUR
    assert overlapping_labels(rows, splits.rows) == []


@settings(deadline=None)
@given(SPANS)
def test_every_row_is_in_one_split_or_purged_or_embargoed(
    spans: list[tuple[float, float]],
) -> None:
    splits = time_splits(labels_over(spans), DatasetConfig(embargo_hours=3))
    everywhere = np.concatenate([*splits.rows.values(), splits.purged, splits.embargoed])
    assert sorted(everywhere.tolist()) == list(range(len(spans)))


@settings(deadline=None)
@given(SPANS)
def test_a_row_is_purged_exactly_when_its_label_reaches_into_a_later_split(
    spans: list[tuple[float, float]],
) -> None:
    rows = labels_over(spans)
    # Labels without life are purged nowhere.
    whole = time_splits(labels_over([(at, 0) for at, _ in spans]), NO_EMBARGO).rows
    reaching = []
    for split, later in (("train", "validation"), ("validation", "test")):
        if len(whole[later]):
            begin = rows["decided_at"].iloc[whole[later][0]]
            reaching += [row for row in whole[split] if rows["label_end"].iloc[row] >= begin]
    assert time_splits(rows, NO_EMBARGO).purged.tolist() == reaching


def test_the_moments_are_cut_by_the_fractions_and_equal_moments_stay_together() -> None:
    rows = labels_over([(hour, 0.5) for hour in range(10) for _ in range(1 + 5 * (hour == 5))])
    splits = time_splits(rows, NO_EMBARGO)
    hours = {
        name: sorted(
            {(at - rows["decided_at"].iloc[0]) // HOUR for at in rows["decided_at"].iloc[p]}
        )
        for name, p in splits.rows.items()
    }
    assert hours == {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7], "test": [8, 9]}
    assert len(splits.rows["train"]) == 11


def test_fractions_whose_sum_is_not_exact_in_binary_still_cut_where_they_say() -> None:
    rows = labels_over([(hour, 0.5) for hour in range(10)])
    config = DatasetConfig(
        train_fraction=0.7, validation_fraction=0.1, test_fraction=0.2, embargo_hours=0
    )
    assert [len(time_splits(rows, config).rows[name]) for name in SPLITS] == [7, 1, 2]


def test_three_moments_are_enough_for_three_splits() -> None:
    splits = time_splits(labels_over([(0, 1), (2, 1), (4, 1)]), NO_EMBARGO)
    assert [splits.rows[name].tolist() for name in SPLITS] == [[0], [1], [2]]


def test_a_label_that_ends_in_the_moment_of_a_later_decision_is_purged_and_one_before_stays() -> (
    None
):
    just_before = 1 - 1 / 3_600_000_000
    for life, purged in ((1.0, [5]), (just_before, [])):
        rows = labels_over([(hour, life if hour == 5 else 0) for hour in range(10)])
        splits = time_splits(rows, NO_EMBARGO)
        assert splits.purged.tolist() == purged


def test_a_purged_row_still_keeps_labels_that_reach_it_out_of_training() -> None:
    # Hour 6 is the first of validation and reaches into the test; hour 5 ends within it.
    rows = labels_over([(hour, {5: 1.5, 6: 3}.get(hour, 0)) for hour in range(10)])
    assert time_splits(rows, NO_EMBARGO).purged.tolist() == [5, 6]


def test_the_embargo_drops_what_is_decided_soon_after_a_split() -> None:
    rows = labels_over([(hour, 0) for hour in range(20)])
    splits = time_splits(rows, DatasetConfig(embargo_hours=2))
    assert splits.rows["train"].tolist() == list(range(12))
    assert splits.rows["validation"].tolist() == [14, 15]
    assert splits.rows["test"].tolist() == [18, 19]
    assert splits.embargoed.tolist() == [12, 13, 16, 17]


def test_the_guard_names_rows_of_both_splits_whose_labels_meet() -> None:
    rows = labels_over([(0, 1), (1, 3), (4, 1), (6, 1)])
    found = overlapping_labels(rows, {"train": np.array([0, 1]), "test": np.array([2, 3])})
    assert [(o.uuid, o.split, o.other) for o in found] == [
        ("0001", "train", "test"),
        ("0002", "test", "train"),
    ]


@settings(deadline=None)
@given(SPANS, st.randoms(use_true_random=False))
def test_the_guard_finds_exactly_the_labels_that_meet_one_of_another_split(
    spans: list[tuple[float, float]], random: np.random.Generator
) -> None:
    rows = labels_over(spans)
    half = np.array([random.random() < 0.5 for _ in spans])
    splits = {"train": np.flatnonzero(half), "test": np.flatnonzero(~half)}
    expected = {
        rows.index[one]
        for own, others in (splits.values(), reversed(splits.values()))
        for one in own
        if any(meets(rows, one, other) for other in others)
    }
    assert {overlap.uuid for overlap in overlapping_labels(rows, splits)} == expected


@settings(deadline=None)
@given(SPANS.filter(lambda spans: len(spans) >= 3), st.integers(2, 3))
def test_every_fold_is_purged_on_both_sides_and_embargoed_after(
    spans: list[tuple[float, float]], folds: int
) -> None:
    rows = labels_over(spans)
    found = cross_validation_splits(rows, folds, embargo_hours=4)
    assert sorted(np.concatenate([test for _, test in found]).tolist()) == list(range(len(rows)))
    starts, ends = rows["decided_at"], rows["label_end"]
    for train, test in found:
        assert not set(train) & set(test)
        for own in train:
            assert not any(meets(rows, own, other) for other in test)
            assert not any(
                pd.Timedelta(0) <= starts.iloc[own] - ends.iloc[other] <= 4 * HOUR for other in test
            )


def test_folds_keep_training_rows_before_and_after_the_test_fold() -> None:
    rows = labels_over([(hour, 0) for hour in range(12)])
    train, test = cross_validation_splits(rows, 3, embargo_hours=1)[1]
    assert test.tolist() == [4, 5, 6, 7]
    assert train.tolist() == [0, 1, 2, 3, 9, 10, 11]


@pytest.mark.parametrize("folds", [1, 4])
def test_a_number_of_folds_that_the_rows_do_not_allow_is_refused(folds: int) -> None:
    with pytest.raises(BadConfig, match=rf"n_splits={folds}: expected 2\.\.3"):
        cross_validation_splits(labels_over([(0, 0), (1, 0), (2, 0)]), folds)
