"""A session's journal: written in bulk, compared when it is run again, never forked or patched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.errors import ReplayMismatch, StoreUnavailable
from trade_pipeline.core.ledger import lock
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.records import Record, ResearchDocument, TradeCandidate, TradeOutcome
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import END, START, assert_whole_chain, chain_rows

RECORDS = samples.records_of_a_session(8)


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer") as connection:
        yield connection


def opened(connection: psycopg.Connection, chain_id: str = "s", flush_rows: int = 7) -> Journal:
    return Journal(connection, chain_id, first=START, last=END, flush_rows=flush_rows)


def written(
    connection: psycopg.Connection,
    records: Sequence[Record] = RECORDS,
    chain_id: str = "s",
    flush_rows: int = 7,
) -> Journal:
    """A whole session through a journal."""
    with opened(connection, chain_id, flush_rows) as journal:
        for record in records:
            journal.append(record)
    return journal


def test_a_chain_recomputes_from_its_first_record_to_its_head(writer: psycopg.Connection) -> None:
    assert written(writer).new_rows == len(RECORDS)
    assert assert_whole_chain(writer, "s") == len(RECORDS)
    tables = [table for _, table, *_ in chain_rows(writer, "s")]
    assert tables == [record.TABLE for record in RECORDS]


def test_a_session_without_records_leaves_no_chain(writer: psycopg.Connection) -> None:
    assert written(writer, []).new_rows == 0
    assert assert_whole_chain(writer, "s") == 0


@pytest.mark.parametrize("flush_rows", [1, 10_000])
def test_running_a_session_again_adds_no_row(writer: psycopg.Connection, flush_rows: int) -> None:
    written(writer)
    before, rows = samples.count_rows(writer), chain_rows(writer, "s")
    again = written(writer, flush_rows=flush_rows)
    assert (again.stored_rows, again.new_rows) == (len(RECORDS), 0)
    assert samples.count_rows(writer) == before
    assert chain_rows(writer, "s") == rows


@pytest.mark.parametrize("kept", [1, 2, 10, len(RECORDS) - 1])
def test_a_session_that_was_cut_short_is_completed(writer: psycopg.Connection, kept: int) -> None:
    written(writer, RECORDS[:kept])
    again = written(writer)
    assert (again.stored_rows, again.new_rows) == (kept, len(RECORDS) - kept)
    assert assert_whole_chain(writer, "s") == len(RECORDS)


def changed(place: int) -> Record:
    record = RECORDS[place]
    if isinstance(record, TradeCandidate):
        return replace(record, confidence=0.7500000000000001)
    if isinstance(record, ResearchDocument):
        return replace(record, trade_rationale="hindsight")
    assert isinstance(record, TradeOutcome)
    return replace(record, realized_pnl_percent=99.0)


def test_a_replay_that_differs_is_refused_with_the_record_and_its_key(
    writer: psycopg.Connection,
) -> None:
    written(writer)
    before = samples.count_rows(writer)
    for place in (1, 2, 5, len(RECORDS) - 2):
        other = [*RECORDS[:place], changed(place), *RECORDS[place + 1 :]]
        with pytest.raises(ReplayMismatch) as refused:
            written(writer, other)
        assert f"record {place} of session s ({other[place].TABLE}, uuid=" in str(refused.value)
        assert str(other[place].row()[0]) in str(refused.value)
        assert samples.count_rows(writer) == before


def test_a_record_that_differs_after_a_cut_is_found_before_anything_is_written(
    writer: psycopg.Connection,
) -> None:
    written(writer, RECORDS[:10])
    with pytest.raises(ReplayMismatch, match="record 2 "):
        written(writer, [*RECORDS[:2], changed(2), *RECORDS[3:]], flush_rows=1)
    assert assert_whole_chain(writer, "s") == 10


def test_two_records_in_another_order_are_another_session(writer: psycopg.Connection) -> None:
    written(writer)
    swapped = list(RECORDS)
    swapped[3], swapped[4] = swapped[4], swapped[3]
    with pytest.raises(ReplayMismatch, match="record 3 "):
        written(writer, swapped)


def test_a_replay_that_makes_fewer_records_is_refused(writer: psycopg.Connection) -> None:
    written(writer)
    for made in (0, 1, len(RECORDS) - 1):
        with pytest.raises(
            ReplayMismatch, match=f"session s made {made} records, {len(RECORDS)} are stored"
        ):
            written(writer, RECORDS[:made])


def test_a_replay_of_another_session_is_not_compared_with_this_one(
    writer: psycopg.Connection,
) -> None:
    written(writer)
    others = samples.records_of_a_session(3, "t")
    assert written(writer, others, "t").new_rows == len(others)
    assert assert_whole_chain(writer, "s") == len(RECORDS)
    assert assert_whole_chain(writer, "t") == len(others)


@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    trades=st.integers(0, 6),
    flush_rows=st.integers(1, 30),
    flushes=st.sets(st.integers(0, 30)),
    cuts=st.lists(st.integers(0, 30), max_size=3),
)
def test_any_split_into_flushes_and_runs_gives_the_same_chain_and_rows(
    database: Database, trades: int, flush_rows: int, flushes: set[int], cuts: list[int]
) -> None:
    session_id = f"split-{uuid4()}"
    records = samples.records_of_a_session(trades, session_id)
    with database.connect() as connection:
        # Ended where a process died, each time a little later, and run again from the start.
        for stop in [*sorted(min(cut, len(records)) for cut in cuts), len(records)]:
            with opened(connection, session_id, flush_rows) as journal:
                for number, record in enumerate(records[:stop]):
                    if number in flushes:
                        journal.flush()
                    journal.append(record)
        assert assert_whole_chain(connection, session_id) == len(records)
        assert [row[1:3] for row in chain_rows(connection, session_id)] == [
            (record.TABLE, canonical_bytes(record).decode()) for record in records
        ]


def bad(uuid: UUID) -> Record:
    """A record that only the database refuses: research of a trade that nobody stored."""
    return samples.research(uuid)


@pytest.mark.parametrize(("flush_rows", "place"), [(1, 6), (4, 1), (4, 15), (10_000, 15)])
def test_a_failure_inside_a_batch_leaves_a_whole_prefix(
    writer: psycopg.Connection, flush_rows: int, place: int
) -> None:
    broken = [*RECORDS[:place], bad(samples.candidate(99).uuid), *RECORDS[place:]]
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        written(writer, broken, flush_rows=flush_rows)
    stored = assert_whole_chain(writer, "s")
    assert stored == place // flush_rows * flush_rows
    again = written(writer)
    assert (again.stored_rows, again.new_rows) == (stored, len(RECORDS) - stored)
    assert assert_whole_chain(writer, "s") == len(RECORDS)


def test_a_journal_whose_batch_failed_writes_nothing_after_it(writer: psycopg.Connection) -> None:
    unknown = bad(samples.candidate(99).uuid)
    with pytest.raises(psycopg.errors.ForeignKeyViolation), opened(writer) as journal:  # noqa: PT012
        journal.append(RECORDS[0])
        journal.flush()
        journal.append(unknown)
        with pytest.raises(psycopg.errors.ForeignKeyViolation):
            journal.flush()
        for record in RECORDS[1:]:
            # A caller that goes on all the same cannot leave a hole in the chain.
            try:
                journal.append(record)
            except psycopg.errors.ForeignKeyViolation:
                continue
    assert assert_whole_chain(writer, "s") == 1


def test_a_session_that_fails_by_itself_keeps_what_was_flushed(writer: psycopg.Connection) -> None:
    with pytest.raises(ZeroDivisionError), opened(writer, flush_rows=4) as journal:  # noqa: PT012
        for record in RECORDS[:10]:
            journal.append(record)
        raise ZeroDivisionError
    assert assert_whole_chain(writer, "s") == 8
    assert written(writer).new_rows == len(RECORDS) - 8


def test_a_second_writer_of_a_chain_is_refused_while_the_first_is_at_it(
    fresh_database: Database, writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "TIMEOUT", "100ms")
    with fresh_database.connect() as second:
        with opened(writer) as journal:
            journal.append(RECORDS[0])
            with pytest.raises(StoreUnavailable, match="session s is being written by another"):
                opened(second)
            with opened(second, "t"):
                pass
        assert written(second).stored_rows == 1


def test_a_second_writer_waits_for_the_first_to_leave(
    fresh_database: Database, writer: psycopg.Connection
) -> None:
    found: list[int] = []

    def follow() -> None:
        with fresh_database.connect() as second:
            found.append(written(second).stored_rows)

    with opened(writer) as journal:
        follower = threading.Thread(target=follow)
        follower.start()
        with fresh_database.connect("trade_reader", autocommit=True) as watcher:
            waits = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while watcher.execute(waits).fetchone() is None:
                assert follower.is_alive()
        for record in RECORDS:
            journal.append(record)
    follower.join()
    assert found == [len(RECORDS)]
    assert assert_whole_chain(writer, "s") == len(RECORDS)


def test_a_writer_whose_connection_died_frees_the_chain(
    fresh_database: Database, writer: psycopg.Connection
) -> None:
    journal = opened(writer, flush_rows=5)
    for record in RECORDS[:10]:
        journal.append(record)
    journal.flush()
    writer.close()
    with fresh_database.connect() as second:
        assert written(second).stored_rows == 10
        assert assert_whole_chain(second, "s") == len(RECORDS)
    journal.__exit__(ValueError, ValueError(), None)


def test_a_head_that_was_moved_behind_the_back_of_a_journal_is_noticed(
    fresh_database: Database, writer: psycopg.Connection
) -> None:
    written(writer, RECORDS[:5])
    with (  # noqa: PT012
        pytest.raises(ReplayMismatch, match="written by somebody else"),
        opened(writer) as journal,
    ):
        with fresh_database.connect(autocommit=True) as other:
            other.execute("UPDATE trade.chain_heads SET chain_seq = 3 WHERE chain_id = 's'")
        for record in RECORDS:
            journal.append(record)
    assert samples.count_rows(writer)["candidates"] < 3


@pytest.fixture
def tamper(fresh_database: Database, server: EmbeddedPostgres) -> Callable[[str], int]:
    """Changes rows as a superuser with the triggers switched off."""
    with fresh_database.connect() as connection:
        name = connection.info.dbname

    def change(statement: str) -> int:
        with psycopg.connect(server.url("postgres", name), autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            return connection.execute(statement.encode()).rowcount

    return change


REWRITE = (
    "content = replace(content, '{old}', '{new}'), "
    "content_hash = sha256(convert_to(replace(content, '{old}', '{new}'), 'UTF8')) "
    "WHERE content LIKE '%{old}%'"
)


@pytest.mark.parametrize(
    ("statement", "rows"),
    [
        ("UPDATE trade.outcomes SET " + REWRITE.format(old="-0.5", new="95.5"), 1),
        ("UPDATE trade.candidates SET " + REWRITE.format(old="0.75", new="0.95"), 8),
        ("UPDATE trade.research_docs SET " + REWRITE.format(old="momentum", new="luck"), 8),
        ("UPDATE trade.sessions SET " + REWRITE.format(old="simulated", new="real"), 1),
        ("DELETE FROM trade.outcomes WHERE realized_pnl_percent < -1", 1),
        ("DELETE FROM trade.scans WHERE chain_seq = (SELECT max(chain_seq) FROM trade.scans)", 1),
        ("UPDATE trade.outcomes SET chain_seq = chain_seq + 1000", 6),
        ("UPDATE trade.chain_heads SET chain_hash = sha256('')", 1),
        ("UPDATE trade.chain_heads SET chain_seq = chain_seq - 1", 1),
        ("DELETE FROM trade.executions WHERE leg = 'exit'", 6),
    ],
)
def test_a_stored_row_that_was_tampered_with_is_found_by_a_replay(
    writer: psycopg.Connection, tamper: Callable[[str], int], statement: str, rows: int
) -> None:
    written(writer)
    assert tamper(statement) == rows
    with pytest.raises(ReplayMismatch):
        written(writer)


def test_content_and_hash_cannot_part_even_for_a_superuser(
    writer: psycopg.Connection, tamper: Callable[[str], int]
) -> None:
    written(writer)
    with pytest.raises(psycopg.errors.CheckViolation):
        tamper("UPDATE trade.outcomes SET content = '{}'")


@pytest.mark.parametrize("place", [0, 3, len(RECORDS) - 1])
def test_a_record_that_was_slipped_into_a_chain_is_found_by_a_replay(
    writer: psycopg.Connection, place: int
) -> None:
    written(writer)
    extra = samples.candidate(50)
    values: dict[str, Any] = dict(zip(extra.COLUMNS, extra.row(), strict=True)) | {
        "chain_id": "s",
        "chain_seq": place,
        "content": "{}",
        "chain_hash": bytes(32),
    }
    writer.execute(
        sql.SQL(
            "INSERT INTO trade.candidates ({}, content_hash) VALUES ({}, sha256('{{}}'))"
        ).format(
            sql.SQL(", ").join(map(sql.Identifier, values)),
            sql.SQL(", ").join([sql.Placeholder()] * len(values)),
        ),
        list(values.values()),
    )
    writer.commit()
    with pytest.raises(ReplayMismatch):
        written(writer)


def test_partitions_are_there_for_the_whole_range_and_a_day_more(
    writer: psycopg.Connection,
) -> None:
    with Journal(writer, "s", first=START, last=END + timedelta(days=11)) as journal:
        journal.append(RECORDS[0])
    rows = writer.execute(
        "SELECT c.relname FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid "
        "WHERE inhparent = 'trade.outcomes'::regclass ORDER BY 1"
    ).fetchall()
    assert rows == [("outcomes_202603",), ("outcomes_202604",)]
