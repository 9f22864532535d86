"""What of a session's own records stood before each decision, by the order of its chain."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from trade_pipeline.core.dataset.decisions import read_decisions
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.ids import micros
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.records import OrderEvent, Record, TerminationReason, TradeCandidate
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples

START = samples.START


def after(hours: float) -> datetime:
    return START + timedelta(hours=hours)


def order(decided: TradeCandidate, event: str, leg: str = "entry", **changes: Any) -> Record:
    """An event of an entry or exit; a fill whose slippage is not given has none that is known."""
    make = samples.fill if leg == "entry" else samples.sale
    given = {"order_id": leg, "event": OrderEvent(event), "slippage": None, "occurred_at": START}
    return make(decided.uuid, **(given | changes))


def closed(decided: TradeCandidate, percent: float, hours: float, reason: str) -> Record:
    return samples.outcome(
        decided.uuid,
        realized_pnl_percent=percent,
        closed_at=after(hours),
        termination_reason=TerminationReason(reason),
    )


def decisions_of(*decisions: str) -> list[TradeCandidate]:
    return [samples.candidate(n, decision=decision) for n, decision in enumerate(decisions)]


def own(database: Database, *records: Record) -> list[dict[str, float]]:
    """The known features of the own records of each decision of a chain."""
    with database.connect() as connection:
        append_bulk(connection, "s", [samples.session(), *records])
        connection.commit()
        found = read_decisions(connection, "s")
    return [
        {
            name: float(values[row])
            for name, values in found.own.items()
            if values[row] == values[row]
        }
        for row in range(len(found))
    ]


def test_a_decision_knows_what_stands_before_it_in_the_chain(fresh_database: Database) -> None:
    first, second, third, last = decisions_of("enter", "skip", "skip", "skip")
    found = own(
        fresh_database,
        first,
        order(first, "submitted"),
        order(first, "partly_filled", slippage=0.02),
        second,
        order(first, "filled", slippage=0.04, sequence=1),
        order(first, "filled", "exit", slippage=0.09),
        third,
        closed(first, -20.0, 1.5, "stop_loss"),
        last,
    )
    assert found == [
        {"open_positions": 0.0},
        {"open_positions": 1.0, "recent_slippage": 0.02},
        {
            "open_positions": 1.0,
            "recent_slippage": pytest.approx(0.05),
            "recent_failed_orders": 0.0,
        },
        {
            "open_positions": 0.0,
            "recent_slippage": pytest.approx(0.05),
            "recent_failed_orders": 0.0,
            "recent_win_rate": 0.0,
            "recent_mean_return": -0.2,
            "recent_stops": 1.0,
            # The last decision comes three hours after the first.
            "hours_since_last_close": 1.5,
        },
    ]


@pytest.mark.parametrize("end", ["rejected", "cancelled"])
def test_an_entry_that_bought_nothing_gives_its_slot_back(
    fresh_database: Database, end: str
) -> None:
    first, second, third = decisions_of("enter", "enter", "skip")
    found = own(
        fresh_database,
        *(first, order(first, "submitted", entry_price=None)),
        *(second, order(first, end, entry_price=None, size=0.0), third),
    )
    assert [row["open_positions"] for row in found] == [0.0, 1.0, 1.0]
    assert found[2]["recent_failed_orders"] == 1.0


def test_the_cancelled_rest_of_an_entry_leaves_its_position_open(fresh_database: Database) -> None:
    first, second = decisions_of("enter", "skip")
    found = own(
        fresh_database,
        *(first, order(first, "partly_filled")),
        *(order(first, "cancelled", entry_price=None), second),
    )
    assert found[1] == {"open_positions": 1.0, "recent_failed_orders": 1.0}


def test_a_failed_sale_leaves_its_position_open(fresh_database: Database) -> None:
    first, second, third = decisions_of("enter", "skip", "skip")
    found = own(
        fresh_database,
        *(first, order(first, "filled")),
        *(order(first, "rejected", "exit", exit_price=None), second),
        *(closed(first, -100.0, 0.5, "rugpull_exit"), third),
    )
    assert [row["open_positions"] for row in found] == [0.0, 1.0, 0.0]
    assert found[1]["recent_failed_orders"] == 0.5
    assert found[2]["recent_stops"] == 1.0


def test_shadows_and_other_sessions_are_not_its_own(fresh_database: Database) -> None:
    first, second = decisions_of("skip", "skip")
    other = samples.candidate(0, "other")
    with fresh_database.connect() as connection:
        append_bulk(connection, "other", [samples.session("other"), other, order(other, "filled")])
        connection.commit()
    shadow = samples.outcome(first.uuid, kind="shadow", closed_at=after(0.5))
    found = own(fresh_database, first, shadow, second)
    assert found == [{"open_positions": 0.0}] * 2


def test_decisions_come_in_their_order_with_all_features(fresh_database: Database) -> None:
    made = [samples.candidate(n, instrument=f"token-{n}") for n in range(5)]
    with fresh_database.connect() as connection:
        append_bulk(connection, "s", [samples.session(), *made])
        connection.commit()
        found = read_decisions(connection, "s")
        nothing = read_decisions(connection, "no such session")
    assert list(found.uuid) == [decided.uuid for decided in made]
    assert list(found.instrument) == [f"token-{n}" for n in range(5)]
    assert found.at.tolist() == [micros(decided.decided_at) for decided in made]
    assert set(found.own) <= set(NAMES)
    assert np.asarray(found.own["open_positions"]).tolist() == [0, 1, 2, 3, 4]
    assert len(nothing) == 0
    assert all(len(values) == 0 for values in nothing.own.values())
