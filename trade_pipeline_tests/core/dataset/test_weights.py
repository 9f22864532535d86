"""Average uniqueness, against figures by hand and a count of every moment."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.dataset.weights import average_uniqueness
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY, Floats

Label = tuple[str, int, int]
YEAR = 365 * DAY


def weights_of(labels: list[Label]) -> Floats:
    names = np.array([name for name, _, _ in labels], dtype=object)
    start = np.array([start for _, start, _ in labels], np.int64)
    life = np.array([life for _, _, life in labels], np.int64)
    return average_uniqueness(names, start, start + life)


def by_counting(labels: list[Label]) -> list[Fraction]:
    """The same, from piece to piece between all moments, in exact fractions."""
    found = []
    for name, start, life in labels:
        others = [(s, s + n) for other, s, n in labels if other == name]
        moments = sorted({m for pair in others for m in pair if start <= m <= start + life})
        total = Fraction(0)
        for low, high in pairwise(moments):
            total += Fraction(high - low, sum(s <= low and high <= e for s, e in others))
        found.append(total / life if life else Fraction(1))
    return found


def test_a_label_that_shares_half_of_its_life_with_one_other_weighs_three_quarters() -> None:
    assert weights_of([("a", 0, 10), ("a", 5, 10)]).tolist() == [0.75, 0.75]


def test_labels_of_different_instruments_do_not_overlap() -> None:
    assert weights_of([("a", 0, 10), ("b", 0, 10)]).tolist() == [1, 1]


def test_labels_that_only_touch_share_nothing_and_a_label_without_life_weighs_one() -> None:
    assert weights_of([("a", 0, 10), ("a", 10, 5), ("a", 3, 0)]).tolist() == [1, 1, 1]


def test_without_labels_there_are_no_weights() -> None:
    assert weights_of([]).tolist() == []


def test_a_short_label_years_after_many_others_is_weighed_as_exactly_as_the_first() -> None:
    crowd = [("a", n * DAY, 400 * DAY) for n in range(3_000)]
    late = [("a", 20 * YEAR, 2), ("a", 20 * YEAR + 1, 2)]
    assert weights_of(crowd + late)[-2:] == pytest.approx([0.75, 0.75], abs=1e-12)


def test_a_label_that_ends_before_it_starts_is_refused() -> None:
    with pytest.raises(BadConfig, match="label 1: ends before"):
        weights_of([("a", 0, 1), ("a", 5, -1)])


def crowds(latest: int, lives: st.SearchStrategy[int]) -> st.SearchStrategy[list[Label]]:
    labels = st.tuples(st.sampled_from("ab"), st.integers(0, latest), lives)
    return st.lists(labels, max_size=25)


@settings(deadline=None)
@given(
    crowds(60, st.integers(0, 40))
    | crowds(10 * YEAR, st.just(0) | st.integers(1_000_000, 60 * DAY))
    | crowds(90 * DAY, st.integers(1_000_000, 60 * DAY))
)
def test_weights_are_those_of_counting_every_piece_of_time(labels: list[Label]) -> None:
    expected = [float(weight) for weight in by_counting(labels)]
    assert weights_of(labels) == pytest.approx(expected, rel=1e-9)


@settings(deadline=None)
@given(st.permutations(range(6)))
def test_the_order_of_the_labels_does_not_matter(order: list[int]) -> None:
    labels = [("a", n * 7 % 11, n + 3) for n in range(6)]
    whole = weights_of(labels)
    assert weights_of([labels[n] for n in order]).tolist() == whole[order].tolist()
