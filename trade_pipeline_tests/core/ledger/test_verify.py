"""A verification names the row, its field and the last head that holds; no false alarm."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import orjson
import psycopg
import pytest

from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.ledger.artifacts import check_artifacts
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.columns import Columns
from trade_pipeline.core.ledger.dump import BadDump, restored
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.ledger.tables import record_tables
from trade_pipeline.core.ledger.verify import verify, verify_url
from trade_pipeline.core.store.address import parts_of
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.head_files import HeadFiles
from trade_pipeline.core.store.server import EmbeddedPostgres, binary
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.ledger.edits import Superuser
from trade_pipeline_tests.core.ledger.every_kind import fill_ledger

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


class Ledger:
    """A ledger with records of every kind, edited by a superuser within `untouched`."""

    def __init__(self, url: str, connection: psycopg.Connection, files: HeadFiles) -> None:
        self.url, self.connection, self.files = url, connection, files
        self.editor = Superuser(connection, random.Random(1))

    def run(self, statement: str) -> None:
        assert self.connection.execute(statement.encode()).rowcount == 1


@pytest.fixture(scope="module")
def shared(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    files = HeadFiles(str(tmp_path_factory.mktemp("heads")))
    with create_database(server) as database:
        with database.connect() as connection:
            url = server.url("postgres", connection.info.dbname)
        with psycopg.connect(url, autocommit=True) as superuser:
            fill_ledger(superuser, files, NOW)
            yield Ledger(url, superuser, files)


@pytest.fixture
def ledger(shared: Ledger) -> Iterator[Ledger]:
    """What a test edits is as it was afterwards."""
    with shared.connection.transaction(force_rollback=True):
        yield shared


def test_every_table_of_records_is_read_and_every_column_compared(ledger: Ledger) -> None:
    tables = record_tables(ledger.connection)
    assert [table.name for table in tables] == samples.ledger_tables(ledger.connection)
    for table in tables:
        assert table.parts, f"{table.name} has no record here"
        compared = {*Columns(table).names, *table.unhashed}
        assert compared == {name for name, _ in table.columns}


def test_a_column_is_named_with_its_row_and_the_last_head_that_holds(ledger: Ledger) -> None:
    uuid = samples.candidate(3, "s2").uuid
    ledger.run(f"UPDATE trade.candidates SET confidence = 0.76 WHERE uuid = '{uuid}'")
    report = verify(ledger.connection, ledger.files)
    (problem,) = report.problems
    assert (problem.table, problem.field, problem.chain_id) == ("candidates", "confidence", "s2")
    assert problem.key == f"uuid={uuid}"
    assert problem.head == 4
    assert report.last_holding == 3
    assert "confidence" in report.verdict


def test_the_time_of_a_record_is_covered_by_the_heads_alone(ledger: Ledger) -> None:
    ledger.run(
        "UPDATE trade.sessions SET recorded_at = recorded_at - interval '1 day' "
        "WHERE session_id = 's1'"
    )
    report = verify(ledger.connection, ledger.files)
    (problem,) = report.problems
    assert (problem.table, problem.seq, problem.field) == ("sessions", 0, "recorded_at")
    assert report.last_holding == 1


def test_a_time_without_end_is_found_like_any_other(ledger: Ledger) -> None:
    ledger.run("UPDATE trade.sessions SET recorded_at = 'infinity' WHERE session_id = 's1'")
    assert verify(ledger.connection, ledger.files).problems[0].field == "recorded_at"


def test_the_number_of_a_deployment_is_covered_although_no_content_tells_it(
    ledger: Ledger,
) -> None:
    ledger.run("UPDATE trade.deployments SET deployment_id = 99 WHERE chain_id = 'learning-s0'")
    (problem,) = verify(ledger.connection, ledger.files).problems
    assert problem.table == "deployments"
    assert problem.field is not None
    assert "deployment_id" in problem.field


def test_a_computed_column_that_was_turned_into_a_plain_one_is_compared_as_well(
    ledger: Ledger,
) -> None:
    ledger.connection.execute("ALTER TABLE trade.models ALTER short_name DROP EXPRESSION")
    ledger.run("UPDATE trade.models SET short_name = 'other' WHERE chain_id = 'learning-s0'")
    report = verify(ledger.connection, ledger.files)
    assert {(p.table, p.field) for p in report.problems} == {("models", "short_name")}


def test_history_written_anew_with_every_hash_is_named_by_its_first_row(ledger: Ledger) -> None:
    rows = list(ledger.editor.chains["s1"])
    table, seq, content = rows[4]
    rows[4] = (table, seq, content.replace("{", '{"a":1,', 1))
    ledger.editor.rewrite("s1", rows)
    report = verify(ledger.connection, ledger.files)
    assert (report.problems[0].table, report.problems[0].seq) == (table, 4)
    assert report.problems[0].field == "content"
    assert report.last_holding == 1


def test_a_missing_row_is_named_by_its_place(ledger: Ledger) -> None:
    ledger.editor.delete("s3", ledger.editor.chains["s3"][5])
    report = verify(ledger.connection, ledger.files)
    assert "record 5 of chain s3 is missing" in report.problems[0].what
    assert report.last_holding == 5


def test_an_emptied_table_is_found(ledger: Ledger) -> None:
    ledger.connection.execute("TRUNCATE trade.order_intents CASCADE")
    report = verify(ledger.connection, ledger.files)
    assert report.problem_count >= 4
    assert report.last_holding == 0


def test_a_month_that_was_detached_is_missed(ledger: Ledger) -> None:
    ledger.connection.execute("ALTER TABLE trade.outcomes DETACH PARTITION trade.outcomes_202603")
    assert not verify(ledger.connection, ledger.files).intact


@pytest.mark.parametrize("kind", ["json", "leaves"])
def test_a_head_that_is_missing_or_damaged_is_named(ledger: Ledger, kind: str) -> None:
    file = Path(ledger.files.url, "000000", f"000000003.{kind}")
    data = file.read_bytes()
    try:
        file.write_bytes(data.replace(b'"count":', b'"count":1'))
        damaged = verify(ledger.connection, ledger.files)
        file.unlink()
        missing = verify(ledger.connection, ledger.files)
    finally:
        file.write_bytes(data)
    if kind == "leaves":
        # They only help to name a row.
        assert (damaged.intact, missing.intact) == (True, True)
        return
    assert (damaged.last_holding, missing.last_holding) == (2, 2)
    assert "head 3 is missing" in missing.problems[0].what


def test_the_newest_heads_are_missed_although_no_later_one_names_them(ledger: Ledger) -> None:
    file = Path(ledger.files.url, "000000", "000000007.json")
    data = file.read_bytes()
    try:
        file.unlink()
        report = verify(ledger.connection, ledger.files)
    finally:
        file.write_bytes(data)
    assert report.problems[0].head == 7
    assert report.last_holding == 6


def test_a_bad_row_is_found_where_the_hashes_beside_its_head_are_gone(ledger: Ledger) -> None:
    file = Path(ledger.files.url, "000000", "000000002.leaves")
    data = file.read_bytes()
    ledger.run(
        "UPDATE trade.sessions SET recorded_at = recorded_at - interval '1 day' "
        "WHERE session_id = 's1'"
    )
    try:
        file.unlink()
        report = verify(ledger.connection, ledger.files)
    finally:
        file.write_bytes(data)
    assert report.last_holding == 1
    assert "no row can be named" in report.verdict


def test_a_days_file_that_was_written_anew_is_found(ledger: Ledger) -> None:
    file = Path(ledger.files.url, "days", "2026-06-01.json")
    data = file.read_bytes()
    try:
        file.write_bytes(data.replace(b'"first":0', b'"first":1'))
        report = verify(ledger.connection, ledger.files)
    finally:
        file.write_bytes(data)
    assert "day 2026-06-01" in report.verdict


def test_a_head_that_was_written_anew_breaks_the_chain_of_heads(ledger: Ledger) -> None:
    """By somebody who can write in both places, but not everywhere."""
    file = Path(ledger.files.url, "000000", "000000003.json")
    data = file.read_bytes()
    anew = data.replace(b'"created_at":"2026', b'"created_at":"2025')
    try:
        file.write_bytes(anew)
        remembered = verify(ledger.connection, ledger.files)
        ledger.connection.execute(
            "UPDATE trade.ledger_heads SET head_hash = sha256(%s) WHERE number = 3", (anew,)
        )
        chained = verify(ledger.connection, ledger.files)
    finally:
        file.write_bytes(data)
    assert "head 3 is not the file that the database remembers" in {
        p.what for p in remembered.problems
    }
    assert any("head 4 does not follow" in p.what for p in chained.problems)


def test_a_head_that_leaves_records_out_is_found(ledger: Ledger) -> None:
    """The last one, so that no other follows from it."""
    file = Path(ledger.files.url, "000000", "000000007.json")
    data = file.read_bytes()
    told = orjson.loads(data)
    told["ranges"][-1][1] += 1
    try:
        file.write_bytes(orjson.dumps(told))
        report = verify(ledger.connection, ledger.files)
    finally:
        file.write_bytes(data)
    assert any("the heads before it up to" in p.what for p in report.problems)


def test_what_is_younger_than_the_last_head_is_counted_with_its_age(ledger: Ledger) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    stored = append_bulk(ledger.connection, "new", samples.records_of_a_session(2, "new"))
    report = verify(ledger.connection, ledger.files)
    assert (report.intact, report.unanchored) == (True, stored)
    assert report.unanchored_since is not None
    assert report.unanchored_since > before
    ledger.run("UPDATE trade.sessions SET market = 'x' WHERE session_id = 'new'")
    touched = verify(ledger.connection, ledger.files)
    assert touched.problems[0].head is None
    assert touched.last_holding == 7


def test_heads_written_meanwhile_raise_no_alarm(ledger: Ledger) -> None:
    """The ones that were listed before the snapshot are compared, and no later one is missed."""
    numbers = ledger.files.numbers()[:-1]
    assert verify(ledger.connection, ledger.files, numbers).intact


def test_what_really_trained_and_judged_a_model_is_untouched(fresh_strong_store: Store) -> None:
    """Records as the program makes them, thousands of them, with a head and without."""
    url, files = fresh_strong_store.database.url("trade_reader"), fresh_strong_store.artifacts.heads
    before = verify_url(url, files)
    assert before.intact, before.verdict
    assert before.unanchored == before.records > 3_000
    with fresh_strong_store.database.connect(autocommit=True) as connection:
        write_heads(connection, files)
    seen: list[tuple[int, int]] = []
    after = verify_url(url, files, lambda done, total: seen.append((done, total)))
    assert (after.intact, after.unanchored) == (True, 0), after.verdict
    assert seen[-1][0] == seen[-1][1] > 0


@pytest.mark.parametrize("form", ["plain", "custom"])
def test_a_dump_is_verified_without_its_database(shared: Ledger, tmp_path: Path, form: str) -> None:
    dump = tmp_path / "dump"
    environment = {
        {"dbname": "PGDATABASE"}.get(k, f"PG{k.upper()}"): v
        for k, v in parts_of(shared.url).items()
    }

    def dumped() -> None:
        subprocess.run(
            [binary("pg_dump"), f"--format={form}", "-f", dump],
            env=environment, check=True, timeout=60,
        )  # fmt: skip

    dumped()
    with restored(dump) as url:
        report = verify_url(url, shared.files)
        assert (report.intact, report.unanchored) == (True, 0), report.verdict
    change = "UPDATE trade.executions SET price = price {} WHERE chain_id = 's2' AND chain_seq = 5"
    table, seq, _ = next(r for r in shared.editor.chains["s2"] if r[0] == "executions")
    change = (
        f"UPDATE trade.{table} SET size = size {{}} WHERE chain_id = 's2' AND chain_seq = {seq}"
    )
    shared.run(change.format("+ 1"))
    try:
        dumped()
    finally:
        shared.run(change.format("- 1"))
    with restored(dump) as url:
        report = verify_url(url, shared.files)
    assert (report.problems[0].table, report.problems[0].field) == ("executions", "size")
    assert report.problems[0].key is not None


def test_a_file_that_is_no_dump_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadDump, match="no such file"), restored(tmp_path / "none"):
        pass
    (tmp_path / "text").write_text("SELEKT 1;")
    with pytest.raises(BadDump, match="SELEKT"), restored(tmp_path / "text"):
        pass


def test_artifacts_are_there_with_their_hash_or_have_a_tombstone(
    ledger: Ledger, tmp_path: Path
) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    kept, gone, changed = (
        record_artifact(ledger.connection, artifacts, data, media_type="text/plain")
        for data in (b"kept", b"gone", b"changed")
    )
    before = len(check_artifacts(ledger.connection, artifacts))
    for address, data in ((gone, None), (changed, b"other")):
        file = Path(artifacts.uri(address).removeprefix("file://"))
        file.unlink()
        if data is not None:
            file.write_bytes(data)
    found = {p.key: p.what for p in check_artifacts(ledger.connection, artifacts)}
    assert len(found) == before + 2
    assert kept not in found
    assert "is missing" in found[gone]
    assert "another hash" in found[changed]
    assert sha256(b"gone").hex() in gone
    ledger.connection.execute("DROP TABLE IF EXISTS trade.artifact_tombstones CASCADE")
    ledger.connection.execute("CREATE TABLE trade.artifact_tombstones (address text)")
    ledger.connection.execute("INSERT INTO trade.artifact_tombstones VALUES (%s)", (gone,))
    assert len(check_artifacts(ledger.connection, artifacts)) == before + 1
