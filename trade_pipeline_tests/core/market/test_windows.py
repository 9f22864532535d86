"""Windows over many pairs at once: what each pair alone and by hand would give, to the bit."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trade_pipeline.core.market.event import DAY, HOUR, Floats, Ints, MarketBatch
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.market.windows import LOOKBACK, EventWindows

TOKENS = 4
LENGTHS = (HOUR, DAY, 3 * DAY, LOOKBACK)
AGO = (0, HOUR, DAY, 3 * DAY)
Pairs = tuple[npt.NDArray[np.int32], Ints]


def make_batch(tokens: list[int], times: list[int], seed: int = 0) -> MarketBatch:
    """Events with amounts of many sizes; some liquidity and some quotes are unknown."""
    rng = np.random.default_rng(seed)
    amounts = rng.lognormal(sigma=6.0, size=(12, len(tokens)))
    amounts[5:, rng.random(len(tokens)) < 0.2] = np.nan
    known_at = np.array(times, np.int64)
    return MarketBatch(np.array(tokens, np.int32), known_at, known_at, *amounts)


@st.composite
def markets(draw: st.DrawFn) -> MarketBatch:
    """Up to 40 events with ties, close ones and long silences; the last token has none."""
    length = draw(st.integers(1, 40))
    tokens = draw(st.lists(st.integers(0, TOKENS - 2), min_size=length, max_size=length))
    step = st.sampled_from((0, 1, HOUR - 1, HOUR, 7 * HOUR, DAY, 3 * DAY, LOOKBACK))
    steps = draw(st.lists(step, min_size=length, max_size=length))
    return make_batch(tokens, np.cumsum(steps).tolist(), draw(st.integers(0, 9)))


@st.composite
def asked(draw: st.DrawFn) -> tuple[MarketBatch, Pairs]:
    """A market, and pairs of tokens and moments at, before and after the bounds of windows."""
    batch = draw(markets())
    moment = st.builds(
        lambda event, ago, by: int(batch.known_at[event % len(batch)]) + ago + by,
        st.integers(0, 39),
        st.sampled_from((0, *LENGTHS)),
        st.integers(-1, 1),
    )
    pair = st.tuples(st.integers(0, TOKENS - 1), moment)
    pairs = sorted(draw(st.lists(pair, min_size=1, max_size=12)))
    token, at = zip(*pairs, strict=True)
    return batch, (np.array(token, np.int32), np.array(at, np.int64))


def history_of(*batches: MarketBatch) -> MarketHistory:
    history = MarketHistory(TOKENS)
    for batch in batches:
        history.extend(batch)
    return history


def answers(windows: EventWindows) -> dict[str, Floats | Ints]:
    """Everything that can be asked of windows."""
    volume, liquidity = windows.columns["volume_usd"], windows.columns["liquidity_usd"]
    found: dict[str, Floats | Ints] = {"known_at": windows.newest_known_at()}
    for ago in AGO:
        found[f"price {ago}"] = windows.as_of("price_usd", ago)
        found[f"liquidity {ago}"] = windows.as_of("liquidity_usd", ago)
        found[f"quote {ago}"] = windows.quote_at(ago)
    for length in LENGTHS:
        found[f"total {length}"] = windows.total(volume, length)
        found[f"unknown total {length}"] = windows.total(liquidity, length)
        found[f"highest {length}"] = windows.highest(volume, length)
        found[f"unknown highest {length}"] = windows.highest(liquidity, length)
        found[f"lowest {length}"] = windows.lowest(volume, length)
        found[f"count {length}"] = windows.count(length)
    found["hourly"] = windows.hourly("price_usd", 72)
    return found


def bits(found: dict[str, Floats | Ints], rows: slice = slice(None)) -> dict[str, bytes]:
    return {name: values[rows].tobytes() for name, values in found.items()}


def same(value: float, expected: float) -> bool:
    return value == expected or (math.isnan(value) and math.isnan(expected))


@settings(deadline=None)
@given(asked=asked())
def test_every_answer_is_that_of_one_pair_by_hand(asked: tuple[MarketBatch, Pairs]) -> None:
    batch, pairs = asked
    found = answers(EventWindows(history_of(batch), *pairs))
    rows = list(range(len(batch)))
    times, of_token = batch.known_at.tolist(), batch.token.tolist()
    for n, (token, at) in enumerate(zip(pairs[0].tolist(), pairs[1].tolist(), strict=True)):
        ours = [row for row in rows if of_token[row] == token and at - LOOKBACK < times[row]]

        def newest(values: Floats, ago: int, ours: list[int] = ours, at: int = at) -> float:
            known = [row for row in ours if times[row] <= at - ago]
            return float(values[known[-1]]) if known else math.nan

        known_at = newest(batch.known_at.astype(np.float64), 0)
        assert found["known_at"][n] == (at if math.isnan(known_at) else known_at)
        for ago in AGO:
            assert same(found[f"price {ago}"][n], newest(batch.price_usd, ago))
            assert same(found[f"liquidity {ago}"][n], newest(batch.liquidity_usd, ago))
            heard = [row for row in rows if times[row] <= at - ago]
            fresh = heard and times[heard[-1]] // HOUR > (at - LOOKBACK) // HOUR
            quote = float(batch.quote_usd[heard[-1]]) if fresh else math.nan
            assert same(found[f"quote {ago}"][n], quote)
        for hour in range(73):
            assert same(found["hourly"][n, hour], newest(batch.price_usd, (72 - hour) * HOUR))
        for length in LENGTHS:
            inside = [row for row in ours if at - length < times[row] <= at]
            volume = batch.volume_usd[inside].tolist()
            liquidity = batch.liquidity_usd[inside].tolist()
            assert found[f"count {length}"][n] == len(inside)
            assert found[f"total {length}"][n] == pytest.approx(math.fsum(volume), rel=1e-12)
            unknown = any(map(math.isnan, liquidity))
            assert np.isnan(found[f"unknown total {length}"][n]) == unknown
            assert same(found[f"highest {length}"][n], max(volume, default=math.nan))
            assert same(found[f"lowest {length}"][n], min(volume, default=math.nan))
            highest = math.nan if unknown else max(liquidity, default=math.nan)
            assert same(found[f"unknown highest {length}"][n], highest)


@settings(deadline=None, max_examples=50)
@given(asked=asked(), cuts=st.lists(st.integers(0, 40), max_size=4))
def test_a_pair_alone_gets_the_bits_that_it_gets_among_others(
    asked: tuple[MarketBatch, Pairs], cuts: list[int]
) -> None:
    """From any batches, and also by who began to listen only the lookback ago."""
    batch, (token, at) = asked
    together = answers(EventWindows(history_of(batch), token, at))
    bounds = [0, *sorted(min(cut, len(batch)) for cut in cuts), len(batch)]
    split = history_of(*(batch.rows(start, stop) for start, stop in pairwise(bounds)))
    assert bits(answers(EventWindows(split, token, at))) == bits(together)
    for n in range(len(at)):
        one = slice(n, n + 1)
        first = int(batch.known_at.searchsorted(at[n] - LOOKBACK))
        late = history_of(batch.rows(first, len(batch)))
        for history in (split, late):
            alone = answers(EventWindows(history, token[one], at[one]))
            assert bits(alone) == bits(together, one)


@settings(deadline=None)
@given(asked=asked(), future=markets())
def test_later_events_never_change_an_answer(
    asked: tuple[MarketBatch, Pairs], future: MarketBatch
) -> None:
    batch, (token, at) = asked
    known = batch.rows(0, int(batch.known_at.searchsorted(at.max(), "right")))
    expected = bits(answers(EventWindows(history_of(known), token, at)))
    later = MarketBatch(
        future.token,
        *(future.known_at + at.max() + 1 for _ in range(2)),
        *(getattr(future, name) for name in list(MarketBatch.__slots__)[3:]),
    )
    assert bits(answers(EventWindows(history_of(known, later), token, at))) == expected


@settings(deadline=None)
@given(asked=asked(), data=st.data())
def test_selected_windows_answer_as_they_did_among_all(
    asked: tuple[MarketBatch, Pairs], data: st.DataObject
) -> None:
    batch, (token, at) = asked
    chosen = data.draw(st.lists(st.booleans(), min_size=len(at), max_size=len(at)))
    rows = np.array(chosen, np.bool_)
    windows = EventWindows(history_of(batch), token, at)
    found = windows.select(rows)
    assert len(found) == rows.sum()
    assert (found.token.tolist(), found.at.tolist()) == (token[rows].tolist(), at[rows].tolist())
    expected = {name: values[rows] for name, values in answers(windows).items()}
    assert bits(answers(found)) == bits(expected)


def test_long_windows_have_the_same_bits_wherever_they_lie() -> None:
    """Longer than the blocks that a sum is made of, and at every offset in memory."""
    length = 30_000
    rng = np.random.default_rng(1)
    times = np.sort(rng.integers(0, 3 * DAY, length)).tolist()
    batch = make_batch(rng.integers(0, TOKENS, length).tolist(), times)
    token = np.repeat(np.arange(TOKENS, dtype=np.int32), 25)
    at = np.tile(np.sort(rng.integers(0, 4 * DAY, 25)), TOKENS)
    history = history_of(batch)
    together = answers(EventWindows(history, token, at))
    for n in range(len(at)):
        one = slice(n, n + 1)
        assert bits(answers(EventWindows(history, token[one], at[one]))) == bits(together, one)


def test_nothing_is_known_of_a_token_without_events() -> None:
    history = history_of(make_batch([0], [10 * DAY]))
    pairs = np.array([0, 3], np.int32), np.array([10 * DAY - 1, 10 * DAY])
    windows = EventWindows(history, *pairs)
    assert windows.total(windows.columns["volume_usd"], DAY).tolist() == [0.0, 0.0]
    assert np.isnan(windows.highest(windows.columns["volume_usd"], DAY)).all()
    assert np.isnan(windows.as_of("price_usd")).all()
    assert windows.newest_known_at().tolist() == pairs[1].tolist()
    empty = EventWindows(MarketHistory(1), np.zeros(1, np.int32), np.array([DAY]))
    assert empty.count(DAY).tolist() == [0.0]
    assert np.isnan(empty.quote_at(0)).all()


def test_more_tokens_and_time_than_a_key_can_hold_are_refused() -> None:
    history = MarketHistory(2)
    pairs = np.array([0, 1], np.int32), np.array([0, 1 << 62])
    with pytest.raises(ValueError, match="ask in parts"):
        EventWindows(history, *pairs)
