"""What a session has seen: the same however it came in batches, and never anything later."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.market.event import HOUR, MarketBatch
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
    """Everything that can be asked at the moment of each event."""
    found: list[object] = []
    for token, at, count in zip(batch.token.tolist(), batch.known_at.tolist(), upto, strict=True):
        first = history.since(token, count, at - 4 * HOUR)
        window = history.column(token, "volume_usd", first, count)
        moments = np.arange(at - 5 * HOUR, at + 1, HOUR, dtype=np.int64)
        known = history.at_moments(token, "price_usd", count, moments)
        found += [state_text(history, token, count), first, window.tobytes(), known.tobytes()]
        found += [float(window.sum()).hex(), history.first_known_at(token)]
    return found


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
def test_windows_and_states_never_see_later_events(batch: MarketBatch, future: MarketBatch) -> None:
    history = MarketHistory(TOKENS)
    upto = history.extend(batch).tolist()
    before = answers(history, batch, upto)
    # Not even one of the same microsecond, once the count was taken.
    later = MarketBatch(
        future.token,
        *(future.known_at + batch.known_at[-1] for _ in range(2)),
        *(getattr(future, f.name) for f in fields(future)[3:]),
    )
    history.extend(later)
    assert answers(history, batch, upto) == before


@given(batch=events())
def test_each_row_is_told_how_many_events_its_token_has_by_then(batch: MarketBatch) -> None:
    upto = MarketHistory(TOKENS).extend(batch).tolist()
    seen = [0] * TOKENS
    for token, count in zip(batch.token.tolist(), upto, strict=True):
        seen[token] += 1
        assert count == seen[token]


def test_a_moment_before_the_first_event_has_no_value() -> None:
    history = MarketHistory(1)
    history.extend(make_batch([0, 0], [10 * HOUR, 12 * HOUR]))
    moments = np.array([9, 10, 11, 12, 13], np.int64) * HOUR
    known = history.at_moments(0, "price_usd", 2, moments)
    first, second = history.column(0, "price_usd", 0, 2).tolist()
    assert np.isnan(known[0])
    assert known[1:].tolist() == [first, first, second, second]


def test_asking_before_the_first_event_does_not_spoil_the_stored_values() -> None:
    history = MarketHistory(1)
    history.extend(make_batch([0], [10 * HOUR]))
    before = history.column(0, "price_usd", 0, 1).copy()
    assert np.isnan(history.at_moments(0, "price_usd", 1, np.array([0], np.int64))).all()
    assert history.column(0, "price_usd", 0, 1).tolist() == before.tolist()


def test_a_window_begins_after_its_moment_and_ends_with_the_last_counted_event() -> None:
    history = MarketHistory(1)
    history.extend(make_batch([0] * 4, [HOUR, 2 * HOUR, 2 * HOUR, 3 * HOUR]))
    assert history.since(0, 4, HOUR) == 1
    assert history.since(0, 4, 2 * HOUR) == 3
    assert history.since(0, 2, 2 * HOUR) == 2
    assert len(history.column(0, "volume_usd", 1, 3)) == 2


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
    assert history.first_known_at(0) == HOUR
