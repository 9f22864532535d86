"""One statement appends all that belongs together, or nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.chain import GENESIS, Chain
from trade_pipeline.core.ledger.experiments import link_experiment
from trade_pipeline.core.records import Experiment
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import START, assert_whole_chain, count_rows


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
        yield connection


def state(chain: Chain) -> tuple[int, bytes]:
    return chain.seq, chain.head


def test_records_of_several_tables_are_one_chain_in_the_order_given(
    writer: psycopg.Connection,
) -> None:
    chain = Chain("s")
    trade = samples.candidate()
    append_now(writer, chain, samples.session(), trade, samples.research(trade.uuid))
    append_now(writer, chain, samples.fill(trade.uuid), samples.outcome(trade.uuid))
    assert assert_whole_chain(writer, "s") == chain.seq == 5
    assert [table for _, table, *_ in samples.chain_rows(writer, "s")] == [
        "sessions", "candidates", "research_docs", "executions", "outcomes",
    ]  # fmt: skip


def test_a_chain_is_read_as_it_stands(writer: psycopg.Connection) -> None:
    assert state(read_chain(writer, "s")) == (0, GENESIS)
    chain = Chain("s")
    append_now(writer, chain, samples.session(), samples.candidate())
    assert state(read_chain(writer, "s")) == state(chain)
    append_now(writer, read_chain(writer, "s"), samples.candidate(1))
    assert assert_whole_chain(writer, "s") == 3


@pytest.mark.parametrize("known", [0, 1, 2, 4])
def test_a_chain_that_moved_meanwhile_is_refused_and_nothing_is_written(
    writer: psycopg.Connection, known: int
) -> None:
    real = Chain("s")
    append_now(writer, real, samples.session())
    append_now(writer, real, samples.candidate(0), samples.candidate(1))
    stale = Chain("s", known, real.head)
    before, counts = state(stale), count_rows(writer)
    with pytest.raises(psycopg.errors.SerializationFailure, match="somebody else"):
        append_now(writer, stale, samples.candidate(2))
    assert state(stale) == before
    assert count_rows(writer) == counts
    assert assert_whole_chain(writer, "s") == 3


def test_a_key_that_is_stored_already_leaves_nothing_and_the_chain_where_it_was(
    writer: psycopg.Connection,
) -> None:
    chain = Chain("s")
    append_now(writer, chain, samples.session(), samples.candidate(0))
    before, counts = state(chain), count_rows(writer)
    with pytest.raises(psycopg.errors.UniqueViolation):
        append_now(writer, chain, samples.candidate(1), samples.candidate(0))
    assert state(chain) == before
    assert count_rows(writer) == counts
    append_now(writer, chain, samples.candidate(1))
    assert assert_whole_chain(writer, "s") == 3


def test_a_record_that_the_database_refuses_takes_those_beside_it_with_it(
    writer: psycopg.Connection,
) -> None:
    chain = Chain("s")
    trade = samples.candidate()
    unknown = samples.research(samples.candidate(9).uuid)
    counts = count_rows(writer)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        append_now(writer, chain, samples.session(), trade, unknown)
    assert state(chain) == (0, GENESIS)
    assert count_rows(writer) == counts


def test_of_writers_of_one_chain_at_once_each_record_is_written_once(
    fresh_database: Database, writer: psycopg.Connection
) -> None:
    append_now(writer, Chain("s"), samples.session())
    writers, records = 4, 12
    refused: list[int] = []

    def write(number: int) -> None:
        with fresh_database.connect(autocommit=True) as connection:
            for record in range(records):
                while True:
                    chain = read_chain(connection, "s")
                    try:
                        append_now(connection, chain, samples.candidate(number * records + record))
                        break
                    except psycopg.errors.SerializationFailure:
                        refused.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert assert_whole_chain(writer, "s") == 1 + writers * records


def test_of_two_first_writers_of_a_chain_one_is_refused(
    fresh_database: Database, writer: psycopg.Connection
) -> None:
    with fresh_database.connect(autocommit=True) as other:
        first, second = Chain("e"), Chain("e")
        append_now(writer, first, Experiment("one"))
        with pytest.raises(psycopg.errors.SerializationFailure):
            append_now(other, second, Experiment("two"))
    assert assert_whole_chain(writer, "e") == 1


def test_an_experiment_holds_a_session_once_however_often_it_is_linked(
    writer: psycopg.Connection,
) -> None:
    append_now(writer, Chain("s"), samples.session())
    append_now(writer, Chain("t"), samples.session("t"))
    for session in (None, "s", "s", "t", None, "s"):
        link_experiment(writer, "sweep", session, "stops from 5 to 25 %")
    assert assert_whole_chain(writer, "experiment:sweep") == 3
    assert writer.execute(
        "SELECT session_id FROM trade.experiment_sessions WHERE experiment = 'sweep' ORDER BY 1"
    ).fetchall() == [("s",), ("t",)]


def test_sessions_that_join_a_new_experiment_at_once_are_all_in_it(
    fresh_database: Database, writer: psycopg.Connection
) -> None:
    names = [f"s{n}" for n in range(4)]
    for name in names:
        append_now(writer, Chain(name), samples.session(name))

    def join(name: str) -> None:
        with fresh_database.connect(autocommit=True) as connection:
            link_experiment(connection, "sweep", name)

    threads = [threading.Thread(target=join, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert assert_whole_chain(writer, "experiment:sweep") == 5
