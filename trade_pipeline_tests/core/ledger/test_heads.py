"""Heads are numbered without gap, cover everything once, and stand outside of the database."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import psycopg
import pytest

from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.ledger.anchor import anchor_now, anchored
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.heads import LedgerBroken, write_heads
from trade_pipeline.core.ledger.merkle import merkle_path, merkle_root
from trade_pipeline.core.ledger.report import LedgerReport
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.head_files import Head, HeadDamaged, HeadFiles
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem
from trade_pipeline.verify_proof import root_of
from trade_pipeline_tests.core import samples

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        yield connection


@pytest.fixture
def files(tmp_path: Path) -> HeadFiles:
    return HeadFiles(str(tmp_path / "heads"))


def append(writer: psycopg.Connection, name: str, trades: int = 2) -> int:
    return append_bulk(writer, name, samples.records_of_a_session(trades, name))


def verified(database: Database, files: HeadFiles) -> LedgerReport:
    return verify_url(database.url("trade_reader"), files)


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 13])
def test_every_leaf_has_a_way_to_the_root_and_no_other(count: int) -> None:
    leaves = [sha256(bytes([n])) for n in range(count)]
    root = merkle_root(leaves)
    for index, leaf in enumerate(leaves):
        path = [[side, beside.hex()] for side, beside in merkle_path(leaves, index)]
        assert root_of(leaf, path) == root
        assert root_of(sha256(b"x"), path) != root
    assert merkle_root([*leaves, sha256(b"x")]) != root
    assert merkle_root(leaves[::-1]) != root or count == 1


def test_the_tree_is_that_of_rfc_6962() -> None:
    """Its root of three is node(node(a, b), c)."""
    a, b, c = (sha256(bytes([0, n])) for n in range(3))
    inner = sha256(b"\x01" + a + b)
    assert merkle_root([a, b, c]) == sha256(b"\x01" + inner + c)


def test_a_head_covers_what_was_appended_since_the_one_before(
    writer: psycopg.Connection, files: HeadFiles
) -> None:
    stored = append(writer, "a")
    (first,) = write_heads(writer, files, NOON)
    assert (first.number, first.count) == (0, stored)
    assert write_heads(writer, files, NOON) == []
    append_now(writer, read_chain(writer, "a"), samples.candidate(9, "a"))
    append(writer, "b")
    (second,) = write_heads(writer, files, NOON)
    assert second.previous == first.hash
    assert [(r.chain_id, r.first) for r in second.ranges] == [("a", stored), ("b", 0)]
    assert files.numbers() == [0, 1]
    assert Head.from_bytes(files.read([1])[1], 1) == second
    with pytest.raises(HeadDamaged):
        Head.from_bytes(files.read([1])[1], 2)


def test_two_writers_at_once_never_cover_a_record_twice(
    fresh_database: Database, files: HeadFiles
) -> None:
    stop = threading.Event()
    failed: list[Exception] = []

    def cover() -> None:
        with fresh_database.connect(autocommit=True) as connection:
            while not stop.is_set():
                try:
                    # As in another process: nothing is known but the files.
                    write_heads(connection, HeadFiles(f"{files.url}/"))
                except Exception as error:  # noqa: BLE001
                    failed.append(error)

    threads = [threading.Thread(target=cover) for _ in range(2)]
    for thread in threads:
        thread.start()
    with fresh_database.connect(autocommit=True) as connection:
        for number in range(12):
            append(connection, f"s{number}")
    stop.set()
    for thread in threads:
        thread.join(30)
    with fresh_database.connect(autocommit=True) as connection:
        write_heads(connection, files)
    report = verified(fresh_database, files)
    assert not failed
    assert (report.intact, report.unanchored) == (True, 0), report.verdict


def test_who_comes_second_to_a_number_looks_again(
    writer: psycopg.Connection, files: HeadFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody with another lock, as of a database that shares the place by mistake."""
    append(writer, "a")
    write_heads(writer, files)
    append(writer, "b")
    written = HeadFiles.write
    rivals: list[int] = []

    def overtaken(self: HeadFiles, head: Head, leaves: bytes) -> Head:
        if not rivals:
            rivals.append(head.number)
            written(self, head, leaves)
        return written(self, head, leaves)

    monkeypatch.setattr(HeadFiles, "write", overtaken)
    write_heads(writer, files)
    assert rivals == [1]
    assert files.numbers() == [0, 1]


