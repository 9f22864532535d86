"""Many records at once: one chain, one transaction, all or nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from trade_pipeline.core.errors import ReplayMismatch
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk, move_head
from trade_pipeline.core.ledger.chain import GENESIS
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.samples import assert_whole_chain, chain_rows, count_rows

RECORDS = samples.records_of_a_session(8)


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        yield connection


def test_records_of_every_kind_are_one_chain_in_the_order_given(writer: psycopg.Connection) -> None:
    """Their months had no partition before."""
    assert append_bulk(writer, "s", RECORDS) == len(RECORDS)
    assert assert_whole_chain(writer, "s") == len(RECORDS)
    assert [table for _, table, *_ in chain_rows(writer, "s")] == [r.TABLE for r in RECORDS]


def test_bulks_and_single_appends_continue_the_same_chain(writer: psycopg.Connection) -> None:
    append_bulk(writer, "s", RECORDS[:10])
    append_now(writer, read_chain(writer, "s"), *RECORDS[10:12])
    append_bulk(writer, "s", RECORDS[12:])
    assert assert_whole_chain(writer, "s") == len(RECORDS)


def test_no_records_leave_no_chain(writer: psycopg.Connection) -> None:
    assert append_bulk(writer, "s", []) == 0
    assert assert_whole_chain(writer, "s") == 0


def test_the_months_of_all_records_get_their_partitions(writer: psycopg.Connection) -> None:
    later = samples.START + timedelta(days=70)
    trades = [samples.candidate(n, decided_at=later) for n in (0, 24 * 70, 1)]
    assert append_bulk(writer, "s", [samples.session(), *trades]) == 4


@pytest.mark.parametrize("again", [0, -1], ids=["first", "last"])
def test_one_key_that_is_stored_already_leaves_nothing_of_the_rest(
    writer: psycopg.Connection, again: int
) -> None:
    append_bulk(writer, "s", [samples.session(), *(samples.candidate(n) for n in range(4))])
    counts = count_rows(writer)
    fresh = [samples.candidate(n) for n in range(4, 8)]
    fresh.insert(again % 5, samples.candidate(2))
    with pytest.raises(psycopg.errors.UniqueViolation):
        append_bulk(writer, "s", fresh)
    assert count_rows(writer) == counts
    assert assert_whole_chain(writer, "s") == 5


def test_a_bulk_belongs_to_the_transaction_around_it(writer: psycopg.Connection) -> None:
    append_bulk(writer, "s", RECORDS[:6])
    with writer.transaction():
        append_bulk(writer, "s", RECORDS[6:])
        raise psycopg.Rollback
    assert assert_whole_chain(writer, "s") == 6


def test_writers_of_one_chain_wait_for_each_other(
    fresh_database: Database, writer: psycopg.Connection
) -> None:
    append_bulk(writer, "s", [samples.session()])
    writers, bulks, rows = 4, 6, 5

    def write(number: int) -> None:
        with fresh_database.connect(autocommit=True) as connection:
            for bulk in range(bulks):
                first = (number * bulks + bulk) * rows
                append_bulk(
                    connection, "s", [samples.candidate(n) for n in range(first, first + rows)]
                )

    threads = [threading.Thread(target=write, args=(n,)) for n in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert assert_whole_chain(writer, "s") == 1 + writers * bulks * rows


@pytest.mark.parametrize("believed", [-1, 0, 2])
def test_a_head_that_is_elsewhere_is_not_moved(writer: psycopg.Connection, believed: int) -> None:
    append_bulk(writer, "s", RECORDS[:2])
    with (
        pytest.raises(ReplayMismatch, match="chain s was written by somebody else"),
        writer.cursor() as cursor,
    ):
        move_head(cursor, believed, "s", 3, GENESIS)
    assert assert_whole_chain(writer, "s") == 2


def test_a_head_that_is_not_there_is_not_moved(writer: psycopg.Connection) -> None:
    with pytest.raises(ReplayMismatch), writer.cursor() as cursor:
        move_head(cursor, 4, "s", 5, GENESIS)
    assert assert_whole_chain(writer, "s") == 0
