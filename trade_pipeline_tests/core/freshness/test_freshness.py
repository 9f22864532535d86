"""What is too old of the accounts that are wanted now, by their records."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trade_pipeline.core.canary.deployments import promote
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.freshness.policy import Freshness, FreshnessConfig
from trade_pipeline.core.freshness.read import least_free, read_freshness
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.requests import end_sessions, order_session
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core.canary.eligible import MARKET, store_decisions, store_model
from trade_pipeline_tests.core.live import paper

NOW = datetime(2026, 5, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
REAL = {"market": {"kind": "spot-1h", "exchange": "binance", "symbols": ["BTC/USDT"]}}


def fresh(newest: datetime | None, since: datetime, allowed: timedelta = 15 * MINUTE) -> Freshness:
    return Freshness("market_events", "market data", "the newest event", newest, since, allowed)


@pytest.mark.parametrize(
    ("newest", "since", "why"),
    [
        (NOW - 15 * MINUTE, NOW - timedelta(days=1), None),
        (
            NOW - 15.1 * MINUTE, NOW - timedelta(days=1),
            "the newest event is 15.1 minutes old, allowed 15 minutes",
        ),
        # Whoever has just begun has had no time to hear anything.
        (None, NOW - MINUTE, None),
        (NOW - timedelta(days=9), NOW - MINUTE, None),
        (
            None, NOW - timedelta(hours=3),
            "the newest event never came, and should be at most 15 minutes old",
        ),
        (
            NOW - timedelta(days=9), NOW - timedelta(hours=3),
            "the newest event is 9 days old, allowed 15 minutes",
        ),
    ],
)  # fmt: skip
def test_what_is_older_than_it_may_be_is_stale_once_there_was_time_for_newer(
    newest: datetime | None, since: datetime, why: str | None
) -> None:
    assert fresh(newest, since).stale(NOW) == why


def live(account: str, **changes: Any) -> LiveConfig:
    return LiveConfig.parse({"account": account} | changes)


def subjects(database: Database) -> dict[str, Freshness]:
    with database.connect("trade_reader") as connection:
        return {one.subject: one for one in read_freshness(connection, FreshnessConfig())}


def test_only_what_is_wanted_and_real_can_be_stale(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        order_session(connection, live("real", **REAL), by="test")
        order_session(connection, paper.settings("replayed"), by="test")
        order_session(connection, live("over", **REAL), by="test")
        end_sessions(connection, "over", by="test")
    assert set(subjects(fresh_database)) == {
        "live session of account real", "live session of account replayed",
    }  # fmt: skip
    with Lease(fresh_database, "real", holder="x", mode="paper") as lease:
        lease.told = {"newest_event": (NOW - timedelta(hours=2)).isoformat()}
        lease.renew()
        held = subjects(fresh_database)
        market = held["market data of account real"]
        assert (market.newest, market.allowed) == (NOW - timedelta(hours=2), 75 * MINUTE)
        # It has just begun.
        assert market.stale(datetime.now(UTC)) is None
        late = market.since + timedelta(hours=2)
        assert "allowed 75 minutes" in str(market.stale(late))
        session = held["live session of account real"]
        assert session.stale(datetime.now(UTC)) is None
    gone = subjects(fresh_database)
    assert "market data of account real" not in gone
    told = gone["live session of account real"].stale(datetime.now(UTC) + 3 * MINUTE)
    assert told is not None
    assert told.startswith("the holder's newest heartbeat is 3")


def test_the_model_that_a_wanted_account_trades_by_is_watched_and_no_other(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    scope = Scope(MARKET, account="paper")
    with fresh_database.connect() as connection:
        store_decisions(connection)
        model = store_model(connection, artifacts, 1)
        promote(connection, scope, model, by="t", reason="t", override="a test")
        connection.commit()
    # Nobody trades by it.
    assert subjects(fresh_database) == {}
    with fresh_database.connect(autocommit=True) as connection:
        order_session(connection, live("pools", market={"kind": MARKET}), by="test")
        order_session(connection, live("bars", **REAL), by="test")
        (name,) = connection.execute("SELECT short_name FROM trade.models").fetchone() or ("",)
    found = subjects(fresh_database)
    now = datetime.now(UTC)
    training = found[f"training of production model {name} of {scope}"]
    monitoring = found[f"monitoring of production model {name} of {scope}"]
    assert training.stale(now + timedelta(days=89)) is None
    assert (
        training.stale(now + timedelta(days=91)) == "its training is 91 days old, allowed 90 days"
    )
    assert monitoring.stale(now + timedelta(hours=25)) is None
    assert monitoring.stale(now + timedelta(hours=27)) == (
        "the newest look at it never came, and should be at most 26 hours old"
    )
    assert {one.asset for one in (training, monitoring)} == {"production_model"}


def test_the_room_that_is_wanted_is_that_of_whoever_wants_most(fresh_database: Database) -> None:
    with fresh_database.connect(autocommit=True) as connection:
        assert least_free(connection) == 512_000_000
        for account, megabytes in (("a", 100), ("b", 200), ("c", 900)):
            config = paper.settings(account, limits={"min_free_mb": megabytes})
            order_session(connection, config, by="test")
        end_sessions(connection, "c", by="test")
        assert least_free(connection) == 200_000_000


def test_a_limit_that_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(BadConfig, match="tokens_minutes"):
        FreshnessConfig.parse({"tokens_minutes": 3})
