"""The labels of stored sessions: for every candidate, once, corrected by revision."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.outcome import replay, shadow
from trade_pipeline.core.outcome.shadow import (
    LabelConfig,
    LabelRun,
    label_session,
    unlabelled_sessions,
)
from trade_pipeline.core.records import TerminationReason, TradeOutcome
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.stored import market_of, read_session, settings_of
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.session.stored import CONFIG, START, market, run

# The market goes on for longer than any trade of the session can last.
MARKET_DAYS, DAYS = 4.5, 2


@pytest.fixture(scope="module")
def feed() -> SimulatedMarket:
    return market(days=MARKET_DAYS)


@pytest.fixture
def session_id(fresh_database: Database, artifacts: ArtifactStore, feed: SimulatedMarket) -> str:
    return run(fresh_database, artifacts, feed=feed, days=DAYS).session.session_id


def shadows(database: Database, session_id: str) -> list[tuple[Any, ...]]:
    """UUID, revision, percent, reason of every shadow, in the order of their chain."""
    with database.connect("trade_reader") as connection:
        samples.assert_whole_chain(connection, f"shadow:{session_id}")
        return connection.execute(
            "SELECT uuid, revision, realized_pnl_percent, termination_reason FROM trade.outcomes "
            "WHERE kind = 'shadow' AND chain_id = %s ORDER BY chain_seq",
            (f"shadow:{session_id}",),
        ).fetchall()


def counts(done: LabelRun) -> tuple[int, int, int, int, int]:
    return done.candidates, done.labelled, done.new, done.corrected, done.unended


def test_every_candidate_gets_a_label_entered_or_skipped(
    fresh_database: Database, artifacts: ArtifactStore, feed: SimulatedMarket, session_id: str
) -> None:
    seen: list[tuple[int, int]] = []
    done = label_session(
        fresh_database, artifacts, feed, session_id, progress=lambda *now: seen.append(now)
    )
    n = done.candidates
    assert counts(done) == (n, n, n, 0, 0)
    assert seen[-1] == (n, n)
    with fresh_database.connect("trade_reader") as connection:
        decisions = connection.execute(
            "SELECT decision, count(*), count(o.uuid), bool_and(o.closed_at > c.decided_at) "
            "FROM trade.candidates c LEFT JOIN trade.outcomes o "
            "ON o.uuid = c.uuid AND o.kind = 'shadow' GROUP BY 1 ORDER BY 1"
        ).fetchall()
        refused = connection.execute(
            "SELECT count(*) FROM trade.outcomes WHERE termination_reason = 'not_filled'"
        ).fetchone()
    assert [(decision, count - labels, later) for decision, count, labels, later in decisions] == [
        ("enter", 0, True),
        ("skip", 0, True),
    ]
    assert refused == (sum(done.refused.values()),)
    assert "transaction failed" in done.refused


def test_labelling_again_adds_nothing(
    fresh_database: Database, artifacts: ArtifactStore, feed: SimulatedMarket, session_id: str
) -> None:
    first = label_session(fresh_database, artifacts, feed, session_id)
    stored = shadows(fresh_database, session_id)
    again = label_session(fresh_database, artifacts, feed, session_id)
    assert counts(again) == (first.candidates, first.candidates, 0, 0, 0)
    assert shadows(fresh_database, session_id) == stored


def test_a_label_that_comes_out_different_is_the_next_revision(
    fresh_database: Database, artifacts: ArtifactStore, feed: SimulatedMarket, session_id: str
) -> None:
    first = label_session(fresh_database, artifacts, feed, session_id)
    n = first.candidates
    small = LabelConfig(stake_usd=20)
    corrected = label_session(fresh_database, artifacts, feed, session_id, config=small)
    assert counts(corrected) == (n, n, 0, n, 0)
    repeated = label_session(fresh_database, artifacts, feed, session_id, config=small)
    assert counts(repeated) == (n, n, 0, 0, 0)
    back = label_session(fresh_database, artifacts, feed, session_id)
    assert counts(back) == (n, n, 0, n, 0)
    stored = shadows(fresh_database, session_id)
    assert [revision for _, revision, *_ in stored] == [0] * n + [1] * n + [2] * n
    assert [row[2:] for row in stored[:n]] == [row[2:] for row in stored[2 * n :]]
    assert stored[0][2] != stored[n][2]


def test_a_token_is_followed_for_long_enough_from_its_last_decision_on(
    fresh_database: Database,
    artifacts: ArtifactStore,
    feed: SimulatedMarket,
    session_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No label changes when what is read ends where the last of them may."""
    with monkeypatch.context() as patch:
        patch.setattr(replay, "_ORDERS", HOUR)
        first = label_session(fresh_database, artifacts, feed, session_id)
    again = label_session(fresh_database, artifacts, feed, session_id)
    assert first.new == first.candidates
    assert (again.new, again.corrected) == (0, 0)


