"""Feature vectors: one row of doubles per decision, in the order of the registry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from uuid import UUID

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, HOUR, Floats, Ints
from trade_pipeline.core.records import FeatureRow

# 1970-01-01 was a Thursday; Monday is 0.
_FIRST_WEEKDAY = 3


def clock_columns(at: Ints) -> dict[str, Floats]:
    """Where in the day and in the week some moments lie (UTC)."""
    return {
        "hour_of_day": (at // HOUR % 24).astype(np.float64),
        "day_of_week": ((at // DAY + _FIRST_WEEKDAY) % 7).astype(np.float64),
    }


def feature_matrix(columns: Mapping[str, Floats], length: int) -> Floats:
    """Columns as rows of vectors, NaN where nothing finite is known, always of the same bits."""
    matrix = np.full((length, len(NAMES)), np.nan)
    for index, name in enumerate(NAMES):
        if name in columns:
            matrix[:, index] = columns[name]
    # A record cannot hold an infinite number, and every NaN has to hash the same.
    matrix[~np.isfinite(matrix)] = np.nan
    return matrix


def vector_hash(vector: Floats) -> str:
    """SHA-256 (hex) of a vector's bits."""
    return hashlib.sha256(vector.astype("<f8").tobytes()).hexdigest()


def feature_row(uuid: UUID, known_at: int, vector: Floats) -> FeatureRow:
    """A vector as the record beside a decision."""
    return FeatureRow(
        uuid=uuid,
        feature_set=feature_set(),
        known_at=moment_of(known_at),
        vector=vector.tolist(),
        vector_hash=vector_hash(vector),
    )


def matrix_of(vectors: Sequence[Sequence[float | None]]) -> Floats:
    """Stored vectors (None is unknown) as rows of a matrix."""
    return np.array(vectors, np.float64).reshape(len(vectors), len(NAMES))


def differing_bits(one: Floats, other: Floats) -> npt.NDArray[np.bool_]:
    """Where two arrays of one shape differ in a bit; NaN equals NaN, 0.0 and -0.0 differ."""
    found: npt.NDArray[np.bool_] = (one.view(np.int64) != other.view(np.int64)) & ~(
        np.isnan(one) & np.isnan(other)
    )
    return found
