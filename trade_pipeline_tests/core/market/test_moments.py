"""Parts of a market: all of it, in order, and no moment in two of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.market.event import MarketBatch
from trade_pipeline.core.market.moments import whole_moments


def batch_of(times: list[int]) -> MarketBatch:
    """Events at some times; the token is the number of the event."""
    known_at = np.array(times, np.int64)
    amounts = np.arange(12 * len(times), dtype=np.float64).reshape(12, len(times))
    return MarketBatch(np.arange(len(times), dtype=np.int32), known_at, known_at, *amounts)


def contents(parts: list[MarketBatch]) -> list[list[bytes]]:
    return [[getattr(part, f.name).tobytes() for f in fields(part)] for part in parts]


steps = st.lists(st.integers(0, 2), max_size=60)


@given(steps=steps, rows=st.integers(1, 20), cuts=st.lists(st.integers(0, 60), max_size=8))
def test_parts_are_whole_moments_of_about_the_size_however_the_market_came(
    steps: list[int], rows: int, cuts: list[int]
) -> None:
    whole = batch_of(np.cumsum(steps).tolist())
    bounds = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    split = [whole.rows(start, stop) for start, stop in pairwise(bounds)]
    parts = list(whole_moments(split, rows))
    assert contents(parts) == contents(list(whole_moments([whole], rows)))
    assert [t for part in parts for t in part.token.tolist()] == whole.token.tolist()
    assert all(before.known_at[-1] < after.known_at[0] for before, after in pairwise(parts))
    for part in parts:
        assert len(part)
        # Without its last moment it is too small.
        assert (part.known_at < part.known_at[-1]).sum() < rows
    assert all(len(part) >= rows for part in parts[:-1])


def test_a_moment_that_is_larger_than_a_part_stays_whole() -> None:
    batches = [batch_of([1, 2, 2]), batch_of([2, 2]), batch_of([2, 3])]
    parts = list(whole_moments(batches, 2))
    assert [part.known_at.tolist() for part in parts] == [[1, 2, 2, 2, 2, 2], [3]]


def test_a_part_is_given_as_soon_as_its_last_moment_is_over() -> None:
    def batches() -> Iterator[MarketBatch]:
        yield batch_of([1, 2, 3])
        pytest.fail("the market was read further than was needed")

    assert next(whole_moments(batches(), 2)).known_at.tolist() == [1, 2]


def test_a_market_without_events_has_no_parts() -> None:
    assert list(whole_moments([], 5)) == []
    assert list(whole_moments([batch_of([]), batch_of([])], 5)) == []
