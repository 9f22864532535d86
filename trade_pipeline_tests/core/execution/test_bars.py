"""Fills inside hourly bars: never a price that the bar did not show, never more than its volume."""

from __future__ import annotations

import math
from dataclasses import replace
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.execution.bars import BarConfig, BarVenue
from trade_pipeline.core.execution.venue import Fill, Order, Refusal, Touch
from trade_pipeline.core.market.event import HOUR, TradeRules
from trade_pipeline.core.market.history import TokenState

UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
PLAIN = BarConfig(
    fee=0.0, spread=0.0, impact_at_full_volume=0.0, max_participation=0.05, patience_bars=3
)
AT = 1_000 * HOUR
FREE = TradeRules()


def bar(
    open_: float, high: float, low: float, close: float, volume: float = 1e6, at: int = AT
) -> TokenState:
    """A bar that closed at ``at``."""
    none = math.nan
    return TokenState(0, at, none, close, open_, high, low, volume, *[none] * 6)


def entry(stake: float, submitted_at: int = AT - HOUR) -> Order:
    return Order(UUID_ONE, "entry", 0, "entry", submitted_at, 100.0, stake_usd=stake)


def sale(tokens: float, trigger: float | None = None, submitted_at: int | None = None) -> Order:
    if submitted_at is None:
        submitted_at = AT - HOUR if trigger is None else AT
    return Order(
        UUID_ONE, "exit", 0, "exit", submitted_at, 100.0, tokens=tokens, trigger_price=trigger
    )


def work(order: Order, state: TokenState, config: BarConfig = PLAIN) -> Fill | Refusal | None:
    """An order meets a bar; what a session keeps of the order, it keeps here as well."""
    result = BarVenue(config).execute(order, state, state.known_at, FREE)
    if isinstance(result, Fill):
        order.fills += 1
        order.stake_usd -= result.value_usd if order.leg == "entry" else 0.0
        order.tokens -= result.tokens if order.leg == "exit" else 0.0
    return result


def filled(result: Fill | Refusal | None) -> Fill:
    assert isinstance(result, Fill), result
    return result


def later(state: TokenState, bars: int = 1) -> TokenState:
    return replace(state, known_at=state.known_at + bars * HOUR)


def test_a_market_order_fills_at_the_open_of_the_next_bar() -> None:
    fill = filled(work(entry(1_000.0), bar(105.0, 120.0, 90.0, 110.0)))
    assert fill.price == 105.0
    assert fill.at == AT - HOUR
    assert fill.value_usd == 1_000.0
    assert fill.tokens == pytest.approx(1_000 / 105)
    assert fill.complete
    sold = filled(work(sale(10.0), bar(105.0, 120.0, 90.0, 110.0)))
    assert (sold.price, sold.at, sold.tokens) == (105.0, AT - HOUR, 10.0)


