"""One holder of an account's lease, whatever happens to its process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest
from report.record import counted

from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.live import lease as lease_module
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.lease import Lease, LeaseHeld, LeaseLost, holder_is_connected
from trade_pipeline.core.live.records import LiveDecision, OrderIntent
from trade_pipeline.core.records import Record
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import KILLS, create_database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT, Trades, trades_of

PATIENCE = 60.0
NEVER = 1_000.0
NOW = micros(samples.START)


def lease(database: Database, account: str, holder: str = "one", **changes: float) -> Lease:
    given = {"seconds": 30.0, "heartbeat_seconds": NEVER} | changes
    return Lease(database, account, holder=holder, mode="paper", **given)


def expire(database: Database, account: str) -> None:
    with database.connect(autocommit=True) as connection:
        connection.execute(
            "UPDATE trade.leases SET expires_at = clock_timestamp() WHERE account = %s", (account,)
        )


def intent_records(account: str, epoch: int) -> list[Record]:
    trade = samples.candidate(epoch, account)
    made = LiveDecision(account, epoch, trade.instrument, epoch, trade.uuid)
    intent = OrderIntent(
        f"{account}-{epoch}", trade.uuid, account, epoch, "entry", 0, trade.instrument, 10.0, None,
        1.0, moment_of(0),
    )  # fmt: skip
    return [samples.session(account), made, trade, intent]


def test_a_second_session_is_refused_and_a_released_lease_is_free_with_the_next_epoch(
    database: Database,
) -> None:
    with lease(database, "two") as first:
        with pytest.raises(LeaseHeld, match="one holds its lease"), lease(database, "two", "other"):
            pass
        with lease(database, "another account") as elsewhere:
            assert (first.epoch, elsewhere.epoch) == (1, 1)
    with lease(database, "two", "other") as second:
        assert second.epoch == 2


def test_a_holder_whose_connection_is_gone_is_replaced_before_its_lease_expires(
    database: Database,
) -> None:
    with (
        database.connect("trade_reader", autocommit=True) as reader,
        lease(database, "dead") as first,
    ):
        assert holder_is_connected(reader, "dead")
        assert first._connection is not None
        first._connection.close()
        while holder_is_connected(reader, "dead"):
            time.sleep(0.01)
        with lease(database, "dead", "next") as second:
            assert second.epoch == 2
            first.renew()
            with pytest.raises(LeaseLost, match="has ended"):
                first.require()


def test_a_holder_is_seen_at_work_until_its_connection_has_been_silent(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connect(autocommit=True) as watcher, lease(database, "at work") as held:
        held.renew()
        assert lease_module.holder_is_active(watcher, "at work")
        assert not lease_module.holder_is_active(watcher, "nobody")
        monkeypatch.setattr(lease_module, "_ACTIVE_SECONDS", 0.05)
        time.sleep(0.1)
        assert not lease_module.holder_is_active(watcher, "at work")


def test_nothing_is_sent_after_the_deadline_that_the_holder_itself_measures(
    database: Database,
) -> None:
    with lease(database, "late", seconds=0.2) as held:
        held.require()
        time.sleep(0.25)
        with pytest.raises(LeaseLost, match="not renewed within"):
            held.require()


def test_the_database_refuses_everything_of_a_session_that_was_taken_over(
    database: Database,
) -> None:
    with (
        lease(database, "old") as first,
        database.connect(autocommit=True) as connection,
    ):
        journal = LiveJournal(connection, "old", "old", first.epoch)
        for record in intent_records("old", first.epoch):
            journal.append(record)
        expire(database, "old")
        with lease(database, "old", "next") as second:
            # The successor has ended the database session that held the lock.
            first.renew()
            assert first.lost is not None
            for write in (journal.commit, LiveJournal(connection, "o", "old", first.epoch).finish):
                with pytest.raises(LeaseLost, match="epoch 1 does not hold the lease"):
                    write(NOW, 0, {})
            for table in ("sessions", "candidates", "order_intents", "live_decisions"):
                row = connection.execute(
                    f"SELECT count(*) FROM trade.{table} WHERE chain_id = 'old'".encode()
                ).fetchone()
                assert row == (0,), table
            own = LiveJournal(connection, "old-2", "old", second.epoch)
            for record in intent_records("old", second.epoch):
                own.append(record)
            assert [one.epoch for one in own.commit(NOW, 0, {})] == [2]
            # At its end nothing waits to be written, and it has read on.
            own.finish(NOW, 7, {})
            reached = connection.execute(
                "SELECT reached FROM trade.live_progress WHERE account = 'old'"
            ).fetchone()
            assert reached == (7,)


def test_each_check_of_the_epoch_stands_alone(database: Database) -> None:
    with (
        lease(database, "checked") as held,
        database.connect(autocommit=True) as connection,
    ):
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (samples.START, samples.END))
        expire(database, "checked")
        refused = pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState)
        with refused:
            # Intents and decisions, whoever writes them and however.
            append_now(connection, Chain("checked"), *intent_records("checked", held.epoch))
        with refused:
            # Records that are no orders.
            append_now(
                connection, Chain("checked"), samples.session("checked"),
                also=("trade.move_progress(%s, %s, 0, '{}')", ("checked", held.epoch)),
            )  # fmt: skip


def test_an_expired_lease_allows_no_intent_even_when_nobody_took_it(database: Database) -> None:
    with lease(database, "expired") as held, database.connect(autocommit=True) as connection:
        journal = LiveJournal(connection, "expired", "expired", held.epoch)
        for record in intent_records("expired", held.epoch):
            journal.append(record)
        expire(database, "expired")
        with pytest.raises(LeaseLost):
            journal.commit(NOW, 0, {})


def test_a_take_over_waits_for_an_intent_that_is_being_committed(database: Database) -> None:
    with (
        lease(database, "busy") as held,
        database.connect() as sending,
        database.connect(autocommit=True) as taking,
    ):
        sending.execute("SELECT trade.require_lease('busy', %s)", (held.epoch,))
        taking.execute("SET lock_timeout = '100ms'")
        take = "SELECT trade.take_lease('busy', 'next', 'paper', 10, true)"
        with pytest.raises(psycopg.errors.LockNotAvailable):
            taking.execute(take)
        # A heartbeat does not wait for it.
        held.renew()
        assert held.lost is None
        sending.commit()
        assert taking.execute(take).fetchone() == (2,)


def test_a_paper_account_never_becomes_a_live_one(database: Database) -> None:
    with lease(database, "paper only"):
        pass
    with (
        pytest.raises(psycopg.errors.CheckViolation, match="it is a paper account"),
        Lease(database, "paper only", holder="x", mode="live"),
    ):
        pass


# That the paper session sends.
ORDERS = 17


@pytest.mark.reliability
@pytest.mark.parametrize("after", range(1, KILLS))
def test_a_process_that_sleeps_between_commit_and_sending_doubles_nothing_when_it_wakes(
    server: EmbeddedPostgres, undisturbed: Trades, after: int
) -> None:
    with create_database(server) as database:
        store = Store(database, ArtifactStore(str(server.folder.parent / "artifacts")))
        with database.connect() as connection:
            name = connection.info.dbname
        command = [sys.executable, "-m", paper.__name__, str(server.folder), name, ACCOUNT]
        # Each order in turn, and again from the first one.
        sending = 1 + (after - 1) % ORDERS
        sleeper = subprocess.Popen(
            [*command, str(sending), "stop"],
            cwd=Path(__file__).resolve().parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert sleeper.stdout is not None
            while "stopping" not in (line := sleeper.stdout.readline()):
                assert line, sleeper.communicate()[1]
            held, end = 0, time.monotonic() + PATIENCE
            while True:
                # It sleeps with its lock; only the row's expiry lets the next one in.
                try:
                    done = paper.run(store, ACCOUNT)
                    break
                except LeaseHeld:
                    held += 1
                    assert time.monotonic() < end
                    time.sleep(0.05)
            assert held > 0
            assert done.epoch == 2
            assert "sent_again" in [finding.kind for finding in done.findings]
            before = trades_of(store, ACCOUNT)
            os.kill(sleeper.pid, signal.SIGCONT)
            _, errors = sleeper.communicate(timeout=PATIENCE)
            assert sleeper.returncode != 0
            assert "LeaseLost" in errors
        finally:
            sleeper.kill()
            sleeper.wait()
        assert before == trades_of(store, ACCOUNT) == undisturbed
        with database.connect("trade_reader") as connection:
            strays = connection.execute(
                "SELECT client_order_id FROM trade.paper_orders "
                "WHERE client_order_id NOT IN (SELECT client_order_id FROM trade.order_intents)"
            ).fetchall()
        assert strays == []
        counted("live.sleepers_harmless", 1, 1)
