"""Shadow books: slots, cash and protections of a fund that one model had for itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.canary.books import ShadowBook, shadow_book
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.strategy.config import StrategyConfig

STRATEGY = StrategyConfig()
FULL = STRATEGY.small_fund_usd * STRATEGY.sizing.max_fraction


def book(rows: list[tuple[float, int, float, float, float]], **more: Any) -> ShadowBook:
    """Rows of hour, token, stake, return and hour of the end (-1: open)."""
    hours, token, stake, returns, ends = (np.array(column) for column in zip(*rows, strict=True))
    return shadow_book(
        (hours * HOUR).astype(np.int64),
        token.astype(np.int64),
        stake.astype(np.float64),
        returns.astype(np.float64),
        np.where(ends < 0, -1, ends * HOUR).astype(np.int64),
        more.pop("stopped", np.zeros(len(rows), np.bool_)),
        STRATEGY.model_copy(update=more),
    )


def test_a_trade_pays_its_label_on_its_stake() -> None:
    found = book([(0, 1, 0.5, 0.3, 5), (6, 2, 1.0, -0.1, 9)])
    first = 0.5 * FULL
    second = (STRATEGY.small_fund_usd + 0.3 * first) * STRATEGY.sizing.max_fraction
    assert found.gains == pytest.approx([0.3 * first, -0.1 * second])
    assert found.equity == pytest.approx(1_000 + np.cumsum([0, 0.3 * first, -0.1 * second]))
    assert found.worst == pytest.approx(-0.1 * STRATEGY.sizing.max_fraction)


def test_a_sixth_position_and_a_second_of_one_token_are_not_opened() -> None:
    rows = [(0.1 * n, n // 2, 1.0, 0.1, 9.0) for n in range(12)]
    assert book(rows).entered == 5


def test_after_a_stop_the_token_cools_down() -> None:
    rows = [(0, 1, 1.0, -0.2, 1), (2, 1, 1.0, 0.1, 3), (8, 1, 1.0, 0.1, 9)]
    stopped = np.array([True, False, False])
    assert book(rows, stopped=stopped).entered == 2
    assert book(rows).entered == 3


def test_a_day_of_losses_stops_the_days_entries() -> None:
    rows = [(float(n), n, 1.0, -0.9, n + 0.5) for n in range(4)]
    assert book(rows).entered == 1


def test_what_has_not_ended_holds_its_slot_and_counts_at_cost() -> None:
    rows = [(float(n), n, 1.0, float("nan"), -1) for n in range(5)] + [(6, 9, 1.0, 0.5, 7)]
    found = book(rows)
    assert (found.entered, len(found.gains), found.worst) == (5, 0, 0.0)
    assert found.equity.tolist() == [1_000.0]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 200), st.integers(0, 8), st.sampled_from([0.0, 0.3, 1.0]),
            st.floats(-1, 3), st.integers(1, 48),
        ),
        min_size=1,
        max_size=60,
    )
)  # fmt: skip
def test_no_book_spends_what_it_has_not_got(
    rows: list[tuple[int, int, float, float, int]],
) -> None:
    found = book([(at, token, s, r, at + life) for at, token, s, r, life in sorted(rows)])
    assert (found.equity >= -1e-9).all()
    assert found.equity[-1] == pytest.approx(found.equity[0] + found.gains.sum())
    assert found.entered == len(found.gains)