def test_a_day_is_closed_by_the_first_head_after_it_and_is_where_the_next_writer_starts(
    writer: psycopg.Connection, files: HeadFiles, fresh_database: Database
) -> None:
    append(writer, "a")
    write_heads(writer, files, NOON)
    append(writer, "b")
    write_heads(writer, files, NOON + timedelta(hours=1))
    assert files.days() == []
    assert write_heads(writer, files, NOON + timedelta(days=1)) == []
    assert files.days() == ["2026-06-01"]
    told = orjson.loads(files.read_of_days(["2026-06-01"])["2026-06-01"])
    assert told["previous"] == "00" * 32
    hashes = [Head.from_bytes(files.read([n])[n], n).hash for n in (0, 1)]
    assert (told["first"], told["last"]) == (0, 1)
    assert told["root"] == merkle_root(hashes).hex()

    append(writer, "c")
    # Nothing is known of these files in this process; what came before the day is not read.
    Path(files.url, "000000", "000000000.json").rename(Path(files.url, "aside"))
    (third,) = write_heads(writer, HeadFiles(f"{files.url}/."), NOON + timedelta(days=2))
    Path(files.url, "aside").rename(Path(files.url, "000000", "000000000.json"))
    assert third.number == 2
    assert [r.chain_id for r in third.ranges] == ["c"]
    write_heads(writer, files, NOON + timedelta(days=4))
    assert files.days() == ["2026-06-01", "2026-06-03"]
    report = verified(fresh_database, files)
    assert (report.intact, report.days) == (True, 2), report.verdict
    Path(files.url, "days", "2026-06-01.json").write_bytes(orjson.dumps(told | {"by": "another"}))
    assert "day 2026-06-03 does not follow" in str(verified(fresh_database, files).problems)


def test_a_clock_that_was_set_back_puts_no_head_into_a_closed_day(
    writer: psycopg.Connection, files: HeadFiles, fresh_database: Database
) -> None:
    append(writer, "a")
    write_heads(writer, files, NOON)
    append(writer, "b")
    write_heads(writer, files, NOON + timedelta(days=1))
    append(writer, "c")
    (head,) = write_heads(writer, files, NOON - timedelta(days=1))
    assert head.created_at == NOON + timedelta(days=1)
    assert verified(fresh_database, files).intact


def test_a_chain_that_does_not_follow_is_left_out_and_the_others_are_covered(
    writer: psycopg.Connection, files: HeadFiles, fresh_database: Database
) -> None:
    append(writer, "a")
    append(writer, "b")
    writer.execute("UPDATE trade.chain_heads SET chain_hash = sha256('x') WHERE chain_id = 'a'")
    with pytest.raises(LedgerBroken, match="chain a is not covered"):
        write_heads(writer, files)
    (number,) = files.numbers()
    head = Head.from_bytes(files.read([number])[number], number)
    assert [r.chain_id for r in head.ranges] == ["b"]
    assert not anchor_now(lambda: fresh_database.connect(autocommit=True), files)


def test_heads_go_to_any_file_system(writer: psycopg.Connection, fresh_database: Database) -> None:
    files = HeadFiles(f"memory://heads-{uuid.uuid4().hex}")
    append(writer, "a")
    write_heads(writer, files, NOON)
    append(writer, "b")
    write_heads(writer, files, NOON + timedelta(days=1))
    report = verified(fresh_database, files)
    assert (report.intact, report.heads, report.days) == (True, 2, 1), report.verdict
    other = replace(Head.from_bytes(files.read([1])[1], 1), root=bytes(32))
    with pytest.raises(FileExistsError):
        files.write(other, b"")


def test_a_tracker_leaves_nothing_uncovered_behind(
    fresh_database: Database, tmp_path: Path
) -> None:
    store = Store(fresh_database, ArtifactStore(str(tmp_path)))
    with TradeTrackingSystem(store=store) as tracker:
        tracker.create_candidate("PEPE/USDT", "v1", 0.7, samples.ADDRESS, "test")
    report = verified(fresh_database, store.artifacts.heads)
    assert (report.records, report.unanchored, report.heads) == (2, 0, 1)


def test_a_place_that_cannot_be_written_to_stops_no_session(
    fresh_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "heads").write_text("not a folder")
    store = Store(fresh_database, ArtifactStore(str(tmp_path)))
    with TradeTrackingSystem(store=store) as tracker:
        tracker.create_candidate("PEPE/USDT", "v1", 0.7, samples.ADDRESS, "test")
        assert tracker.get_performance_metrics()["total_trades"] == 0


def test_a_running_session_is_covered_again_and_again_beside_its_loop(
    fresh_database: Database, files: HeadFiles
) -> None:
    def connect() -> psycopg.Connection:
        return fresh_database.connect(autocommit=True)

    async def session() -> list[int]:
        counts = []
        async with anchored(connect, files, every=0.05):
            with connect() as own:
                for number in range(3):
                    before = len(files.numbers())
                    append(own, f"s{number}")
                    until = time.monotonic() + 30
                    while len(files.numbers()) == before and time.monotonic() < until:
                        await asyncio.sleep(0.01)
                    counts.append(len(files.numbers()))
                append(own, "last")
        return counts

    counts = asyncio.run(session())
    assert counts == sorted(set(counts))
    report = verified(fresh_database, files)
    assert (report.intact, report.unanchored) == (True, 0), report.verdict