def test_labels_that_were_stored_in_part_are_completed(
    fresh_database: Database,
    artifacts: ArtifactStore,
    feed: SimulatedMarket,
    session_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def some(connection: psycopg.Connection, chain_id: str, records: list[TradeOutcome]) -> int:
        return append_bulk(connection, chain_id, records[1::3])

    with monkeypatch.context() as patch:
        patch.setattr(shadow, "append_bulk", some)
        label_session(fresh_database, artifacts, feed, session_id)
    before = len(shadows(fresh_database, session_id))
    done = label_session(fresh_database, artifacts, feed, session_id)
    assert (done.new, done.corrected) == (done.candidates - before, 0)
    assert len({row[0] for row in shadows(fresh_database, session_id)}) == done.candidates


def test_of_labellers_at_once_each_label_is_written_once(
    fresh_database: Database, artifacts: ArtifactStore, feed: SimulatedMarket, session_id: str
) -> None:
    done: list[LabelRun] = []
    ready = threading.Barrier(3)

    def label() -> None:
        ready.wait()
        done.append(label_session(fresh_database, artifacts, feed, session_id))

    threads = [threading.Thread(target=label) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(run.new for run in done) == [0, 0, done[0].candidates]
    assert sum(run.corrected for run in done) == 0


def test_a_market_that_ends_too_early_leaves_labels_for_later(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    feed = market(days=DAYS)
    session_id = run(fresh_database, artifacts, feed=feed, days=DAYS).session.session_id
    done = label_session(fresh_database, artifacts, feed, session_id)
    assert done.unended > 0
    assert done.labelled == done.new == done.candidates - done.unended > 0
    reasons = {row[3] for row in shadows(fresh_database, session_id)}
    assert "session_end" not in reasons
    with fresh_database.connect("trade_reader") as connection:
        assert unlabelled_sessions(connection) == [session_id]


def test_a_label_outlives_its_session_where_the_simulated_market_does(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    lasting = {"start": moment_of(START), "end": moment_of(START + 4 * DAY)}
    simulator = CONFIG.simulator.model_copy(update=lasting)
    config = CONFIG.model_copy(update={"simulator": simulator})
    ends = []
    for first, last in ((0, 1), (1, 2)):
        start, end = START + first * DAY, START + last * DAY
        feed = open_market(
            "simulated", data=None, seed=3, start=start, end=end, simulator=simulator
        )
        done = run_backtest(
            fresh_database, artifacts, feed, start=moment_of(start), end=moment_of(end), seed=3,
            config=config,
        )  # fmt: skip
        with fresh_database.connect("trade_reader") as connection:
            stored = read_session(connection, done.session.session_id)
        # As a later process opens it, from what is stored alone.
        again = market_of(stored, settings_of(artifacts, stored), None)
        labels = label_session(fresh_database, artifacts, again, stored.session_id)
        assert labels.labelled == labels.candidates > 0
        assert labels.unended == 0
        ends.append((stored.market_address, again.content_address()))
    assert len({address for pair in ends for address in pair}) == 1
    with fresh_database.connect("trade_reader") as connection:
        later = connection.execute(
            "SELECT count(*) FROM trade.outcomes o JOIN trade.candidates c USING (uuid) "
            "JOIN trade.sessions s ON s.session_id = c.session_id "
            "WHERE o.kind = 'shadow' AND o.closed_at > s.range_end"
        ).fetchone()
    assert later is not None
    assert later[0] > 0


def test_another_market_than_the_sessions_is_refused(
    fresh_database: Database, artifacts: ArtifactStore, session_id: str, feed: SimulatedMarket
) -> None:
    other = market(seed=4, days=MARKET_DAYS)
    exchange = market(days=MARKET_DAYS)
    exchange.kind = "spot-1h"
    with pytest.raises(BadConfig, match=f"market_address='{other.content_address()}': session"):
        label_session(fresh_database, artifacts, other, session_id)
    with pytest.raises(BadConfig, match=r"market='spot-1h': session .* ran on 'simulated'"):
        label_session(fresh_database, artifacts, exchange, session_id)
    with pytest.raises(BadConfig, match="session_id='nobody': no such session"):
        label_session(fresh_database, artifacts, feed, "nobody")
    assert shadows(fresh_database, session_id) == []


def test_a_session_without_candidates_has_nothing_to_label(
    fresh_database: Database, artifacts: ArtifactStore, feed: SimulatedMarket
) -> None:
    session_id = run(fresh_database, artifacts, feed=feed, days=0.001).session.session_id
    done = label_session(fresh_database, artifacts, feed, session_id)
    assert counts(done) == (0, 0, 0, 0, 0)


def test_sessions_are_unlabelled_from_their_end_until_their_last_label(
    fresh_database: Database, artifacts: ArtifactStore, feed: SimulatedMarket, session_id: str
) -> None:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        # One that is still running, and one made by hand.
        append_now(connection, Chain("running"), samples.session("running"))
        append_now(connection, Chain("manual"), samples.session("manual", mode="manual"))
        append_bulk(connection, "running", [samples.candidate(0, "running")])
        append_bulk(connection, "manual", [samples.candidate(0, "manual")])
        assert unlabelled_sessions(connection) == [session_id]
        label_session(fresh_database, artifacts, feed, session_id)
        assert unlabelled_sessions(connection) == []


@pytest.mark.parametrize("name", ["realised", "shadow"])
def test_only_a_shadow_may_say_that_it_was_not_filled(fresh_database: Database, name: str) -> None:
    """The database refuses what a record would refuse before."""
    trade = samples.candidate()
    outcome = samples.outcome(
        trade.uuid, kind="shadow", termination_reason=TerminationReason.NOT_FILLED
    )
    object.__setattr__(outcome, "kind", name)
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        append_bulk(connection, "s", [samples.session(), trade, samples.fill(trade.uuid)])
        if name == "shadow":
            assert append_bulk(connection, "shadow:s", [outcome]) == 1
        else:
            with pytest.raises(psycopg.errors.CheckViolation, match="not_filled"):
                append_bulk(connection, "s", [outcome])
