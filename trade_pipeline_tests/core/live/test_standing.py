"""What is told of accounts is what their records hold, while sessions trade and afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live.halts import order_halt
from trade_pipeline.core.live.session import LiveRun
from trade_pipeline.core.live.standing import NEWEST, standing
from trade_pipeline.core.live.stored import read_account
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def traded(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[tuple[Store, LiveRun]]:
    """A session that was ended in the middle of its market, with positions open."""
    with create_database(server) as database:
        store = Store(database, artifacts)
        yield store, paper.run(store, ACCOUNT, days=0.3)


@pytest.fixture
def told(traded: tuple[Store, LiveRun]) -> dict[str, Any]:
    with traded[0].database.connect("trade_reader") as connection:
        return standing(connection, NOW)


def test_positions_are_those_with_which_a_successor_would_go_on(
    traded: tuple[Store, LiveRun], told: dict[str, Any]
) -> None:
    store, done = traded
    [account] = told["accounts"]
    with store.database.connect("trade_reader") as connection:
        stored = read_account(connection, ACCOUNT).open
    assert len(stored) == done.open_positions > 0
    shown = {one["uuid"]: one for one in account["positions"]}
    assert shown.keys() == {str(one.position.uuid) for one in stored}
    for one in stored:
        row = shown[str(one.position.uuid)]
        assert row["instrument"] == one.instrument
        assert row["tokens"] == pytest.approx(one.position.tokens)
        assert row["stake_usd"] == pytest.approx(one.position.value_in / 1e6)
    assert account["holder"] is None


def test_results_are_of_the_markets_day_and_add_up(
    traded: tuple[Store, LiveRun], told: dict[str, Any]
) -> None:
    [account] = told["accounts"]
    with traded[0].database.connect("trade_reader") as connection:
        days: dict[str, float] = dict(
            connection.execute(
                "SELECT (closed_at AT TIME ZONE 'UTC')::date::text, sum(pnl_usd) "
                "FROM trade.outcomes WHERE kind = 'realised' GROUP BY 1"
            ).fetchall()
        )
    assert account["day"] == account["market_time"].date().isoformat()
    assert account["realised_today_usd"] == pytest.approx(days[account["day"]])
    # The account's cash is what was realised less what is in positions.
    paid = sum(
        one["stake_usd"] + one["costs_usd"] - one["sold_usd"] for one in account["positions"]
    )
    fund = paper.settings(ACCOUNT).trading.strategy.small_fund_usd
    assert traded[1].cash_usd == pytest.approx(fund + sum(days.values()) - paid, abs=1e-3)
    assert account["closed_today"] > 3
    for one in account["positions"]:
        worth = one["tokens"] * one["newest_price"]
        assert one["unrealised_usd"] == pytest.approx(
            worth + one["sold_usd"] - one["stake_usd"] - one["costs_usd"]
        )
        assert one["price_at"] >= one["opened_at"]
    assert account["unrealised_usd"] == pytest.approx(
        sum(one["tokens"] * one["newest_price"] for one in account["positions"]) - paid
    )


def test_the_newest_decisions_come_first(
    traded: tuple[Store, LiveRun], told: dict[str, Any]
) -> None:
    [account] = told["accounts"]
    with traded[0].database.connect("trade_reader") as connection:
        newest = connection.execute("SELECT max(decided_at) FROM trade.candidates").fetchone()
    times = [one["decided_at"] for one in account["newest_decisions"]]
    assert len(times) == NEWEST
    assert times == sorted(times, reverse=True)
    assert newest == (times[0],)


def test_a_halt_is_told_with_its_reason_and_an_account_that_is_not_there_is_an_error(
    traded: tuple[Store, LiveRun],
) -> None:
    with traded[0].database.connect(autocommit=True) as connection:
        order_halt(connection, ACCOUNT, "halt", reason="it burns", by="me")
        told = standing(connection, NOW, ACCOUNT)
        order_halt(connection, ACCOUNT, "resume", reason="out", by="me")
        with pytest.raises(BadConfig, match="account='nobody'"):
            standing(connection, NOW, "nobody")
    assert told["accounts"][0]["halted"] == "halt: it burns (me)"
    assert told["halts"][0]["reason"] == "it burns"
    assert told["accounts"][0]["heartbeat_age_seconds"] == pytest.approx(
        (NOW - told["accounts"][0]["heartbeat_at"]).total_seconds()
    )