def test_an_order_is_never_filled_at_an_open_from_before_it_was_sent() -> None:
    order = sale(10.0, submitted_at=AT - HOUR // 2)
    assert work(order, bar(105.0, 120.0, 90.0, 110.0)) is None
    fill = filled(work(order, bar(80.0, 81.0, 79.0, 80.0, at=AT + HOUR)))
    assert (fill.price, fill.at) == (80.0, AT)


@pytest.mark.parametrize(
    ("state", "touch"),
    [
        (bar(100.0, 110.0, 90.0, 100.0), None),
        (bar(100.0, 110.0, 85.0, 100.0), Touch("stop", 85.0)),
        (bar(100.0, 130.0, 90.0, 100.0), Touch("target", 130.0)),
        (bar(100.0, 140.0, 80.0, 135.0), Touch("stop", 85.0)),
        (bar(60.0, 70.0, 50.0, 70.0), Touch("stop", 60.0)),
        (bar(150.0, 160.0, 140.0, 150.0), Touch("target", 150.0)),
        (bar(150.0, 160.0, 80.0, 150.0), Touch("stop", 85.0)),
    ],
    ids=["between", "stop", "target", "both", "gap down", "gap up", "gap up and down"],
)
def test_a_bar_touches_the_stop_before_the_target_and_a_gap_gives_the_open(
    state: TokenState, touch: Touch | None
) -> None:
    assert BarVenue(PLAIN).touched(1.0, state, 85.0, 130.0) == touch


def test_barriers_are_executable_so_the_spread_brings_the_stop_nearer() -> None:
    venue = BarVenue(PLAIN.model_copy(update={"spread": 0.02}))
    touch = venue.touched(1.0, bar(100.0, 101.0, 85.8, 90.0), 85.0, 130.0)
    assert touch is not None
    assert touch.barrier == "stop"
    assert touch.trigger_price == pytest.approx(85.0 / 0.99)
    assert venue.touched(1.0, bar(100.0, 130.5, 95.0, 100.0), 85.0, 130.0) is None


def test_a_resting_stop_fills_inside_the_bar_and_a_gap_fills_worse_than_the_stop() -> None:
    touched_at_stop = filled(work(sale(10.0, trigger=85.0), bar(100.0, 101.0, 80.0, 82.0)))
    assert (touched_at_stop.price, touched_at_stop.at) == (85.0, AT)
    gap = bar(60.0, 70.0, 50.0, 70.0)
    touch = BarVenue(PLAIN).touched(10.0, gap, 85.0, 130.0)
    assert touch is not None
    assert filled(work(sale(10.0, trigger=touch.trigger_price), gap)).price == 60.0


def test_an_order_takes_at_most_its_share_of_a_bar_and_goes_on_in_the_next_ones() -> None:
    order = entry(120.0)
    fills = []
    for number, volume in enumerate((1_000.0, 800.0, 5_000.0)):
        state = bar(100.0 + number, 110.0, 90.0, 100.0, volume, at=AT + number * HOUR)
        fills.append(filled(work(order, state)))
    assert [fill.value_usd for fill in fills] == pytest.approx([50.0, 40.0, 30.0])
    assert [fill.price for fill in fills] == pytest.approx([100.0, 101.0, 102.0])
    assert [fill.complete for fill in fills] == [False, False, True]


def test_a_large_sale_is_sold_over_bars_until_nothing_is_left() -> None:
    order = sale(2.0)
    sold = []
    for number in range(9):
        fill = filled(work(order, bar(100.0, 100.0, 100.0, 100.0, 1_000.0, AT + number * HOUR)))
        sold.append(fill.tokens)
        if fill.complete:
            break
    assert sold == pytest.approx([0.5] * 4)
    assert order.tokens == pytest.approx(0.0)


def test_the_rest_of_a_triggered_exit_gets_the_next_opens_and_not_its_trigger_again() -> None:
    order = sale(1.0, trigger=85.0)
    first = filled(work(order, bar(100.0, 100.0, 80.0, 82.0, 1_000.0)))
    assert (first.price, first.complete) == (85.0, False)
    rest = filled(work(order, bar(40.0, 41.0, 39.0, 40.0, 1_000.0, AT + HOUR)))
    assert rest.price == 40.0
    assert rest.at == AT


def test_a_stop_that_nobody_could_fill_in_its_bar_gets_the_next_open_not_its_trigger() -> None:
    order = sale(1.0, trigger=85.0)
    assert work(order, bar(85.0, 85.0, 85.0, 85.0, volume=0.0)) is None
    fill = filled(work(order, bar(50.0, 55.0, 45.0, 50.0, at=AT + HOUR)))
    assert (fill.price, fill.at) == (50.0, AT)


def test_without_volume_an_entry_waits_for_its_patience_and_no_longer() -> None:
    order, quiet = entry(100.0), bar(100.0, 100.0, 100.0, 100.0, volume=0.0)
    assert work(order, quiet) is None
    assert work(order, later(quiet)) is None
    refusal = work(order, later(quiet, 2))
    assert isinstance(refusal, Refusal)
    assert refusal.costs_usd == {}


def test_the_rest_of_an_entry_is_cancelled_after_the_patience_also_when_some_was_bought() -> None:
    order, thin = entry(1_000.0), bar(100.0, 100.0, 100.0, 100.0, volume=1_000.0)
    for number in range(PLAIN.patience_bars):
        assert not filled(work(order, later(thin, number))).complete
    assert isinstance(work(order, later(thin, PLAIN.patience_bars)), Refusal)
    assert order.stake_usd == pytest.approx(850.0)


def test_a_sale_has_endless_patience() -> None:
    order, quiet = sale(1.0), bar(100.0, 100.0, 100.0, 100.0, volume=0.0)
    assert all(work(order, later(quiet, number)) is None for number in range(50))


def test_the_fee_comes_on_top_and_the_spread_is_inside_the_price() -> None:
    config = PLAIN.model_copy(update={"fee": 0.001, "spread": 0.01})
    state = bar(100.0, 100.0, 100.0, 100.0)
    bought, sold = (
        filled(work(entry(1_000.0), state, config)),
        filled(work(sale(5.0), state, config)),
    )
    assert bought.price == pytest.approx(100.5)
    assert bought.costs_usd == {"exchange_fee": pytest.approx(1.0)}
    assert bought.inside_usd["spread"] == pytest.approx(bought.tokens * 0.5)
    assert sold.price == pytest.approx(99.5)
    assert sold.costs_usd == {"exchange_fee": pytest.approx(0.4975)}


def test_the_own_impact_is_the_square_root_of_the_share_of_the_volume() -> None:
    config = PLAIN.model_copy(update={"impact_at_full_volume": 0.02})
    state = bar(100.0, 100.0, 100.0, 100.0, volume=10_000.0)
    small, large = (filled(work(entry(stake), state, config)) for stake in (100.0, 400.0))
    assert small.impact == pytest.approx(0.02 * 0.1)
    assert large.impact == pytest.approx(0.02 * 0.2)
    assert large.price > small.price > 100.0


@given(
    tokens=st.floats(1e-3, 1e6),
    price=st.floats(1e-6, 1e5),
    volume=st.floats(1, 1e9),
    spread=st.floats(0, 0.1),
    impact=st.floats(0, 0.1),
)
def test_a_fill_is_worth_its_middle_value_less_spread_and_impact(
    tokens: float, price: float, volume: float, spread: float, impact: float
) -> None:
    config = BarConfig(spread=spread, impact_at_full_volume=impact)
    state = bar(price, price, price, price, volume)
    sold = filled(work(sale(tokens), state, config))
    middle = sold.tokens * price
    assert sold.value_usd == pytest.approx(
        middle - sold.inside_usd["spread"] - sold.inside_usd["impact"], rel=1e-9, abs=1e-12
    )
    assert sold.tokens <= tokens
    assert middle <= config.max_participation * volume * (1 + 1e-9)
    bought = filled(work(entry(tokens * price), state, config))
    assert bought.value_usd == pytest.approx(
        bought.tokens * price + bought.inside_usd["spread"] + bought.inside_usd["impact"],
        rel=1e-9,
        abs=1e-12,
    )
    assert bought.value_usd <= config.max_participation * volume * (1 + 1e-9)
    assert bought.price >= price >= sold.price


def test_at_the_end_of_a_session_the_rest_is_sold_at_the_last_close() -> None:
    venue = BarVenue(PLAIN.model_copy(update={"spread": 0.01, "impact_at_full_volume": 0.02}))
    state = bar(120.0, 130.0, 100.0, 110.0, volume=0.0)
    fill = filled(venue.liquidate(sale(10.0), state, AT + 5, FREE))
    assert fill.complete
    assert fill.at == AT + 5
    assert fill.price == pytest.approx(110.0 * (1 - 0.005 - 0.02))


def test_marks_stand_half_a_spread_below_the_close_and_range_over_the_bar() -> None:
    venue = BarVenue(PLAIN.model_copy(update={"spread": 0.02}))
    state = bar(100.0, 120.0, 80.0, 110.0)
    assert venue.value_usd(2.0, state) == pytest.approx(2 * 110 * 0.99)
    assert venue.range_usd(2.0, state) == pytest.approx((2 * 80 * 0.99, 2 * 120 * 0.99))


def test_the_capacity_is_the_share_of_the_last_volume() -> None:
    assert BarVenue(PLAIN).impact_capacity_usd(bar(1, 1, 1, 1, 2_000.0), 0.01) == 100.0


def test_market_orders_wait_for_the_next_bar() -> None:
    assert BarVenue(PLAIN).due_at(AT) is None
