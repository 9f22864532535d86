"""People are told of everything that became visible, by every channel that hears, at least once."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from pydantic import SecretStr

from trade_pipeline.core.alerts import cursor, deliver
from trade_pipeline.core.alerts.alert import LONGEST_MESSAGE, Alert, join
from trade_pipeline.core.alerts.channels import channels_of
from trade_pipeline.core.alerts.deliver import deliver as tell
from trade_pipeline.core.alerts.read import read_alerts
from trade_pipeline.core.canary.deployments import begin_canary, rollback
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.incidents.incident import note
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.records import Reconciliation
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.registry import record_evaluation
from trade_pipeline.core.training.verdict import GateResult
from trade_pipeline_tests.core.alerts.conftest import Readers
from trade_pipeline_tests.core.canary.eligible import MARKET, store_decisions, store_model
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT
from trade_pipeline_tests.core.session import stored

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def halt(connection: psycopg.Connection, reason: str, action: str = "halt") -> None:
    connection.execute(
        "INSERT INTO trade.halts (account, action, reason, by_whom) VALUES ('a', %s, %s, 'me')",
        (action, reason),
    )


def became(database: Database, readers: Readers, *names: str, patient: bool = False) -> list[str]:
    done = tell(database, readers.channels(*names), patient=patient)
    assert done is not None
    return [one.became for one in sorted(done, key=lambda one: one.channel)]


def test_the_first_run_tells_nothing_old_and_the_next_ones_each_thing_once(
    fresh_database: Database, readers: Readers
) -> None:
    with fresh_database.connect(autocommit=True) as writer:
        halt(writer, "old")
        assert became(fresh_database, readers, "one") == ["begins"]
        assert became(fresh_database, readers, "one") == ["nothing"]
        halt(writer, "it burns")
        halt(writer, "it is out", "resume")
        assert became(fresh_database, readers, "one") == ["told"]
    [(title, body)] = readers.read("one")
    assert title == "trade_pipeline: 2 halts"
    assert body.index("Halt: account a\nentries are stopped: it burns (by me) (2") < body.index(
        "Resume: account a\nentries are allowed again: it is out (by me)"
    )
    assert became(fresh_database, readers, "one") == ["nothing"]
    assert readers.read("one") == []


def test_a_halt_that_becomes_visible_after_a_later_one_is_told(
    fresh_database: Database, readers: Readers
) -> None:
    became(fresh_database, readers, "one")
    with (
        fresh_database.connect() as slow,
        fresh_database.connect(autocommit=True) as quick,
    ):
        halt(slow, "the slow one")
        halt(quick, "the quick one")
        assert became(fresh_database, readers, "one") == ["told"]
        slow.commit()
    assert became(fresh_database, readers, "one") == ["told"]
    assert [("slow" in body, "quick" in body) for _, body in readers.read("one")] == [
        (False, True),
        (True, False),
    ]


def test_an_incident_is_told_when_it_begins_and_when_it_is_over(
    fresh_database: Database, readers: Readers
) -> None:
    with fresh_database.connect(autocommit=True) as writer:
        note(writer, "job old", "before anybody listened")
        became(fresh_database, readers, "one")
        note(writer, "market data of account a", "the newest event is 16 minutes old")
        assert became(fresh_database, readers, "one") == ["told"]
        note(writer, "market data of account a", "the newest event is 17 minutes old")
        assert became(fresh_database, readers, "one") == ["nothing"]
        note(writer, "market data of account a", None)
        note(writer, "job old", None)
        assert became(fresh_database, readers, "one") == ["told"]
    (title, body), (both, ends) = readers.read("one")
    assert title == "Market data of account a"
    assert body.startswith("the newest event is 16 minutes old (2")
    assert both == "trade_pipeline: 2 incidents"
    assert "Market data of account a: recovered\nover after 0 minutes; it was: the newest" in ends


def found(account: str, number: int) -> Reconciliation:
    return Reconciliation(
        account, 1, number, "balance_differs", number != 1, None, "PEPE", {"tokens": 5}
    )


def test_records_of_chains_that_commit_late_are_told_and_explained_findings_are_not(
    fresh_database: Database, readers: Readers
) -> None:
    became(fresh_database, readers, "one")
    with (
        Lease(fresh_database, "slow", holder="x", mode="paper"),
        Lease(fresh_database, "quick", holder="x", mode="paper"),
        fresh_database.connect() as slow,
        fresh_database.connect(autocommit=True) as quick,
    ):
        for number in range(2):
            append_now(slow, read_chain(slow, "chain s"), found("slow", number))
        for number in range(2):
            append_now(quick, read_chain(quick, "chain q"), found("quick", number))
        became(fresh_database, readers, "one")
        slow.commit()
        append_now(quick, read_chain(quick, "chain q"), found("quick", 2))
    became(fresh_database, readers, "one")
    assert [title for title, _ in readers.read("one")] == [
        "Not explained: balance differs, account quick",
        "Not explained: balance differs, account slow",
    ]


def test_what_is_not_explained_is_told_once_and_other_halts_of_its_author_are_told(
    fresh_database: Database, artifacts: ArtifactStore, readers: Readers
) -> None:
    store = Store(fresh_database, artifacts)
    paper.run(store, ACCOUNT, days=0.1)
    became(fresh_database, readers, "one")
    with fresh_database.connect(autocommit=True) as venue:
        # An order that no session sent.
        venue.execute(
            "INSERT INTO trade.paper_orders (client_order_id, account, instrument, leg, stake_usd, "
            "tokens, decision_price, submitted_at, status, changed_at) "
            "VALUES ('by-hand', %s, 'nothing', 'exit', 0, 5, 1, 0, 'open', 0)",
            (ACCOUNT,),
        )
        paper.run(store, ACCOUNT, days=0.15)
        halted = venue.execute("SELECT by_whom, reason FROM trade.halts").fetchall()
        assert halted == [("reconciliation", "unknown_order nothing by-hand")]
        assert became(fresh_database, readers, "one") == ["told"]
        [(title, body)] = readers.read("one")
        told = f"{title} {body}"
        assert told.count("Not explained: unknown order") == 1
        assert "entries stop until you resume" in told
        assert "Halt" not in told
        venue.execute(
            "INSERT INTO trade.halts (account, action, reason, by_whom) "
            "VALUES (%s, 'halt', 'something else', 'reconciliation')",
            (ACCOUNT,),
        )
        assert became(fresh_database, readers, "one") == ["told"]
    assert readers.read("one")[0][0] == f"Halt: account {ACCOUNT}"


def test_a_deaf_channel_holds_up_nobody_and_is_told_everything_later(
    fresh_database: Database, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = "deaf", "hears"
    became(fresh_database, readers, *both)
    readers.deaf.add("deaf")
    with fresh_database.connect(autocommit=True) as writer:
        halt(writer, "first")
        assert became(fresh_database, readers, *both) == ["failed", "told"]
        halt(writer, "second")
        # It is not asked again at once, unless somebody wants it.
        assert became(fresh_database, readers, *both, patient=True) == ["retries_later", "told"]
        monkeypatch.setattr(cursor, "RETRY", timedelta(0))
        assert became(fresh_database, readers, *both) == ["failed", "nothing"]
        readers.deaf.clear()
        assert became(fresh_database, readers, *both, patient=True) == ["told", "nothing"]
    [(title, body)] = readers.read("deaf")
    assert title == "trade_pipeline: 2 halts"
    assert "first" in body
    assert "second" in body
    assert len(readers.read("hears")) == 2


def test_a_process_that_dies_between_sending_and_noting_makes_it_be_sent_again(
    fresh_database: Database, readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    became(fresh_database, readers, "one")
    with fresh_database.connect(autocommit=True) as writer:
        halt(writer, "once or twice")
    with monkeypatch.context() as dying:
        dying.setattr(deliver, "told", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            became(fresh_database, readers, "one")
    assert became(fresh_database, readers, "one") == ["told"]
    assert len(readers.read("one")) == 2


def test_only_one_process_tells_people(fresh_database: Database, readers: Readers) -> None:
    with (
        fresh_database.connect(autocommit=True) as other,
        cursor.only_teller(other) as alone,
    ):
        assert alone
        assert tell(fresh_database, readers.channels("one")) is None
    assert became(fresh_database, readers, "one") == ["begins"]


def test_every_entry_and_exit_of_a_paper_session_is_told_and_none_of_a_backtest(
    server: EmbeddedPostgres, fresh_database: Database, artifacts: ArtifactStore, readers: Readers
) -> None:
    store = Store(fresh_database, artifacts)
    became(fresh_database, readers, "one")
    stored.run(fresh_database, artifacts, days=paper.DAYS)
    assert became(fresh_database, readers, "one") == ["nothing"]
    paper.run(store, ACCOUNT)
    [channel] = readers.channels("one")
    with fresh_database.connect(autocommit=True) as connection:
        alerts = read_alerts(connection, cursor.waiting(connection, channel.key))
        sold = connection.execute(
            "SELECT d.instrument, o.realized_pnl_percent, o.pnl_usd, termination_reason "
            "FROM trade.outcomes o JOIN trade.live_decisions d USING (uuid) "
            "WHERE o.kind = 'realised'"
        ).fetchall()
        bought = connection.execute(
            "SELECT d.instrument, e.value_usd FROM trade.executions e "
            "JOIN trade.live_decisions d USING (uuid) WHERE leg = 'entry' AND event = 'filled'"
        ).fetchall()
    assert len(sold) > 3
    exits = [one for one in alerts if one.kind == "exit"]
    assert Counter(one.title.partition(": ")[0].split()[-1] for one in exits) == Counter(
        name for name, _, _, _ in sold
    )
    for name, percent, usd, reason in sold:
        assert any(
            one.title.endswith(f"{name}: {percent:+.2f} %")
            and f"{usd:+,.2f} USD" in one.body
            and f": {reason}: " in one.body
            for one in exits
        )
    entries = [one for one in alerts if one.kind == "entry"]
    assert len(entries) == len(bought)
    for name, usd in bought:
        assert any(
            one.title == f"Bought {name}"
            and f"for {usd:,.2f} USD" in one.body
            and one.body.startswith(f"account {ACCOUNT} (paper): ")
            for one in entries
        )
    assert became(fresh_database, readers, "one") == ["told"]
    [(title, body)] = readers.read("one")
    assert title == f"trade_pipeline: {len(exits)} exits, {len(entries)} entries"
    assert len(body) < LONGEST_MESSAGE + 200


def test_models_that_gates_refuse_and_those_that_are_taken_back_are_told(
    fresh_database: Database, artifacts: ArtifactStore, readers: Readers
) -> None:
    scope = Scope(MARKET, "pools", "paper")
    with fresh_database.connect(autocommit=True) as connection:
        store_decisions(connection)
        good = store_model(connection, artifacts, 1)
        bad = store_model(connection, artifacts, 2, eligible=False)
        became(fresh_database, readers, "one")
        gates = connection.execute(
            "SELECT name FROM trade.required_verdicts WHERE kind = 'gate' ORDER BY 1"
        ).fetchall()
        said = [
            GateResult(gate, gate != "no_harm", () if gate != "no_harm" else ("-0.02",), {})
            for (gate,) in gates
        ]
        record_evaluation(connection, bad, said, NOW)
        begin_canary(connection, scope, good, evidence={}, by="me", reason="begins")
        assert became(fresh_database, readers, "one") == ["told"]
        [(title, body)] = readers.read("one")
        assert title.startswith("Model model2-")
        assert body.startswith(f"{MARKET}: no_harm: -0.02 (")
        rollback(connection, scope, by="me", reason="it loses")
        became(fresh_database, readers, "one")
    [(title, body)] = readers.read("one")
    assert title.startswith("Model model1-")
    assert title.endswith(" was taken back")
    assert body.startswith(f"canary of {scope}: it loses (by me)")


def test_a_long_message_counts_what_is_left_out_and_begins_with_what_is_urgent() -> None:
    many = [Alert("entry", f"Bought {n}", "x" * 100, NOW) for n in range(100)]
    urgent = Alert("halt", "Halt: account a", "y" * 9_000, NOW + timedelta(days=1))
    title, body = join([*many, urgent])
    assert title == "trade_pipeline: 1 halt, 100 entries"
    # However long it is.
    assert body.startswith("Halt: account a\nyyy")
    assert body.endswith("and 100 entries more: see `trade-pipeline status`")
    _, body = join(many)
    assert len(body) <= LONGEST_MESSAGE + 100
    assert body.count("Bought") + int(body.rpartition("and ")[2].split()[0]) == 100


def test_urls_are_read_one_by_one_and_a_wrong_one_is_named_by_its_number_alone() -> None:
    given = "json://h/a?x=1,2, tgram://123456789:abcdefghijklmnopqrstuvwxyzABCDEFGHI/1\njson://h/b,"
    channels = channels_of(SecretStr(given))
    assert [one.label for one in channels] == [
        "channel 1 (JSON)",
        "channel 2 (Telegram)",
        "channel 3 (JSON)",
    ]
    assert len({one.key for one in channels}) == 3
    assert [one.key for one in channels_of(SecretStr("json://h/b"))] == [channels[2].key]
    assert channels_of(None) == channels_of(SecretStr(" , ")) == []
    for wrong in ("json://h/a tgram://hunter2", "hunter2", "json://h/a nothing://hunter2"):
        with pytest.raises(BadConfig, match=r"URL [12] is none") as refused:
            channels_of(SecretStr(wrong))
        assert "hunter2" not in str(refused.value)
    assert "abcdefghij" not in repr(channels)


def test_nothing_of_a_url_is_logged_even_where_everything_is(
    readers: Readers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("apprise").setLevel(logging.NOTSET)
    readers.deaf.add("hunter2")
    [refused, gone] = channels_of(
        SecretStr(f"{readers.url('hunter2')} json://hunter2:hunter2@127.0.0.1:9/hunter2")
    )
    assert not refused.send("a", "b")
    assert not gone.send("a", "b")
    assert "hunter2" not in caplog.text
