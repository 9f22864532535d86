"""The life of an order: reports in any order and number give one state, one fill counts once."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.execution.orders import (
    OrderFill,
    OrderIntent,
    OrderState,
    OrderStatus,
    amount_of,
    merge,
    with_fills,
)
from trade_pipeline.core.execution.venue_errors import VenueContradiction

START = datetime(2026, 1, 5, tzinfo=UTC)
INTENT = OrderIntent(
    UUID("01890000-0000-7000-8000-000000000000"), "entry", "PEPE/USDT", "buy",
    Decimal(100), Decimal(2),
)  # fmt: skip


def fill(number: int, amount: int, **more: Any) -> OrderFill:
    given = OrderFill(
        str(number), "7", "PEPE/USDT", "buy", START + timedelta(seconds=number), Decimal(2),
        Decimal(amount), Decimal(2 * amount), Decimal(amount) / 1000, "PEPE",
    )  # fmt: skip
    return replace(given, **more)


def report(status: OrderStatus, filled: int = 0, *fills: OrderFill, at: int = 0) -> OrderState:
    known = None if status is OrderStatus.SUBMITTED else "7"
    moment = START + timedelta(seconds=at)
    return OrderState(
        INTENT.client_order_id, "PEPE/USDT", "buy", Decimal(100), status, Decimal(filled), known,
        fills, START, moment,
    )  # fmt: skip


@st.composite
def lives(draw: st.DrawFn) -> tuple[list[OrderState], OrderStatus, int]:
    """Reports of an order's life in their order, its end, and how much was filled."""
    sizes = draw(st.lists(st.integers(1, 20), max_size=5))
    whole = draw(st.booleans())
    if whole:
        sizes.append(100 - sum(sizes))
    fills = [fill(number, size) for number, size in enumerate(sizes, 1)]
    ends = [OrderStatus.CANCELLED, OrderStatus.EXPIRED]
    end = OrderStatus.FILLED if whole else draw(st.sampled_from(ends))
    life = [report(OrderStatus.SUBMITTED), report(OrderStatus.ACKNOWLEDGED)]
    for number in range(1, len(fills) + 1):
        filled = sum(sizes[:number])
        status = OrderStatus.FILLED if filled == 100 else OrderStatus.PARTLY_FILLED
        told = fills[: draw(st.integers(0, number))]
        life.append(report(status, filled, *told, at=number))
    life.append(report(end, sum(sizes), *fills, at=9))
    return life, end, sum(sizes)


@given(lives(), st.data())
def test_any_order_and_number_of_reports_gives_the_same_state(
    life: tuple[list[OrderState], OrderStatus, int], data: st.DataObject
) -> None:
    reports, end, filled = life
    state = reduce(merge, reports)
    again = data.draw(st.lists(st.sampled_from(reports), max_size=10))
    shuffled = data.draw(st.permutations([*reports, *again]))
    assert reduce(merge, shuffled) == state
    assert (state.status, state.filled) == (end, filled)
    assert state.is_settled
    assert len({f.trade_id for f in state.fills}) == len(state.fills)


def test_a_cancelled_order_whose_fills_are_not_all_known_is_not_settled() -> None:
    state = report(OrderStatus.CANCELLED, 30, fill(1, 10), at=3)
    assert state.has_ended
    assert not state.is_settled
    state = with_fills(state, [fill(2, 20), fill(3, 50, order_id="8")])
    assert state.is_settled
    assert amount_of(state.fills) == 30


def test_fills_of_one_moment_keep_the_order_of_the_venues_numbers() -> None:
    state = report(OrderStatus.FILLED, 100)
    at = {"at": START}
    state = with_fills(state, [fill(10, 40, **at), fill(9, 60, **at)])
    assert [one.trade_id for one in state.fills] == ["9", "10"]


@pytest.mark.parametrize(
    "other",
    [
        replace(report(OrderStatus.FILLED), symbol="DOGE/USDT"),
        replace(report(OrderStatus.FILLED), amount=Decimal(99)),
        replace(report(OrderStatus.FILLED), venue_order_id="8"),
        report(OrderStatus.FILLED, 11, fill(1, 11)),
        report(OrderStatus.FILLED, 101, fill(2, 101)),
    ],
)
def test_reports_that_contradict_one_another_are_never_joined(other: OrderState) -> None:
    with pytest.raises(VenueContradiction, match=INTENT.client_order_id):
        merge(report(OrderStatus.PARTLY_FILLED, 10, fill(1, 10)), other)


def test_an_intent_names_its_orders_by_trade_leg_and_attempt() -> None:
    stop = replace(INTENT, leg="exit", side="sell", stop_price=Decimal(1))
    ids = {
        i.client_order_id
        for i in (INTENT, replace(INTENT, attempt=1), stop, replace(stop, stop_price=None))
    }
    assert len(ids) == 4
    assert replace(INTENT, amount=Decimal(5)).client_order_id == INTENT.client_order_id
    with pytest.raises(InvalidRecord, match="amount="):
        replace(INTENT, amount=Decimal("NaN"))
