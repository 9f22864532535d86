"""A recorded paper account is decided again, and what came from outside is said."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from trade_pipeline.core.canary.deployments import promote
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.live.halts import order_halt
from trade_pipeline.core.live.requests import order_session
from trade_pipeline.core.replay import SessionReplay, replay_all, replay_session, replay_trade
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.training.judgement import make_eligible
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT
from trade_pipeline_tests.core.replay.tampering import forge, superuser
from trade_pipeline_tests.core.replay.test_backtest import assigned, rows
from trade_pipeline_tests.core.training.strong import MARKET, Strong

# Orders fail by chance, too: it is drawn from their ids, which are the same again.
RECORDED: dict[str, Any] = {"cell_seconds": 1, "record": True}


@pytest.fixture(scope="module")
def template(server: EmbeddedPostgres, artifacts: ArtifactStore) -> str:
    """A database in which two sessions traded an account one after the other."""
    with create_database(server, name="replayed_live") as database:
        store = Store(database, artifacts)
        for days in (0.3, paper.DAYS):
            paper.run(store, ACCOUNT, days=days, **RECORDED)
    return "replayed_live"


@pytest.fixture
def store(server: EmbeddedPostgres, template: str, artifacts: ArtifactStore) -> Iterator[Store]:
    with create_database(server, template) as database:
        yield Store(database, artifacts)


def sessions(store: Store) -> list[SessionReplay]:
    return list(replay_all(store).sessions)


def test_every_trade_of_a_recorded_account_is_the_same_over_its_sessions(store: Store) -> None:
    found = sessions(store)
    counts = rows(store, "SELECT session_id, count(*) FROM trade.candidates GROUP BY 1")
    assert {one.session.session_id: one.trades for one in found} == dict(counts)
    assert len(found) == 2
    for one in found:
        assert (one.source, one.session.mode) == ("recording", "paper")
        assert (one.identical, one.found) == (one.trades, 0)
    ((executions, outcomes),) = rows(
        store,
        "SELECT (SELECT count(*) FROM trade.executions), (SELECT count(*) FROM trade.outcomes)",
    )
    trades = sum(one.trades for one in found)
    assert min(executions, outcomes) > 5
    assert sum(one.records for one in found) == 3 * trades + executions + outcomes


def test_one_session_and_one_trade_of_an_account_are_replayed_alone(store: Store) -> None:
    ((session_id, uuid),) = rows(
        store,
        "SELECT session_id, uuid FROM trade.candidates JOIN trade.outcomes USING (uuid) "
        "ORDER BY decided_at DESC LIMIT 1",
    )
    (session,) = replay_session(store, session_id).sessions
    assert session.identical == session.trades > 5
    (trade,) = replay_trade(store, uuid).sessions
    assert (trade.trades, trade.identical, trade.before) == (1, 1, None)


@pytest.mark.parametrize(
    ("table", "field", "value"),
    [("candidates", "confidence", 0.875), ("research_docs", "rug_risk", 0.125),
     ("outcomes", "pnl_usd", 12.5), ("executions", "slippage", 0.5)],
)  # fmt: skip
def test_a_forged_record_of_a_live_session_is_named_with_its_field(
    server: EmbeddedPostgres, store: Store, table: str, field: str, value: float
) -> None:
    ((uuid, seq, chain),) = rows(
        store,
        f"SELECT uuid, r.chain_seq, r.chain_id FROM trade.{table} r "
        "JOIN trade.outcomes o USING (uuid) "
        f"WHERE r.content::jsonb -> '{field}' <> 'null' ORDER BY r.recorded_at LIMIT 1",
    )
    forge(server, store, table, seq, assigned(field, value), chain=chain)
    replay = replay_all(store)
    difference = replay.first
    assert difference is not None
    assert (difference.uuid, difference.record) == (str(uuid), table)
    assert (difference.field, difference.stored) == (field, value)
    assert replay.totals["different"] == replay.totals["found"] == 1


def test_what_a_halt_refused_is_the_same_only_where_somebody_halted(
    server: EmbeddedPostgres, store: Store, artifacts: ArtifactStore
) -> None:
    with create_database(server) as database:
        halted = Store(database, artifacts)
        paper.run(halted, ACCOUNT, days=0.3, **RECORDED)
        with database.connect(autocommit=True) as connection:
            order_halt(connection, ACCOUNT, "halt", reason="a test", by="test")
        paper.run(halted, ACCOUNT, **RECORDED)
        refused = rows(halted, "SELECT uuid FROM trade.candidates WHERE reason = 'halted'")
        replay = replay_all(halted)
        assert len(refused) > 3
        assert replay.totals["identical"] == replay.totals["trades"]
        taken = f"taken as recorded, because they came from outside: {len(refused)} halted"
        assert all(taken in one.notes for one in replay.sessions)
        with superuser(server, halted) as connection:
            connection.execute("DELETE FROM trade.halts")
        again = replay_all(halted)
    assert again.totals["different"] == len(refused)
    assert again.first is not None
    assert (again.first.field, again.first.computed) == ("reason", "no halt was in force")


def test_a_look_that_was_dropped_is_no_difference(server: EmbeddedPostgres, store: Store) -> None:
    """As if there had been no time for the last token that was skipped: no size rests on it."""
    ((uuid, session, at),) = rows(
        store,
        "SELECT uuid, session_id, decided_at FROM trade.candidates WHERE decision = 'skip' "
        "ORDER BY decided_at DESC LIMIT 1",
    )
    with superuser(server, store) as connection:
        for table in ("candidates", "research_docs", "feature_rows", "live_decisions"):
            connection.execute(f"DELETE FROM trade.{table} WHERE uuid = %s".encode(), (uuid,))
        row = connection.execute(
            "SELECT chain_seq FROM trade.scans WHERE session_id = %s AND slot <= %s "
            "ORDER BY slot DESC LIMIT 1",
            (session, at),
        ).fetchone()
    assert row is not None
    difference = replay_all(store).first
    assert difference is not None
    assert difference.uuid == str(uuid)
    assert "was computed and is not stored" in difference.text
    forge(server, store, "scans", row[0], assigned("failed", {"back_pressure": 1}), chain=session)
    replay = replay_all(store)
    assert replay.first is None
    assert any("outside: 1 dropped looks" in note for note in replay.sessions[0].notes)


def test_a_fill_that_was_added_to_a_live_trade_is_named(
    server: EmbeddedPostgres, store: Store
) -> None:
    with superuser(server, store) as connection:
        row = connection.execute(
            "INSERT INTO trade.executions SELECT chain_id, 100000, content, content_hash, "
            "chain_hash, now(), uuid, order_id, event, 7, leg, occurred_at, price, size, "
            "value_usd, fees_usd, slippage FROM trade.executions WHERE event = 'filled' "
            "LIMIT 1 RETURNING uuid"
        ).fetchone()
    assert row is not None
    difference = replay_all(store).first
    assert difference is not None
    assert (difference.uuid, difference.record) == (str(row[0]), "executions")
    assert "is stored and was not computed" in difference.text


def test_limits_of_an_account_are_those_that_were_asked_for(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    limited = RECORDED | {"limits": {"max_token_usd": 30}}
    for known in (True, False):
        with create_database(server) as database:
            store = Store(database, artifacts)
            if known:
                with database.connect(autocommit=True) as connection:
                    order_session(connection, paper.settings(ACCOUNT, **limited), by="test")
            paper.run(store, ACCOUNT, **limited)
            replay = replay_all(store)
        totals = replay.totals
        assert (totals["identical"] == totals["trades"]) is known
        assert (replay.first is None) is known
    assert replay.first is not None
    assert replay.first.record == "candidates"
    assert replay.first.field == "stake_usd"
    assert "the account's limits are not stored" in replay.first.text


def test_what_an_exchange_filled_is_not_claimed_to_be_computed(
    server: EmbeddedPostgres, store: Store
) -> None:
    with superuser(server, store) as connection:
        connection.execute("TRUNCATE trade.paper_orders, trade.paper_fills")
    found = sessions(store)
    for one in found:
        assert (one.in_part, one.identical, one.found) == (one.trades, 0, 0)
        assert any("filled by an exchange" in what for what in one.uncomputed)
    # What does not depend on the account is compared all the same.
    ((uuid, seq, chain),) = rows(
        store,
        "SELECT uuid, chain_seq, chain_id FROM trade.candidates WHERE reason = 'rug_risk' LIMIT 1",
    )
    forge(server, store, "candidates", seq, assigned("reason", "position_closed"), chain=chain)
    difference = replay_all(store).first
    assert difference is not None
    assert (difference.uuid, difference.field) == (str(uuid), "reason")
    assert (difference.stored, difference.computed) == ("position_closed", "rug_risk")


def test_an_account_that_recorded_nothing_is_computed_from_its_own_records(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    with create_database(server) as database:
        store = Store(database, artifacts)
        paper.run(store, ACCOUNT)
        (found,) = sessions(store)
    assert (found.source, found.in_part, found.found) == ("records", found.trades, 0)
    assert any("nothing was recorded" in note for note in found.notes)
    assert sum(found.uncomputed.values()) >= found.trades


def test_models_decide_again_that_were_deployed_then_and_no_others(
    server: EmbeddedPostgres, fresh_strong_store: Store, strong: Strong
) -> None:
    store, scope = fresh_strong_store, Scope(MARKET, account="paper")
    make_eligible(store, strong.model)
    paper.run(store, ACCOUNT, days=0.2, **RECORDED)
    with store.database.connect(autocommit=True) as connection:
        promote(connection, scope, strong.model, by="test", reason="a test", override="a test")
    paper.run(store, ACCOUNT, days=0.4, **RECORDED)
    mine = "SELECT session_id FROM trade.sessions WHERE mode = 'paper'"
    decided = dict(
        rows(
            store,
            "SELECT model_version, count(*) FROM trade.candidates "
            f"WHERE session_id IN ({mine}) GROUP BY 1",
        )
    )
    assert decided.keys() == {HEURISTIC_VERSION, strong.model}
    found = [replay_session(store, name).sessions[0] for (name,) in rows(store, mine)]
    assert sum(one.trades for one in found) == sum(decided.values())
    assert [one.text for session in found for one in session.differences] == []
    with superuser(server, store) as connection:
        connection.execute("DELETE FROM trade.deployments")
    found = [replay_session(store, name).sessions[0] for (name,) in rows(store, mine)]
    assert sum(one.different for one in found) == decided[strong.model]
    texts = [one.text for session in found for one in session.differences]
    assert all("was not deployed then" in text for text in texts)
