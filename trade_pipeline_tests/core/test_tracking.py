"""Trade tracking from Python, as people use it who keep their money in it."""

from __future__ import annotations

import math
import os
import signal
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trade_pipeline import (
    ExecutionRecord,
    ResearchDocument,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
    TradeTrackingSystem,
)
from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import (
    InvalidConfidence,
    InvalidRecord,
    OutcomeBeforeExecution,
    RecordConflict,
    UnknownTrade,
)
from trade_pipeline.core.ids import micros, uuid7
from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.records import OrderEvent, Record
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import START, assert_whole_chain, count_rows


@pytest.fixture
def store(fresh_database: Database, artifacts: ArtifactStore) -> Store:
    return Store(fresh_database, artifacts)


@pytest.fixture
def tracker(store: Store) -> Iterator[TradeTrackingSystem]:
    with TradeTrackingSystem(store=store) as tracker:
        yield tracker


@pytest.fixture
def reader(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_reader", autocommit=True) as connection:
        yield connection


def new_trade(tracker: TradeTrackingSystem, **changes: Any) -> TradeCandidate:
    given: dict[str, Any] = {
        "instrument": "PEPE/USDT",
        "model_version": "v1.2.3",
        "confidence": 0.75,
        "params_ptr": "params_001",
        "created_by": "high_vol_strategy",
    }
    return tracker.create_candidate(**(given | changes))


def store_record(tracker: TradeTrackingSystem, record: Record) -> None:
    stores: dict[type, Callable[[Any], None]] = {
        ResearchDocument: tracker.store_research_document,
        ExecutionRecord: tracker.store_execution_record,
        TradeOutcome: tracker.store_outcome,
    }
    stores[type(record)](record)


def assert_same(found: Any, record: Record) -> None:
    """What was read back is a record to the last bit of each number."""
    assert canonical_bytes(found) == canonical_bytes(orjson.loads(canonical_bytes(record)))


def test_a_trade_is_tracked_from_research_to_outcome(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    candidate = tracker.create_candidate(
        instrument="PEPE/USDT",
        model_version="v1.2.3",
        confidence=0.75,
        params_ptr="params_001",
        created_by="high_vol_strategy",
    )
    research = ResearchDocument(
        uuid=candidate.uuid,
        contract_address="0x123...",
        initial_market_cap=1000000.0,
        rugpull_heuristic_scores={"risk": 0.3},
        social_sentiment_scores={"twitter": 0.65},
        trade_rationale="High social momentum + low risk",
    )
    tracker.store_research_document(research)
    execution = ExecutionRecord(
        uuid=candidate.uuid,
        order_id="order_12345",
        entry_price=0.001,
        size=1000.0,
        slippage=0.002,
        latency_metrics={"latency_ms": 45},
    )
    tracker.store_execution_record(execution)
    outcome = TradeOutcome(
        uuid=candidate.uuid,
        realized_pnl_percent=15.5,
        time_in_market_seconds=3600,
        termination_reason=TerminationReason.PROFIT_TARGET,
    )
    tracker.store_outcome(outcome)

    found = tracker.get_complete_trade_record(candidate.uuid)
    assert found == tracker.get_complete_trade_record(str(candidate.uuid))
    assert found["uuid"] == str(candidate.uuid)
    assert_same(found["candidate"], candidate)
    assert_same(found["research"], research)
    assert len(found["executions"]) == len(found["outcomes"]) == 1
    assert_same(found["executions"][0], execution)
    assert_same(found["outcomes"][0], outcome)

    metrics = tracker.get_performance_metrics()
    assert f"Total trades: {metrics['total_trades']}" == "Total trades: 1"
    assert f"Win rate: {metrics['win_rate'] * 100:.1f}%" == "Win rate: 100.0%"
    assert f"Average return: {metrics['avg_return_pct']:.2f}%" == "Average return: 15.50%"
    assert assert_whole_chain(reader, tracker.session_id) == 5


def test_a_folder_of_its_own_still_has_the_trade_when_it_is_opened_again(tmp_path: Path) -> None:
    with TradeTrackingSystem(db_path=tmp_path / "trades.db") as tracker:
        candidate = tracker.create_candidate("BTC/USDT", "v1.0", 0.8, "params", "strategy")
        tracker.store_execution_record(samples.fill(candidate.uuid))
        before = tracker.get_complete_trade_record(candidate.uuid)
    with TradeTrackingSystem(db_path=str(tmp_path / "trades.db")) as tracker:
        assert tracker.get_complete_trade_record(candidate.uuid) == before
        tracker.store_outcome(samples.outcome(candidate.uuid))
        assert tracker.get_performance_metrics()["total_trades"] == 1


def test_metrics_of_nothing_are_no_figures_and_can_be_printed(
    tracker: TradeTrackingSystem,
) -> None:
    for _ in range(2):
        metrics = tracker.get_performance_metrics()
        assert metrics["total_trades"] == 0
        for name in ("win_rate", "avg_return_pct", "median_return_pct", "best_return_pct",
                     "worst_return_pct", "avg_hours_in_market"):  # fmt: skip
            assert math.isnan(metrics[name])
        assert f"Win rate: {metrics['win_rate'] * 100:.1f}%" == "Win rate: nan%"
        assert f"Average return: {metrics['avg_return_pct']:.2f}%" == "Average return: nan%"
        assert metrics["by_reason"] == []
        new_trade(tracker)  # an open trade is no closed one


def test_candidates_have_uuids_in_the_order_of_their_decisions(store: Store) -> None:
    clock = MarketClock(micros(START))
    with TradeTrackingSystem(store=store, clock=clock) as tracker:
        made = []
        for _ in range(5):
            clock.advance(clock.micros() + 1000)
            made.append(new_trade(tracker))
    assert made == sorted(made, key=lambda c: c.uuid)
    assert [c.decision_no for c in made] == [0, 1, 2, 3, 4]
    assert made[0].decided_at == START + timedelta(milliseconds=1)
    assert made[0].uuid.version == 7


def test_trades_of_any_month_are_stored(store: Store, reader: psycopg.Connection) -> None:
    clock = MarketClock(micros(datetime(2019, 1, 31, 23, 59, 59, 999_000, tzinfo=UTC)))
    with TradeTrackingSystem(store=store, clock=clock) as tracker:
        for days in (0, 1, 28, 200, 900, 2500):
            clock.advance(micros(datetime(2019, 1, 31, tzinfo=UTC) + timedelta(days=days)))
            uuid = new_trade(tracker).uuid
            for record in (samples.research(uuid), samples.fill(uuid), samples.outcome(uuid)):
                store_record(tracker, record)
        assert tracker.get_performance_metrics()["total_trades"] == 6
        assert assert_whole_chain(reader, tracker.session_id) == 25


def complete_trade(tracker: TradeTrackingSystem) -> list[Record]:
    """A trade with a record of every kind (the candidate first), all stored."""
    candidate = new_trade(tracker)
    uuid = candidate.uuid
    closed = candidate.decided_at + timedelta(hours=1)
    records: list[Record] = [
        samples.research(uuid, facts={"age": 3, "name": "Pepe"}),
        samples.fill(uuid, occurred_at=candidate.decided_at, costs_usd={"gas": 0.5}),
        samples.sale(uuid, occurred_at=closed, note="target"),
        samples.outcome(uuid, closed_at=closed, pnl_usd=1.5),
        samples.outcome(uuid, kind="shadow", realized_pnl_percent=-3.0),
    ]
    for record in records:
        store_record(tracker, record)
    return [candidate, *records]


def test_the_same_record_twice_is_no_error_and_no_second_row(
    tracker: TradeTrackingSystem, store: Store, reader: psycopg.Connection
) -> None:
    records = complete_trade(tracker)[1:]
    before = count_rows(reader)
    for record in records:
        store_record(tracker, record)
    with TradeTrackingSystem(store=store) as another:
        for record in records:
            store_record(another, record)
    assert count_rows(reader) == before
    new_trade(tracker)
    assert assert_whole_chain(reader, tracker.session_id) == 8


def test_whole_numbers_written_differently_are_the_same_record(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    uuid = new_trade(tracker).uuid
    for size in (1000, 1000.0, np.float64(1000)):
        tracker.store_execution_record(samples.fill(uuid, size=size))
    assert count_rows(reader)["executions"] == 1


CONFLICTS: list[tuple[int, dict[str, Any], str]] = [
    (1, {"trade_rationale": "hindsight"}, "trade_rationale"),
    (1, {"initial_market_cap": None}, "initial_market_cap"),
    (1, {"facts": {"age": 4, "name": "Pepe"}}, "facts"),
    (1, {"price_usd": 1.0, "holders": 3}, "holders, price_usd"),
    (2, {"entry_price": 0.0010000000000000002}, "entry_price"),
    (2, {"costs_usd": {"gas": 0.25}}, "costs_usd"),
    (3, {"note": "stop"}, "note"),
    (3, {"leg": "entry", "exit_price": None, "entry_price": 1.0}, "entry_price, exit_price, leg"),
    (4, {"realized_pnl_percent": 155.0}, "realized_pnl_percent"),
    (4, {"termination_reason": TerminationReason.MANUAL}, "termination_reason"),
    (5, {"written_off": True}, "written_off"),
]


def test_other_content_under_a_stored_key_is_a_conflict_that_names_the_field(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    records = complete_trade(tracker)
    before = count_rows(reader)
    for place, changes, named in CONFLICTS:
        record: Any = records[place]
        with pytest.raises(RecordConflict) as refused:
            store_record(tracker, replace(record, **changes))
        assert f"(field {named}" in str(refused.value)
        assert str(record.uuid) in str(refused.value)
        assert refused.value.table == record.TABLE
        assert count_rows(reader) == before
        store_record(tracker, record)
    new_trade(tracker)
    assert assert_whole_chain(reader, tracker.session_id) == 8


UNKNOWN: dict[str, Callable[[], UUID]] = {
    "of this moment": lambda: uuid7(micros(datetime.now(UTC)), os.urandom(10)),
    "of a month without partitions": lambda: uuid7(
        micros(datetime(2031, 5, 1, tzinfo=UTC)), bytes(10)
    ),
    "after the last year": lambda: uuid7(((1 << 48) - 1) * 1000, bytes(10)),
    "of another version": uuid4,
    "of nothing": lambda: UUID(int=0),
}


@pytest.mark.parametrize("stored_before", [False, True])
def test_records_of_an_unknown_trade_are_refused_whatever_its_uuid(
    tracker: TradeTrackingSystem, reader: psycopg.Connection, stored_before: bool
) -> None:
    if stored_before:
        complete_trade(tracker)
    before = count_rows(reader)
    partitions = reader.execute("SELECT count(*) FROM pg_inherits").fetchone()
    for uuid in (make() for make in UNKNOWN.values()):
        for record in (
            samples.research(uuid),
            samples.fill(uuid),
            samples.sale(uuid, event=OrderEvent.REJECTED, exit_price=None),
            samples.outcome(uuid),
            samples.outcome(uuid, kind="shadow"),
        ):
            with pytest.raises(UnknownTrade, match=str(uuid)):
                store_record(tracker, record)
        with pytest.raises(UnknownTrade, match=str(uuid)):
            tracker.get_complete_trade_record(uuid)
    assert count_rows(reader) == before
    # Nor did a mistaken UUID make partitions of its own.
    assert reader.execute("SELECT count(*) FROM pg_inherits").fetchone() == partitions
    complete_trade(tracker)


def test_a_text_that_is_no_uuid_is_said_to_be_none(shared: TradeTrackingSystem) -> None:
    for text in ("", "abc", "019ca960-bc53-7846-85b4", "' OR 1=1 --"):
        with pytest.raises(InvalidRecord, match="uuid="):
            shared.get_complete_trade_record(text)


def test_an_outcome_needs_a_fill_that_is_stored(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    uuid = new_trade(tracker).uuid
    for event in set(OrderEvent) - {OrderEvent.FILLED, OrderEvent.PARTLY_FILLED}:
        tracker.store_execution_record(samples.fill(uuid, event=event))
    before = count_rows(reader)
    with pytest.raises(OutcomeBeforeExecution, match=f"{uuid}.*no fill is stored"):
        tracker.store_outcome(samples.outcome(uuid))
    assert count_rows(reader) == before
    tracker.store_outcome(samples.outcome(uuid, kind="shadow"))
    tracker.store_execution_record(samples.fill(uuid, event=OrderEvent.PARTLY_FILLED))
    tracker.store_outcome(samples.outcome(uuid))
    assert tracker.get_performance_metrics()["total_trades"] == 1


def test_a_trade_cannot_be_closed_before_its_first_fill(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    uuid = new_trade(tracker).uuid
    tracker.store_execution_record(samples.fill(uuid, order_id="late", occurred_at=START))
    before = count_rows(reader)
    early = START - timedelta(microseconds=1)
    with pytest.raises(OutcomeBeforeExecution, match=r"closed_at=2026-03-01T11:59:59.999999\+00"):
        tracker.store_outcome(samples.outcome(uuid, closed_at=early))
    assert count_rows(reader) == before
    tracker.store_outcome(samples.outcome(uuid, closed_at=START))


def test_the_newest_revision_of_an_outcome_gives_the_figures(
    tracker: TradeTrackingSystem,
) -> None:
    uuid = new_trade(tracker).uuid
    tracker.store_execution_record(samples.fill(uuid))
    first = samples.outcome(uuid, pnl_usd=15.5)
    second = replace(
        first, revision=1, realized_pnl_percent=-4.0, pnl_usd=-4.0,
        termination_reason=TerminationReason.STOP_LOSS,
    )  # fmt: skip
    tracker.store_outcome(first)
    tracker.store_outcome(second)
    tracker.store_outcome(samples.outcome(uuid, kind="shadow", realized_pnl_percent=99.0))
    metrics = tracker.get_performance_metrics()
    assert metrics["total_trades"] == 1
    assert metrics["win_rate"] == 0.0
    assert metrics["avg_return_pct"] == -4.0
    assert metrics["total_pnl_usd"] == -4.0
    assert [r["reason"] for r in metrics["by_reason"]] == ["stop_loss"]
    kept = tracker.get_complete_trade_record(uuid)["outcomes"]
    assert [(o["kind"], o["revision"]) for o in kept] == [
        ("realised", 0), ("realised", 1), ("shadow", 0),
    ]  # fmt: skip


def test_a_new_alias_names_a_document_that_says_only_the_alias(
    tracker: TradeTrackingSystem, store: Store
) -> None:
    one, two = new_trade(tracker), new_trade(tracker)
    assert one.params_ptr == two.params_ptr == address_of(b'{"alias":"params_001"}')
    assert store.artifacts.get(one.params_ptr) == b'{"alias":"params_001"}'
    assert new_trade(tracker, params_ptr=one.params_ptr).params_ptr == one.params_ptr
    assert new_trade(tracker, params_ptr="params_002").params_ptr != one.params_ptr


def test_settings_that_are_stored_first_are_what_their_alias_names(
    tracker: TradeTrackingSystem, store: Store
) -> None:
    settings = {"stop_loss": 0.15, "take_profit": 0.3}
    address = tracker.store_params(settings, alias="params_001")
    assert tracker.store_params(dict(reversed(settings.items())), alias="params_001") == address
    assert new_trade(tracker).params_ptr == address
    assert store.artifacts.get(address) == b'{"stop_loss":0.15,"take_profit":0.3}'
    with TradeTrackingSystem(store=store) as another:
        assert new_trade(another).params_ptr == address


def test_an_alias_is_never_given_other_settings(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    new_trade(tracker)
    address = tracker.store_params({"stop_loss": 0.15}, alias="mine")
    before = count_rows(reader)
    for alias in ("params_001", "mine"):
        with pytest.raises(RecordConflict, match=alias):
            tracker.store_params({"stop_loss": 0.2}, alias=alias)
    assert count_rows(reader) == before
    assert new_trade(tracker, params_ptr="mine").params_ptr == address


def test_a_refused_candidate_stores_nothing_at_all(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    before = count_rows(reader)
    stranger = uuid7(micros(START), bytes(10))
    refused: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"confidence": 1.5}, InvalidConfidence),
        ({"confidence": math.nan}, InvalidConfidence),
        ({"instrument": ""}, InvalidRecord),
        ({"instrument": "half \ud83d"}, InvalidRecord),
        ({"params_ptr": ""}, InvalidRecord),
        ({"stake_usd": math.inf}, InvalidRecord),
        ({"decision": "buy"}, InvalidRecord),
        ({"research": lambda uuid: samples.research(uuid, price_usd=0.0)}, InvalidRecord),
        ({"research": lambda _: samples.research(stranger)}, InvalidRecord),
    ]
    for changes, expected in refused:
        with pytest.raises(expected):
            new_trade(tracker, **changes)
    with pytest.raises(InvalidRecord, match="experiment="):
        tracker.create_experiment("")
    assert count_rows(reader) == before
    assert new_trade(tracker).decision_no == 0


def test_research_of_another_trade_is_never_taken_for_that_of_a_new_one(
    tracker: TradeTrackingSystem, reader: psycopg.Connection
) -> None:
    other = samples.research(new_trade(tracker).uuid)
    tracker.store_research_document(other)
    before = count_rows(reader)
    with pytest.raises(InvalidRecord, match="uuid="):
        new_trade(tracker, research=lambda _: other)
    assert count_rows(reader) == before


def test_a_decision_and_its_research_are_stored_together(tracker: TradeTrackingSystem) -> None:
    made = new_trade(tracker, research=samples.research, decision="skip", reason="too risky")
    found = tracker.get_complete_trade_record(made.uuid)
    assert_same(found["research"], samples.research(made.uuid))
    assert (found["candidate"]["decision"], found["candidate"]["reason"]) == ("skip", "too risky")


def test_an_experiment_holds_the_sessions_that_joined_it(
    tracker: TradeTrackingSystem, store: Store, reader: psycopg.Connection
) -> None:
    tracker.create_experiment("sweep", "stops")
    new_trade(tracker)
    tracker.create_experiment("sweep")
    with TradeTrackingSystem(store=store) as another:
        another.create_experiment("sweep")
        found = {tracker.session_id, another.session_id}
    rows = reader.execute("SELECT session_id FROM trade.experiment_sessions").fetchall()
    assert {session for (session,) in rows} == found
    assert len(rows) == 2
    assert assert_whole_chain(reader, "experiment:sweep") == 3


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    price=st.floats(min_value=5e-324, max_value=1e300),
    number=st.floats(allow_nan=False, allow_infinity=False),
    text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
)
def test_every_number_and_text_survives_bit_for_bit(
    shared: TradeTrackingSystem, price: float, number: float, text: str
) -> None:
    check_survival(shared, price, number, text)


@pytest.fixture(scope="module")
def shared(database: Database, artifacts: ArtifactStore) -> Iterator[TradeTrackingSystem]:
    with TradeTrackingSystem(store=Store(database, artifacts)) as tracker:
        yield tracker


@pytest.mark.parametrize("number", [1e-7, 0.1 + 0.2, 1e300, 5e-324, -0.0, 1e16 + 2, 2**53])
def test_awkward_numbers_survive_bit_for_bit(shared: TradeTrackingSystem, number: float) -> None:
    check_survival(shared, abs(number) or 1.0, number, "plain")


AWKWARD = [
    'it\'s "quoted"',
    "\\u0000 \\",
    "%s %(x)s {0}",
    "'; DROP TABLE trade.outcomes; --",
    "\U0001f438 \u4e2d \u00e9 e\u0301",
    "\u202e\ufeff\t\r\n",
    "null",
]


@pytest.mark.parametrize("text", AWKWARD)
def test_awkward_texts_survive_letter_for_letter(shared: TradeTrackingSystem, text: str) -> None:
    check_survival(shared, 1.0, 1.0, text)


def check_survival(tracker: TradeTrackingSystem, price: float, number: float, text: str) -> None:
    made = new_trade(tracker, instrument=text, created_by=text, reason=text)
    uuid = made.uuid
    research = samples.research(
        uuid, contract_address=text, trade_rationale=text, facts={text: text, "n": number}
    )
    bought = samples.fill(uuid, order_id=text, entry_price=price, slippage=number, note=text)
    closed = samples.outcome(uuid, realized_pnl_percent=number, pnl_usd=number)
    records: list[Record] = [research, bought, closed]
    for record in records:
        store_record(tracker, record)
    found = tracker.get_complete_trade_record(uuid)
    assert_same(found["candidate"], made)
    assert_same(found["research"], research)
    assert_same(found["executions"][0], bought)
    assert_same(found["outcomes"][0], closed)
    assert found["candidate"]["instrument"] == found["research"]["facts"][text] == text
    assert repr(found["outcomes"][0]["pnl_usd"]) == repr(number)
    # The columns beside the content say the same, and figures can be drawn from them.
    with tracker.store.database.connect("trade_reader") as reader:
        assert reader.execute(
            "SELECT e.price, e.content::jsonb ->> 'note', o.pnl_usd FROM trade.executions e "
            "JOIN trade.outcomes o USING (uuid) WHERE uuid = %s",
            (uuid,),
        ).fetchone() == (price, text, number)


def test_numbers_out_of_a_frame_can_be_stored(tracker: TradeTrackingSystem) -> None:
    uuid = new_trade(tracker, confidence=np.float64(0.7), stake_usd=np.float64(20)).uuid
    tracker.store_execution_record(samples.fill(uuid, entry_price=np.float64(1e-7)))
    found = tracker.get_complete_trade_record(uuid)
    assert found["candidate"]["confidence"] == 0.7
    assert found["executions"][0]["entry_price"] == 1e-7


def test_trackers_and_threads_at_once_keep_every_chain_whole(
    store: Store, reader: psycopg.Connection
) -> None:
    trackers = [TradeTrackingSystem(store=store) for _ in range(2)]
    threads_each, trades = 2, 6
    failures: list[Exception] = []

    def trade(tracker: TradeTrackingSystem) -> None:
        try:
            for _ in range(trades):
                complete_trade(tracker)
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [
        threading.Thread(target=trade, args=(tracker,))
        for tracker in trackers
        for _ in range(threads_each)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for tracker in trackers:
        assert assert_whole_chain(reader, tracker.session_id) == 1 + 6 * trades * threads_each
        assert tracker.get_performance_metrics()["total_trades"] == 2 * threads_each * trades
        numbers = reader.execute(
            "SELECT decision_no FROM trade.candidates WHERE session_id = %s ORDER BY 1",
            (tracker.session_id,),
        ).fetchall()
        assert [n for (n,) in numbers] == list(range(threads_each * trades))
        tracker.close()


def test_after_the_server_was_killed_every_call_works_and_nothing_is_doubled(
    tmp_path: Path,
) -> None:
    with TradeTrackingSystem(db_path=tmp_path) as tracker:
        uuid = new_trade(tracker).uuid
        made: list[TradeCandidate] = []
        calls: list[Callable[[], object]] = [
            lambda: tracker.store_outcome(samples.outcome(uuid)),
            lambda: made.append(new_trade(tracker, params_ptr="new alias")),
            lambda: tracker.get_complete_trade_record(uuid),
            lambda: made.append(new_trade(tracker)),
            lambda: tracker.store_research_document(samples.research(uuid)),
            tracker.get_performance_metrics,
            lambda: tracker.store_params({"stop": 0.15}, alias="stops"),
            lambda: tracker.create_experiment("sweep"),
        ]
        tracker.store_execution_record(samples.fill(uuid))
        for number, call in enumerate(calls):
            # The whole server for the first of them, and their own connection for the others.
            if number < KILLS:
                kill_the_server_of(tracker, tmp_path)
            else:
                end_the_connection_of(tracker, tmp_path)
            call()
        with tracker.store.database.connect("trade_reader", autocommit=True) as reader:
            counts = count_rows(reader)
            assert assert_whole_chain(reader, tracker.session_id) == 7
            assert assert_whole_chain(reader, "experiment:sweep") == 2
    assert len(made) == 2
    assert counts["candidates"] == 3
    assert counts["executions"] == counts["outcomes"] == counts["research_docs"] == 1
    assert counts["sessions"] == counts["experiment_sessions"] == 1
    assert counts["artifact_aliases"] == 3


def kill_the_server_of(tracker: TradeTrackingSystem, folder: Path) -> None:
    """Kill the postmaster, and the backend that would otherwise answer once more."""
    postmaster = EmbeddedPostgres(folder / "postgres").status().pid
    assert postmaster is not None
    for pid in (postmaster, tracker._connection.info.backend_pid):
        os.kill(pid, signal.SIGKILL)


def end_the_connection_of(tracker: TradeTrackingSystem, folder: Path) -> None:
    url = EmbeddedPostgres(folder / "postgres").url("postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        backend = tracker._connection.info.backend_pid
        ended = connection.execute("SELECT pg_terminate_backend(%s, 60000)", (backend,))
        assert ended.fetchone() == (True,)


def test_a_connection_that_breaks_after_the_commit_does_not_store_twice(
    tracker: TradeTrackingSystem, reader: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    append = append_now
    broken: list[str] = []

    def append_and_break(connection: psycopg.Connection, *rest: Any) -> None:
        append(connection, *rest)
        if len(broken) < 2:
            broken.append("the answer was lost")
            connection.close()
            raise psycopg.OperationalError("the connection is lost")

    monkeypatch.setattr("trade_pipeline.core.tracking.append_now", append_and_break)
    made = new_trade(tracker, research=samples.research)
    tracker.store_execution_record(samples.fill(made.uuid))
    assert len(broken) == 2
    assert assert_whole_chain(reader, tracker.session_id) == 4
    assert new_trade(tracker).decision_no == 1


def test_closing_a_tracker_leaves_a_store_that_it_was_given_open(store: Store) -> None:
    TradeTrackingSystem(store=store).close()
    with TradeTrackingSystem(store=store) as tracker:
        assert new_trade(tracker).decision_no == 0
