"""What a session's own records tell: the last ten of what stood before, in a row or all at once."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.features.own_records import (
    RECENT,
    OwnRecords,
    hours_since_last_close,
    own_columns,
)
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.records import OrderEvent, TerminationReason
from trade_pipeline_tests.core import samples

REASONS = [r for r in TerminationReason if r is not TerminationReason.NOT_FILLED]
UUID_ONE = samples.candidate().uuid

orders = st.tuples(st.sampled_from(OrderEvent), st.none() | st.floats(-0.5, 0.5))
closes = st.tuples(st.floats(-150, 900), st.sampled_from(REASONS), st.integers(0, 10**15))


def record_of(happened: Any) -> object:
    if len(happened) == 2:
        event, slippage = happened
        return samples.fill(UUID_ONE, event=event, slippage=slippage)
    percent, reason, at = happened
    return samples.outcome(
        UUID_ONE, realized_pnl_percent=percent, termination_reason=reason, closed_at=moment_of(at)
    )


def features_of(records: OwnRecords, counts: Sequence[int], at: int) -> dict[str, bytes]:
    """Bits of the features after so many fills, ended orders and trades."""
    fills, ended, trades = (np.array([count]) for count in counts)
    columns = own_columns(records, fills, ended, trades, np.array([2]))
    columns["hours_since_last_close"] = hours_since_last_close(records, trades, np.array([at]))
    return {name: values.tobytes() for name, values in columns.items()}


@given(st.lists(orders | closes, max_size=60))
def test_the_newest_records_and_the_counts_among_all_give_the_same_bits(
    happened: list[Any],
) -> None:
    """A session asks for the present; the table asks for every moment when all is over."""
    growing, asked = OwnRecords(), []
    for one in happened:
        growing.observe(record_of(one))
        newest = growing.newest()
        assert max(newest.counts()) <= RECENT
        asked.append((growing.counts(), features_of(newest, newest.counts(), 10**15)))
    for counts, expected in asked:
        assert features_of(growing, counts, 10**15) == expected


@given(st.lists(st.floats(-0.5, 0.5), min_size=1, max_size=30))
def test_a_mean_is_of_the_last_ten(slippages: list[float]) -> None:
    records = OwnRecords(slippage=slippages)
    zero, counts = np.zeros(len(slippages), np.int64), np.arange(len(slippages)) + 1
    found = own_columns(records, counts, zero, zero, zero)["recent_slippage"]
    for n, value in enumerate(found.tolist()):
        assert value == pytest.approx(fmean(slippages[max(0, n - 9) : n + 1]), abs=1e-12)


def test_before_the_first_record_nothing_is_known_but_that_nothing_is_open() -> None:
    none = np.zeros(1, np.int64)
    found = own_columns(OwnRecords(), none, none, none, none)
    assert {name: values[0] for name, values in found.items() if values[0] == values[0]} == {
        "open_positions": 0.0
    }
    assert np.isnan(hours_since_last_close(OwnRecords(), none, none)).all()
    assert {*found, "hours_since_last_close"} <= set(NAMES)


def test_each_kind_of_record_counts_for_what_it_tells() -> None:
    records = OwnRecords()
    for event, slippage in (
        (OrderEvent.SUBMITTED, None),
        (OrderEvent.PARTLY_FILLED, 0.02),
        (OrderEvent.FILLED, 0.04),
        (OrderEvent.FILLED, None),
        (OrderEvent.REJECTED, None),
        (OrderEvent.CANCELLED, None),
    ):
        records.order_event(event, slippage)
    assert records.slippage == [0.02, 0.04]
    assert records.failed == [0.0, 0.0, 1.0, 1.0]
    for reason in (TerminationReason.STOP_LOSS, TerminationReason.RUGPULL_EXIT):
        records.closed(-20.0, reason, moment_of(HOUR))
    records.closed(10.0, TerminationReason.MAX_HOLD, moment_of(3 * HOUR))
    assert (records.returns, records.stopped) == ([-0.2, -0.2, 0.1], [1.0, 1.0, 0.0])
    trades = np.array([0, 1, 3])
    none = np.zeros(3, np.int64)
    columns = own_columns(records, none, none, trades, none)
    assert columns["recent_win_rate"][1:] == pytest.approx([0, 1 / 3])
    assert columns["recent_mean_return"][1:] == pytest.approx([-0.2, -0.1])
    hours = hours_since_last_close(records, trades, np.array([5, 5, 5]) * HOUR)
    assert hours[1:].tolist() == [4.0, 2.0]
    assert np.isnan(hours[0])


def test_records_that_tell_nothing_of_trading_are_passed_over() -> None:
    records = OwnRecords()
    for record in (samples.session(), samples.candidate(), samples.research(UUID_ONE)):
        records.observe(record)
    assert records == OwnRecords()
