"""What a session has seen: the same however it came in batches, and never anything later."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.market.event import DAY, HOUR, MarketBatch
from trade_pipeline.core.market.history import MarketHistory, TokenState

TOKENS = 3
QUOTE = 2_000.0


def make_batch(tokens: list[int], times: list[int], seed: int = 0) -> MarketBatch:
    """Events with arbitrary amounts; the same row gets the same amounts in every call."""
    amounts = np.random.default_rng(seed).lognormal(size=(12, len(tokens)))
    known_at = np.array(times, np.int64)
    return MarketBatch(np.array(tokens, np.int32), known_at, known_at, *amounts)


def state_text(history: MarketHistory, token: int, upto: int) -> str:
    """A state as text, in which NaN equals NaN."""
    return repr(history.state(token, upto, QUOTE))


@st.composite
def events(draw: st.DrawFn) -> MarketBatch:
    """Up to 40 events in the order of time, with many ties."""
    length = draw(st.integers(1, 40))
    tokens = draw(st.lists(st.integers(0, TOKENS - 1), min_size=length, max_size=length))
    steps = draw(st.lists(st.integers(0, 3), min_size=length, max_size=length))
    return make_batch(tokens, (np.cumsum(steps) * HOUR).tolist(), draw(st.integers(0, 9)))


def answers(history: MarketHistory, batch: MarketBatch, upto: list[int]) -> list[object]:
    """The state at each event, and everything before and after the moments of them."""
    found: list[object] = [
        state_text(history, token, count)
        for token, count in zip(batch.token.tolist(), upto, strict=True)
    ]
    gathered = history.gather(range(TOKENS), -1)
    seen = gathered.known_at <= batch.known_at[-1]
    found += [gathered.known_at[seen].tolist()]
    found += [values[:-1][seen].tobytes() for values in gathered.columns.values()]
    moments = np.arange(-1, int(batch.known_at[-1]) + 1, HOUR // 2, dtype=np.int64)
    return [*found, history.quote_at(moments, moments - DAY).tobytes()]


@settings(deadline=None)
@given(batch=events(), cuts=st.lists(st.integers(0, 40), max_size=5))
def test_any_split_into_batches_gives_the_same_answers(batch: MarketBatch, cuts: list[int]) -> None:
    whole, split = MarketHistory(TOKENS), MarketHistory(TOKENS)
    upto = whole.extend(batch).tolist()
    bounds = [0, *sorted(min(cut, len(batch)) for cut in cuts), len(batch)]
    upto_split: list[int] = []
    for start, stop in pairwise(bounds):
        upto_split += split.extend(batch.rows(start, stop)).tolist()
    assert upto_split == upto
    assert answers(split, batch, upto_split) == answers(whole, batch, upto)


@settings(deadline=None)
@given(batch=events(), future=events())
def test_states_never_see_later_events(batch: MarketBatch, future: MarketBatch) -> None:
    history = MarketHistory(TOKENS)
    upto = history.extend(batch).tolist()
    before = answers(history, batch, upto)
    later = replace(future, known_at=future.known_at + batch.known_at[-1] + 1)
    history.extend(later)
    assert answers(history, batch, upto) == before


@given(batch=events())
def test_each_row_is_told_how_many_events_its_token_has_by_then(batch: MarketBatch) -> None:
    upto = MarketHistory(TOKENS).extend(batch).tolist()
    seen = [0] * TOKENS
    for token, count in zip(batch.token.tolist(), upto, strict=True):
        seen[token] += 1
        assert count == seen[token]


def test_events_are_gathered_token_by_token_and_only_later_ones() -> None:
    history = MarketHistory(3)
    batch = make_batch([1, 0, 1, 0], [HOUR, 2 * HOUR, 2 * HOUR, 3 * HOUR])
    history.extend(batch)
    found = history.gather([0, 1, 2], HOUR)
    assert found.bounds.tolist() == [0, 2, 3, 3]
    assert found.known_at.tolist() == [2 * HOUR, 3 * HOUR, 2 * HOUR]
    for name in ("price_usd", "reserve_token"):
        values = getattr(batch, name)
        assert found.columns[name].tolist() == [values[1], values[3], values[2], 0.0], name


def test_what_was_gathered_is_a_copy_that_later_events_leave_alone() -> None:
    history = MarketHistory(1)
    history.extend(make_batch([0], [HOUR]))
    found = history.gather([0], 0)
    before = found.columns["price_usd"].copy()
    found.columns["volume_usd"][:] = -1.0
    history.extend(make_batch([0], [2 * HOUR], seed=5))
    assert found.columns["price_usd"].tolist() == before.tolist()
    assert (history.gather([0], 0).columns["volume_usd"][:2] > 0).all()


def quotes(history: MarketHistory, *hours: float) -> list[float]:
    moments = np.array([round(hour * HOUR) for hour in hours], np.int64)
    return [float(value) for value in history.quote_at(moments, moments - 4 * HOUR)]


def test_the_quote_price_is_that_of_the_newest_event_of_any_token() -> None:
    history = MarketHistory(2)
    batch = make_batch([0, 1, 1, 0], [2 * HOUR, 2 * HOUR, 3 * HOUR, 3 * HOUR])
    history.extend(replace(batch, quote_usd=np.array([10.0, 11.0, 11.0, 12.0])))
    found = quotes(history, 1.9, 2, 2.9, 3, 5)
    assert np.isnan(found[0])
    assert found[1:] == [11.0, 11.0, 12.0, 12.0]


def test_the_quote_price_of_a_silent_market_is_forgotten() -> None:
    """By the hour of the newest event, however long ago the price last changed."""
    history = MarketHistory(1)
    batch = make_batch([0] * 4, [n * HOUR + HOUR // 2 for n in range(4)])
    history.extend(replace(batch, quote_usd=np.full(4, 7.0)))
    found = quotes(history, 6.9, 7.9)
    assert found[0] == 7.0
    assert np.isnan(found[1])
    assert np.isnan(quotes(MarketHistory(1), 5)).all()


def test_a_state_is_the_newest_counted_event_at_the_given_quote_price() -> None:
    history, batch = MarketHistory(2), make_batch([1, 0, 1], [HOUR, HOUR, 2 * HOUR])
    history.extend(batch)
    state = history.state(1, 1, QUOTE)
    event = batch.event(0)
    assert (state.token, state.known_at, state.quote_usd) == (1, HOUR, QUOTE)
    for f in fields(TokenState)[3:]:
        assert getattr(state, f.name) == getattr(event, f.name), f.name


def test_an_empty_batch_changes_nothing() -> None:
    history = MarketHistory(1)
    history.extend(make_batch([0], [HOUR]))
    assert history.extend(make_batch([], [])).tolist() == []
    with pytest.raises(IndexError):
        history.state(0, 5, QUOTE)
    assert history.gather([0], 0).known_at.tolist() == [HOUR]
