"""Vectors: the same bits before and after they were stored."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from uuid import UUID

import numpy as np
import orjson
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import (
    clock_columns,
    feature_matrix,
    feature_row,
    matrix_of,
    vector_hash,
)
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, Floats

UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
# NaN as an invalid operation leaves it on some processors: with a sign, and with a payload.
OTHER_NANS = np.array([0xFFF8_0000_0000_0000, 0x7FF8_0000_0000_0123], np.uint64).view(np.float64)


def stored(vector: Floats) -> Floats:
    """A vector as it is read back from its record."""
    content = canonical_bytes(feature_row(UUID_ONE, 0, vector))
    read: Floats = matrix_of([orjson.loads(content)["vector"]])[0]
    return read


@given(st.lists(st.floats(), min_size=len(NAMES), max_size=len(NAMES)))
def test_a_vector_has_the_same_bits_when_it_is_read_back(values: list[float]) -> None:
    columns = {name: np.array([value]) for name, value in zip(NAMES, values, strict=True)}
    (vector,) = feature_matrix(columns, 1)
    read = stored(vector)
    assert read.tobytes() == vector.tobytes()
    assert vector_hash(read) == vector_hash(vector)
    assert not np.isinf(vector).any()


def test_zeros_of_both_signs_the_smallest_numbers_and_nan_survive() -> None:
    special = [0.0, -0.0, 5e-324, -5e-324, 1.7976931348623157e308, math.nan, 0.1 + 0.2]
    vector = np.resize(np.array(special), len(NAMES))
    assert stored(vector).tobytes() == vector.tobytes()


def test_every_unknown_has_the_same_bits_and_an_infinite_value_is_unknown() -> None:
    one = feature_matrix({NAMES[0]: np.array([*OTHER_NANS, math.inf, -math.inf, math.nan])}, 5)
    assert len({row.tobytes() for row in one}) == 1
    assert {vector_hash(row) for row in one} == {vector_hash(feature_matrix({}, 1)[0])}


def test_columns_stand_at_their_names_and_what_is_no_feature_stays_out() -> None:
    columns = {NAMES[5]: np.array([1.0, 2.0]), "no feature": np.array([7.0, 7.0])}
    matrix = feature_matrix(columns, 2)
    assert matrix.shape == (2, len(NAMES))
    assert matrix[:, 5].tolist() == [1.0, 2.0]
    assert np.isnan(np.delete(matrix, 5, axis=1)).all()


def test_the_hash_tells_any_two_vectors_apart() -> None:
    vector = np.arange(float(len(NAMES)))
    hashes = {vector_hash(vector)}
    for place in range(len(NAMES)):
        changed = vector.copy()
        changed[place] = np.nextafter(changed[place], np.inf)
        hashes.add(vector_hash(changed))
    assert len(hashes) == len(NAMES) + 1
    assert vector_hash(vector.astype(">f8")) == vector_hash(vector)


def test_a_row_says_which_definitions_it_follows_and_when_it_was_known() -> None:
    row = feature_row(UUID_ONE, 1_640_995_200_000_000, np.zeros(len(NAMES)))
    assert row.feature_set == feature_set()
    assert row.known_at == datetime(2022, 1, 1, tzinfo=UTC)


def test_no_stored_vectors_are_no_rows() -> None:
    assert matrix_of([]).shape == (0, len(NAMES))


@given(st.integers(0, 130 * 365 * DAY))
def test_the_clock_is_that_of_the_calendar(at: int) -> None:
    found, moment = clock_columns(np.array([at])), moment_of(at)
    assert found["hour_of_day"].tolist() == [moment.hour]
    assert found["day_of_week"].tolist() == [moment.weekday()]
