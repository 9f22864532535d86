"""Facts and counts at many moments: what holds, what is known when, and one pair as many."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market.event import FACT_NAMES, SENTIMENT, Floats, TokenFacts
from trade_pipeline.core.market.facts import CountTable, FactTable
from trade_pipeline_tests.core.samples import facts_of
from trade_pipeline_tests.core.session.stored import START, market

# (token, event_time, known_at, value), (token, moment)
Row = tuple[int, int, int, float]
Pair = tuple[int, int]

# Small ranges, so that tokens, times and ties meet often.
moments = st.integers(0, 12)
# Token 3 has no row ever.
pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(-2, 20)), min_size=1, max_size=12)


@st.composite
def rows_of(draw: st.DrawFn, values: Any) -> list[Row]:
    drawn = draw(
        st.lists(st.tuples(st.integers(0, 2), moments, st.integers(0, 6), values), max_size=25)
    )
    return [(token, at, at + delay, value) for token, at, delay, value in drawn]


states = rows_of(st.sampled_from([math.nan, 0.0, 1.5, -2.0, 1e300]))
counts = rows_of(st.integers(0, 50).map(float))


def columns(rows: Sequence[Sequence[float]], width: int) -> list[Any]:
    kinds = (np.int32, np.int64, np.int64, np.float64)[:width]
    parts = zip(*rows, strict=True) if rows else [()] * width
    return [np.array(part, kind) for part, kind in zip(parts, kinds, strict=True)]


def told(rows: list[Row], asked: list[Pair]) -> Floats:
    token, event_time, known_at, value = columns(rows, 4)
    # The second column tells rows apart whose values are equal.
    values = {"value": value, "row": np.arange(len(rows), dtype=np.float64)}
    found = FactTable(token, event_time, known_at, values).as_of(*columns(asked, 2))
    return np.stack([found["value"], found["row"]], axis=1)


def counted(rows: list[Row], asked: list[Pair], length: int) -> Floats:
    token, at = columns(asked, 2)
    return CountTable(*columns(rows, 4)).window(token, at, length)


def same_bits(one: Floats, other: Floats) -> bool:
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def state_by_hand(rows: list[Row], token: int, at: int) -> tuple[float, float]:
    known = [(row[1], row[2], n) for n, row in enumerate(rows) if row[0] == token and row[2] <= at]
    if not known:
        return math.nan, math.nan
    number = max(known)[2]
    return rows[number][3], float(number)


def count_by_hand(rows: list[Row], token: int, at: int, length: int) -> float:
    newest: dict[int, tuple[int, int, float]] = {}
    for number, (of, event_time, known_at, count) in enumerate(rows):
        if of == token and known_at <= at and at - length < event_time <= at:
            newest[event_time] = max(
                newest.get(event_time, (-1, -1, 0.0)), (known_at, number, count)
            )
    return sum(count for _, _, count in newest.values())


@settings(max_examples=300, deadline=None)
@given(rows=states, asked=pairs)
def test_a_state_is_the_newest_that_was_known(rows: list[Row], asked: list[Pair]) -> None:
    expected = [state_by_hand(rows, token, at) for token, at in asked]
    np.testing.assert_array_equal(told(rows, asked), np.array(expected))


@settings(max_examples=300, deadline=None)
@given(rows=counts, asked=pairs, length=st.integers(1, 15))
def test_a_count_is_the_sum_of_what_was_known_of_the_window(
    rows: list[Row], asked: list[Pair], length: int
) -> None:
    expected = [count_by_hand(rows, token, at, length) for token, at in asked]
    np.testing.assert_array_equal(counted(rows, asked, length), np.array(expected))


@settings(max_examples=100, deadline=None)
@given(rows=states, asked=pairs)
def test_one_pair_is_told_the_same_state_as_many(rows: list[Row], asked: list[Pair]) -> None:
    alone = np.concatenate([told(rows, [pair]) for pair in asked])
    assert same_bits(told(rows, asked), alone)


@settings(max_examples=100, deadline=None)
@given(rows=counts, asked=pairs, length=st.integers(1, 15))
def test_one_pair_is_told_the_same_count_as_many(
    rows: list[Row], asked: list[Pair], length: int
) -> None:
    alone = np.concatenate([counted(rows, [pair], length) for pair in asked])
    assert same_bits(counted(rows, asked, length), alone)


@settings(max_examples=100, deadline=None)
@given(rows=states, asked=pairs, later=st.integers(0, 15))
def test_a_state_known_later_changes_nothing_earlier(
    rows: list[Row], asked: list[Pair], later: int
) -> None:
    early = [(token, min(at, later)) for token, at in asked]
    # Rows that are dropped are numbered last, so that the others keep their numbers.
    rows = sorted(rows, key=lambda row: row[2])
    known = [row for row in rows if row[2] <= later]
    assert same_bits(told(rows, early), told(known, early))


@settings(max_examples=100, deadline=None)
@given(rows=counts, asked=pairs, later=st.integers(0, 15), length=st.integers(1, 15))
def test_a_count_known_later_changes_nothing_earlier(
    rows: list[Row], asked: list[Pair], later: int, length: int
) -> None:
    early = [(token, min(at, later)) for token, at in asked]
    known = [row for row in rows if row[2] <= later]
    assert same_bits(counted(rows, early, length), counted(known, early, length))


def test_a_late_fact_about_an_older_moment_does_not_replace_a_newer_state() -> None:
    rows = [(0, 5, 6, 1.0), (0, 3, 8, 2.0)]
    assert told(rows, [(0, 6), (0, 8)])[:, 0].tolist() == [1.0, 1.0]


def test_a_correction_holds_from_when_it_was_known() -> None:
    rows = [(0, 5, 9, 2.0), (0, 5, 5, 1.0)]
    assert told(rows, [(0, 9), (0, 8)])[:, 0].tolist() == [2.0, 1.0]
    assert counted(rows, [(0, 9), (0, 8)], 5).tolist() == [2.0, 1.0]


def test_a_window_has_its_end_and_not_its_start() -> None:
    rows = [(0, 5, 5, 1.0), (0, 7, 7, 10.0)]
    assert counted(rows, [(0, 7), (0, 8), (0, 6)], 2).tolist() == [10.0, 10.0, 1.0]


def test_more_pairs_than_are_looked_at_together_are_counted_in_order() -> None:
    rng = np.random.default_rng(3)
    rows = [(int(t), int(e), int(e), 1.0) for t, e in rng.integers(0, (3, 500), (400, 2))]
    table = CountTable(*columns(rows, 4))
    token, at = rng.integers(0, 3, 25_000).astype(np.int32), rng.integers(0, 500, 25_000)
    found = table.window(token, at, 20)
    for number in (0, 9_999, 10_000, 24_999):
        pair = int(token[number]), int(at[number])
        assert found[number] == count_by_hand(rows, *pair, 20)


@pytest.mark.parametrize("table", [FactTable, CountTable])
def test_a_row_that_was_known_before_it_was_true_is_named(table: Any) -> None:
    token, event_time, known_at, value = columns([(0, 5, 5, 1.0), (0, 6, 5, 1.0)], 4)
    given = {"value": value} if table is FactTable else value
    with pytest.raises(BadMarketData, match=r"row 1: known_at .*00\.000005.* event_time .*00\.0"):
        table(token, event_time, known_at, given)


def test_a_row_of_columns_is_what_is_known_of_a_token() -> None:
    known = {"holders": 7.0, "audited": 0.0, "mintable": 1.0, "buy_tax": 0.25, "sell_tax": math.nan}
    levels = {SENTIMENT + "reddit": 0.5, SENTIMENT + "twitter": math.nan}
    given = {name: np.array([math.nan, value]) for name, value in (known | levels).items()}
    facts = TokenFacts.from_columns(given, 1)
    assert facts == TokenFacts(
        holders=7, audited=False, mintable=True, buy_tax=0.25, sentiment={"reddit": 0.5}
    )
    assert (type(facts.holders), type(facts.audited)) == (int, bool)
    assert TokenFacts.from_columns(given, 0) == TokenFacts()


def test_a_simulated_token_alone_has_the_facts_that_it_has_among_others() -> None:
    feed = market()
    rng = np.random.default_rng(5)
    token = rng.integers(0, min(len(feed.instruments), 12), 40).astype(np.int32)
    at = START + rng.integers(-(10**11), 10**11, 40)
    many = feed.facts_at(token, at)
    assert set(FACT_NAMES) <= set(many)
    assert {name.partition(":")[0] for name in set(many) - set(FACT_NAMES)} == {"sentiment"}
    for row in range(len(at)):
        alone = facts_of(feed, int(token[row]), int(at[row]))
        assert alone == TokenFacts.from_columns(many, row)
