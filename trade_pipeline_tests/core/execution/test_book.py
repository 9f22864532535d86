"""The account in whole millionths: what went out and in is what the records say."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.execution.book import Book, Position, to_micros, to_usd
from trade_pipeline.core.execution.venue import Fill, Refusal

UUID_ONE = UUID("01890000-0000-7000-8000-000000000000")
amounts = st.floats(0, 1e6)


def fill(value: float, tokens: float, costs: dict[str, float], complete: bool = True) -> Fill:
    return Fill(7, value / tokens, tokens, value, costs, {}, 0.01, complete)


def position() -> Position:
    return Position(UUID_ONE, 0, None, 100_000.0)


@given(st.integers(0, 2_000_000_000 * 1_000_000))
def test_micros_survive_the_way_to_usd_and_back(micros: int) -> None:
    assert to_micros(to_usd(micros)) == micros


def test_amounts_round_to_the_nearest_millionth() -> None:
    assert to_micros(0.1) == 100_000
    assert to_micros(1e-7) == 0
    assert to_micros(-2.0000006) == -2_000_001


@given(
    buys=st.lists(st.tuples(amounts, amounts), min_size=1, max_size=6),
    sales=st.lists(st.tuples(amounts, amounts), min_size=1, max_size=6),
    refusals=st.lists(st.tuples(st.sampled_from(["entry", "exit"]), amounts), max_size=4),
)
def test_the_cash_moved_by_exactly_the_profit(
    buys: list[tuple[float, float]],
    sales: list[tuple[float, float]],
    refusals: list[tuple[str, float]],
) -> None:
    book, held = Book(1_000.0), position()
    for value, cost in buys:
        book.book_entry(held, fill(value, 1.0, {"gas": cost, "exchange_fee": 0.1}))
    for leg, cost in refusals:
        book.book_refusal(held, leg, Refusal(8, "why", {"gas": cost}))
    for number, (value, cost) in enumerate(sales):
        book.book_exit(held, fill(value, 0.1, {"gas": cost}, number == len(sales) - 1))
    assert book.cash == to_micros(1_000.0) + held.pnl
    assert held.tokens == 0.0
    spent = sum(to_micros(v) for v, _ in buys)
    assert held.value_in == spent
    entry_gas = sum(to_micros(c) for _, c in buys) + 100_000 * len(buys)
    entry_gas += sum(to_micros(cost) for leg, cost in refusals if leg == "entry")
    assert held.entry_costs == entry_gas
    if spent + entry_gas:
        assert held.pnl_percent == pytest.approx(100 * held.pnl / (spent + entry_gas))


def test_a_position_opens_with_its_first_fill_and_averages_its_price() -> None:
    book, held = Book(1_000.0), position()
    book.book_entry(held, Fill(7, 2.0, 50.0, 100.0, {}, {}, 0.0, False))
    book.book_entry(held, Fill(9, 4.0, 50.0, 200.0, {}, {}, 0.0, True))
    assert held.opened_at == 7
    assert (held.tokens, held.bought) == (100.0, 100.0)
    assert held.entry_price == 3.0


def test_a_partial_sale_keeps_the_rest_and_the_worst_impact() -> None:
    book, held = Book(1_000.0), position()
    book.book_entry(held, fill(100.0, 50.0, {}))
    book.book_exit(held, Fill(8, 2.0, 20.0, 40.0, {}, {}, 0.3, False))
    book.book_exit(held, Fill(9, 2.0, 20.0, 40.0, {}, {}, 0.1, False))
    assert held.tokens == pytest.approx(10.0)
    assert held.exit_impact == 0.3
    assert held.pnl == to_micros(-20.0)


def test_a_written_off_position_lost_its_stake_and_all_costs() -> None:
    book, held = Book(1_000.0), position()
    book.book_entry(held, fill(100.0, 50.0, {"gas": 2.0}))
    for _ in range(5):
        book.book_refusal(held, "exit", Refusal(8, "the contract refused the sale", {"gas": 2.0}))
    assert to_usd(held.pnl) == -112.0
    assert held.pnl_percent == pytest.approx(-100 * 112 / 102)
    assert to_usd(book.cash) == 888.0
