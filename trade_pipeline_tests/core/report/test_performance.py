"""Figures over a few trades, against figures worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.records import OrderEvent, Record, TerminationReason
from trade_pipeline.core.report.performance import performance_metrics, session_report
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import END, START

STOP, TARGET, HOLD = (
    TerminationReason.STOP_LOSS,
    TerminationReason.PROFIT_TARGET,
    TerminationReason.MAX_HOLD,
)
# Every entry pays 100 USD of value and 2 USD of gas; the exit of each fetches what is listed here
# and pays 2 USD of gas: pnl = fetched - 2 - 102.
# (liquidity, fetched, reason, hours, failed exits that cost 2 USD of gas each)
TRADES: list[tuple[float | None, float, TerminationReason, int, int]] = [
    (1_999.99, 84.0, STOP, 1, 0),  # pnl -20
    (2_000.0, 134.0, TARGET, 2, 0),  # pnl +30
    (20_000.0, 74.0, STOP, 3, 1),  # pnl -32
    (500_000.0, 114.0, HOLD, 6, 0),  # pnl +10
    (None, 104.0, HOLD, 8, 0),  # pnl 0
]
PNL = [-20.0, 30.0, -32.0, 10.0, 0.0]
RETURNS = [100.0 * pnl / 102.0 for pnl in PNL]


def trade(number: int) -> list[Record]:
    liquidity, fetched, reason, hours, failed = TRADES[number]
    decided = samples.candidate(number, reason="candidate", stake_usd=102.0)
    uuid, closed = decided.uuid, decided.decided_at + timedelta(hours=hours)
    inside = {"pool_fee": 0.3, "own_impact": 0.7}
    records: list[Record] = [
        decided,
        samples.research(uuid, liquidity_usd=liquidity),
        samples.fill(uuid, event=OrderEvent.SUBMITTED, entry_price=None, size=0.0),
        samples.fill(uuid, value_usd=100.0, costs_usd={"gas": 2.0}, inside_usd=inside),
    ]
    records += [
        samples.sale(uuid, order_id=f"failed-{n}", exit_price=None, event=OrderEvent.REJECTED,
                     costs_usd={"gas": 2.0}, note="reverted")
        for n in range(failed)
    ]  # fmt: skip
    records += [
        samples.sale(uuid, value_usd=fetched, costs_usd={"gas": 2.0}, inside_usd={"tax": 0.5}),
        samples.outcome(
            uuid,
            realized_pnl_percent=RETURNS[number],
            pnl_usd=PNL[number],
            closed_at=closed,
            time_in_market_seconds=hours * 3600.0,
            termination_reason=reason,
        ),
    ]
    return records


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
        yield connection


@pytest.fixture(scope="module")
def stored(database: Database) -> Iterator[psycopg.Connection]:
    """A connection to a database that holds the session for those who only read it."""
    with database.connect("trade_writer", autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
        fill_session(connection)
    with database.connect("trade_reader", autocommit=True) as connection:
        yield connection


@pytest.fixture
def chain(writer: psycopg.Connection) -> Chain:
    return fill_session(writer)


def fill_session(writer: psycopg.Connection) -> Chain:
    """A session of the five trades, three skipped candidates with shadows, and a failed entry."""
    chain = Chain("s")
    append_now(
        writer, chain, samples.session(range_start=START, range_end=END, params_ptr=samples.ADDRESS)
    )
    for number in range(len(TRADES)):
        for record in trade(number):
            append_now(writer, chain, record)
    for number, reason in ((10, "rug risk"), (11, "rug risk"), (12, "no money")):
        skipped = samples.candidate(number, decision="skip", reason=reason)
        append_now(writer, chain, skipped)
        append_now(
            writer,
            chain,
            samples.outcome(skipped.uuid, kind="shadow", realized_pnl_percent=500.0),
        )
    missed = samples.candidate(13, reason="candidate")
    append_now(writer, chain, missed)
    append_now(
        writer,
        chain,
        samples.fill(missed.uuid, entry_price=None, size=0.0, event=OrderEvent.REJECTED,
                     costs_usd={"gas": 2.0}),
    )  # fmt: skip
    return chain


def test_the_figures_of_closed_trades(writer: psycopg.Connection, chain: Chain) -> None:
    for session in ("s", None):
        found = performance_metrics(writer, session)
        assert found["total_trades"] == 5
        assert found["win_rate"] == 0.4  # nothing won is no win
        assert found["avg_return_pct"] == pytest.approx(100.0 * (-12.0 / 102.0) / 5.0)
        assert found["median_return_pct"] == 0.0
        assert found["best_return_pct"] == RETURNS[1]
        assert found["worst_return_pct"] == RETURNS[2]
        assert found["total_pnl_usd"] == -12.0
        assert found["avg_hours_in_market"] == 4.0
    assert performance_metrics(writer, "another")["total_trades"] == 0


def test_figures_by_the_reason_of_the_end(writer: psycopg.Connection, chain: Chain) -> None:
    found = {row.pop("reason"): row for row in performance_metrics(writer)["by_reason"]}
    assert list(found) == ["max_hold", "profit_target", "stop_loss"]
    assert found["stop_loss"] == {
        "trades": 2,
        "mean_return_pct": pytest.approx(-2600.0 / 102.0),
        "median_return_pct": pytest.approx(-2600.0 / 102.0),
        # Of the price alone: 84 and 74 USD fetched for 100.
        "mean_price_return_pct": pytest.approx(-21.0),
        "pnl_usd": -52.0,
    }
    assert found["profit_target"]["pnl_usd"] == 30.0
    assert (found["max_hold"]["trades"], found["max_hold"]["pnl_usd"]) == (2, 10.0)


def test_an_even_number_of_trades_has_the_median_between_the_two_in_the_middle(
    writer: psycopg.Connection, chain: Chain
) -> None:
    uuid = samples.candidate(4).uuid
    append_now(
        writer, chain, samples.outcome(uuid, revision=1, realized_pnl_percent=-1.0, pnl_usd=-1.02)
    )
    six = samples.candidate(5)
    append_now(writer, chain, six)
    append_now(writer, chain, samples.fill(six.uuid))
    append_now(writer, chain, samples.outcome(six.uuid, realized_pnl_percent=2.0))
    found = performance_metrics(writer)
    assert found["total_trades"] == 6
    assert found["median_return_pct"] == 0.5


def test_the_same_trades_at_other_prices_of_gas(stored: psycopg.Connection) -> None:
    table = {row["gas_usd"]: row for row in session_report(stored, "s")["by_gas"]}
    assert list(table) == [0, 1, 15, 50]
    # Before gas the trades made -16, 34, -26, 14 and 4 USD on 100 USD; they sent 2, 2, 3, 2 and 2
    # transactions, one of them to enter.
    before, sent = [-16.0, 34.0, -26.0, 14.0, 4.0], [2, 2, 3, 2, 2]
    for gas, row in table.items():
        pnl = [b - gas * n for b, n in zip(before, sent, strict=True)]
        returns = [100.0 * p / (100.0 + gas) for p in pnl]
        assert row["total_pnl_usd"] == pytest.approx(math.fsum(pnl))
        assert row["mean_return_pct"] == pytest.approx(math.fsum(returns) / 5)
        assert row["median_return_pct"] == pytest.approx(sorted(returns)[2])
        assert row["win_rate"] == sum(p > 0 for p in pnl) / 5
    assert [table[gas]["total_pnl_usd"] for gas in (0, 1, 15, 50)] == [10.0, -1.0, -155.0, -540.0]
    assert [table[gas]["win_rate"] for gas in (0, 1, 15, 50)] == [0.6, 0.6, 0.2, 0.0]


def test_at_its_own_price_of_gas_the_table_gives_the_stored_results(
    stored: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trade_pipeline.core.report.performance.GAS_USD", (2,))
    report = session_report(stored, "s")
    [row] = report["by_gas"]
    assert row["total_pnl_usd"] == report["total_pnl_usd"]
    assert row["mean_return_pct"] == pytest.approx(report["mean_return_pct"])
    assert row["median_return_pct"] == pytest.approx(report["median_return_pct"])
    assert row["win_rate"] == report["win_rate"]


def test_a_market_without_gas_has_no_table_of_gas(writer: psycopg.Connection) -> None:
    chain = Chain("g")
    decided = samples.candidate(0, "g")
    append_now(writer, chain, samples.session("g"), decided)
    append_now(writer, chain, samples.fill(decided.uuid, value_usd=10.0, costs_usd={"fee": 0.1}))
    append_now(writer, chain, samples.outcome(decided.uuid))
    assert session_report(writer, "g")["by_gas"] == []


def test_figures_by_liquidity_put_each_trade_into_its_band(stored: psycopg.Connection) -> None:
    report = session_report(stored, "s")
    assert [(row["band"], row["trades"]) for row in report["by_liquidity"]] == [
        ("0-2,000 USD", 1),
        ("2,000-20,000 USD", 1),
        ("20,000-100,000 USD", 1),
        ("over 500,000 USD", 1),
        ("unknown", 1),
    ]
    assert [row["mean_return_pct"] for row in report["by_liquidity"]] == RETURNS
    assert [(row["band"], row["median_return_pct"]) for row in report["stop_by_liquidity"]] == [
        ("0-2,000 USD", RETURNS[0]),
        ("20,000-100,000 USD", RETURNS[2]),
    ]


def test_equity_follows_the_closes_and_the_drawdown_is_its_deepest_fall(
    stored: psycopg.Connection,
) -> None:
    report = session_report(stored, "s")
    # Closed after 1, 3, 5, 9 and 12 hours: -20, +10, -22, -12, -12.
    assert [usd for _, usd in report["equity"]] == [-20.0, 10.0, -22.0, -12.0, -12.0]
    assert [moment for moment, _ in report["equity"]] == [
        (START + timedelta(hours=hours)).isoformat() for hours in (1, 3, 5, 9, 12)
    ]
    assert report["max_drawdown_usd"] == 32.0


def test_a_first_loss_is_a_drawdown_from_nothing(writer: psycopg.Connection) -> None:
    chain = Chain("s")
    append_now(writer, chain, samples.session())
    for record in trade(0):
        append_now(writer, chain, record)
    assert session_report(writer, "s")["max_drawdown_usd"] == 20.0


def test_costs_by_kind_include_the_transactions_that_failed(stored: psycopg.Connection) -> None:
    costs: dict[str, Any] = session_report(stored, "s")["costs"]
    # 5 entries, 5 exits, a failed exit and a failed entry.
    assert costs == {
        "gas": 24.0,
        "own_impact": pytest.approx(3.5),
        "pool_fee": pytest.approx(1.5),
        "tax": 2.5,
    }


def test_candidates_are_counted_by_decision_and_reason(stored: psycopg.Connection) -> None:
    report = session_report(stored, "s")
    assert report["candidates"] == [
        {"decision": "enter", "reason": "candidate", "count": 6},
        {"decision": "skip", "reason": "rug risk", "count": 2},
        {"decision": "skip", "reason": "no money", "count": 1},
    ]
    assert report["market"] == "simulated"
    assert report["params_ptr"] == samples.ADDRESS
    assert report["returns"] == RETURNS


def test_a_session_is_reported_without_the_trades_of_another(
    writer: psycopg.Connection, chain: Chain
) -> None:
    other = Chain("t")
    decided = samples.candidate(0, "t")
    append_now(writer, other, samples.session("t"), decided)
    append_now(writer, other, samples.fill(decided.uuid, costs_usd={"gas": 99.0}))
    append_now(writer, other, samples.outcome(decided.uuid, pnl_usd=1000.0))
    report = session_report(writer, "s")
    assert report["trades"] == 5
    assert report["total_pnl_usd"] == -12.0
    assert report["costs"]["gas"] == 24.0
    assert performance_metrics(writer)["total_trades"] == 6


def test_a_session_that_is_not_stored_has_no_report(writer: psycopg.Connection) -> None:
    with pytest.raises(BadConfig, match="session_id='nothing'"):
        session_report(writer, "nothing")


def test_an_empty_session_has_a_report_without_figures(writer: psycopg.Connection) -> None:
    append_now(writer, Chain("e"), samples.session("e"))
    report = session_report(writer, "e")
    assert report["trades"] == 0
    assert math.isnan(report["win_rate"])
    assert report["max_drawdown_usd"] == 0.0
    assert report["equity"] == report["by_gas"] == report["by_liquidity"] == []
