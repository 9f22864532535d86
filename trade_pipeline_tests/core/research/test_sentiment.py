"""Sentiment over several sources; what nobody said stays unknown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.research.sentiment import Sentiment, sentiment_of

LEVELS = st.dictionaries(st.sampled_from(["twitter", "telegram", "reddit"]), st.floats(0, 1))


def test_no_source_says_nothing() -> None:
    assert sentiment_of({}, {"twitter": 0.9}) == Sentiment(None, None, None)


def test_one_source_has_a_level_and_no_consensus() -> None:
    assert sentiment_of({"twitter": 0.7}, {}) == Sentiment(0.7, None, None)


def test_the_level_is_the_mean_and_the_consensus_falls_with_the_distance() -> None:
    found = sentiment_of({"twitter": 0.9, "reddit": 0.5}, {})
    assert found.level == pytest.approx(0.7)
    assert found.consensus == pytest.approx(0.6)
    assert sentiment_of({"a": 0.0, "b": 1.0}, {}).consensus == 0.0
    assert sentiment_of({"a": 0.3, "b": 0.3}, {}).consensus == 1.0


def test_momentum_compares_only_sources_that_spoke_both_times() -> None:
    found = sentiment_of({"twitter": 0.8, "reddit": 0.1}, {"twitter": 0.5, "telegram": 0.0})
    assert found.momentum == pytest.approx(0.3)
    assert sentiment_of({"reddit": 0.1}, {"twitter": 0.5}).momentum is None


@given(LEVELS, LEVELS)
def test_every_figure_stays_in_its_range(now: dict[str, float], before: dict[str, float]) -> None:
    found = sentiment_of(now, before)
    assert (found.level is None) == (not now)
    assert (found.consensus is None) == (len(now) < 2)
    assert (found.momentum is None) == (not set(now) & set(before))
    assert found.level is None or -1e-12 <= found.level <= 1 + 1e-12
    assert found.consensus is None or 0 <= found.consensus <= 1
    assert found.momentum is None or -1 <= found.momentum <= 1


@given(LEVELS, LEVELS)
def test_the_order_of_the_sources_does_not_matter(
    now: dict[str, float], before: dict[str, float]
) -> None:
    turned = dict(reversed(now.items())), dict(reversed(before.items()))
    assert sentiment_of(*turned) == sentiment_of(now, before)
