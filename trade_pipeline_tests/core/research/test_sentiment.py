"""Sentiment over several sources; what nobody said stays unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.market.event import SENTIMENT, Floats
from trade_pipeline.core.research.sentiment import sentiment_columns

SOURCES = ("reddit", "telegram", "twitter")
Levels = Mapping[str, float]
LEVELS = st.dictionaries(st.sampled_from(SOURCES), st.floats(0, 1))


def columns_of(rows: Sequence[Levels], sources: Sequence[str]) -> dict[str, Floats]:
    return {SENTIMENT + name: np.array([row.get(name, np.nan) for row in rows]) for name in sources}


def sentiments(
    now: Sequence[Levels], before: Sequence[Levels], sources: Sequence[str] = SOURCES
) -> list[dict[str, float]]:
    """The known figures of each row, by their names without the prefix."""
    columns = columns_of(now, sources), columns_of(before, sources)
    found = sentiment_columns(*columns, len(now))
    return [
        {
            name.removeprefix("sentiment_"): float(values[row])
            for name, values in found.items()
            if not np.isnan(values[row])
        }
        for row in range(len(now))
    ]


def sentiment_of(now: Levels, before: Levels) -> dict[str, float]:
    (found,) = sentiments([now], [before])
    return found


def test_no_source_says_nothing() -> None:
    assert sentiment_of({}, {"twitter": 0.9}) == {}
    unheard = sentiment_columns({}, {}, 2)
    assert all(np.isnan(values).tolist() == [True, True] for values in unheard.values())


def test_one_source_has_a_level_and_no_consensus() -> None:
    assert sentiment_of({"twitter": 0.7}, {}) == {"level": 0.7, "sources": 1.0}


def test_the_level_is_the_mean_and_the_consensus_falls_with_the_distance() -> None:
    found = sentiment_of({"twitter": 0.9, "reddit": 0.5}, {})
    assert found == {
        "level": pytest.approx(0.7),
        "consensus": pytest.approx(0.6),
        "dispersion": pytest.approx(0.2),
        "sources": 2.0,
    }
    assert sentiment_of({"reddit": 0.0, "twitter": 1.0}, {})["consensus"] == 0.0
    agreed = sentiment_of({"reddit": 0.3, "twitter": 0.3}, {})
    assert (agreed["consensus"], agreed["dispersion"]) == (1.0, 0.0)


def test_momentum_compares_only_sources_that_spoke_both_times() -> None:
    found = sentiment_of({"twitter": 0.8, "reddit": 0.1}, {"twitter": 0.5, "telegram": 0.0})
    assert found["momentum"] == pytest.approx(0.3)
    assert "momentum" not in sentiment_of({"reddit": 0.1}, {"twitter": 0.5})


@given(LEVELS, LEVELS)
def test_every_figure_stays_in_its_range(now: Levels, before: Levels) -> None:
    found = sentiment_of(now, before)
    assert ("level" in found) == bool(now)
    assert found.get("sources", 0) == len(now)
    assert ("consensus" in found) == ("dispersion" in found) == (len(now) > 1)
    assert ("momentum" in found) == bool(set(now) & set(before))
    assert 0 <= found.get("level", 0) <= 1
    assert 0 <= found.get("consensus", 0) <= 1
    assert 0 <= found.get("dispersion", 0) <= 1
    assert -1 <= found.get("momentum", 0) <= 1


@given(st.lists(st.tuples(LEVELS, LEVELS), max_size=5))
def test_neither_the_order_of_the_sources_nor_other_rows_matter(
    rows: list[tuple[Levels, Levels]],
) -> None:
    now, before = [row[0] for row in rows], [row[1] for row in rows]
    together = sentiments(now, before)
    assert sentiments(now, before, SOURCES[::-1]) == together
    assert [sentiment_of(*row) for row in rows] == together
