"""A backup is whole or none, and what comes back from it is what was there."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from trade_pipeline.core.backup import create
from trade_pipeline.core.backup.check import check_backup
from trade_pipeline.core.backup.create import back_up, plan
from trade_pipeline.core.backup.endpoint import Endpoint, endpoint_of
from trade_pipeline.core.backup.errors import BadBackup
from trade_pipeline.core.backup.manifest import newest_or, read_manifest
from trade_pipeline.core.backup.place import MANIFEST, Place
from trade_pipeline.core.backup.restore import restore
from trade_pipeline.core.backup.snapshot import Snapshot, snapshot_of
from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.retention.artifacts import remove_expired
from trade_pipeline.core.store.artifacts import record_artifact
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.backup.kept import NOON, Kept


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "place")


def test_everything_comes_back_into_an_empty_place(store: Kept, empty: Kept, place: str) -> None:
    store.write("s1", b"more")
    made = back_up(store.settings, place).manifest
    done = restore(empty.settings, place)
    assert done.report is not None
    assert done.report.intact, done.report.verdict
    assert (done.database, done.artifacts, done.kept) == (True, 3, 0)
    assert empty.content() == store.content()
    assert empty.rows() == store.rows() == dict(made.tables)
    assert empty.artifacts.heads.numbers() == [0, 1]
    assert empty.artifacts.heads.days() == store.artifacts.heads.days()
    # What comes back is refused changes and goes on as before.
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        psycopg.connect(empty.url) as superuser,
    ):
        superuser.execute("UPDATE trade.candidates SET confidence = 1")
    empty.write("s2", b"new")
    again = verify_url(empty.url, empty.artifacts.heads)
    assert (again.intact, again.unanchored, again.heads) == (True, 0, 3)


def test_what_the_place_holds_is_not_copied_again(store: Kept, place: str) -> None:
    assert plan(store.settings, place).new_artifacts == 2
    first = back_up(store.settings, place).manifest
    store.write("s1", b"more")
    planned = plan(store.settings, place)
    assert (planned.new_artifacts, planned.new_bytes) == (1, 4)
    second = back_up(store.settings, place).manifest
    assert (first.new_artifacts, second.new_artifacts, second.artifacts) == (2, 1, 3)
    assert Place(place).whole() == [first.name, second.name]
    check_backup(Place(place), first)
    check_backup(Place(place), second)


def test_a_backup_that_was_cut_off_is_none(
    store: Kept, empty: Kept, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(create, "keep_heads", cut)
        with pytest.raises(KeyboardInterrupt):
            back_up(store.settings, place)
    (name,) = Place(place).unfinished()
    for wanted in (None, name):
        with pytest.raises(BadBackup):
            restore(empty.settings, place, name=wanted)
    made = back_up(store.settings, place, keep=1)
    assert newest_or(Place(place), None) == made.manifest.name
    assert Place(place).unfinished() == []


def test_a_session_trades_while_it_is_backed_up_and_the_cut_is_one_moment(
    store: Kept, empty: Kept, place: str
) -> None:
    stop = threading.Event()
    written: list[str] = []

    def trade() -> None:
        with store.writer() as connection:
            while not stop.is_set():
                name = f"t{len(written)}"
                address = record_artifact(
                    connection, store.artifacts, name.encode(), media_type="text/plain"
                )
                records = [
                    samples.session(name, params_ptr=address),
                    *samples.records_of_a_session(3, name)[1:],
                ]
                append_bulk(connection, name, records)
                write_heads(connection, store.artifacts.heads, NOON)
                written.append(name)

    thread = threading.Thread(target=trade)
    thread.start()
    try:
        while len(written) < 3:
            assert thread.is_alive()
        before = len(written)
        manifest = back_up(store.settings, place).manifest
        during = len(written) - before
    finally:
        stop.set()
        thread.join(60)
    assert during > 0
    assert not manifest.incomplete
    done = restore(empty.settings, place)
    assert done.report is not None
    assert done.report.intact, done.report.verdict
    assert before + 1 <= empty.rows()["sessions"] <= len(written)


def test_a_month_begins_while_a_backup_reads(store: Kept) -> None:
    """pg_dump locks every table against changes of its shape until it has read the last."""
    with psycopg.connect(store.url) as dump, store.writer() as writer:
        for table in samples.count_rows(dump):
            dump.execute(f"LOCK TABLE trade.{table} IN ACCESS SHARE MODE".encode())
        writer.execute("SET lock_timeout = '5s'")
        made = writer.execute("SELECT trade.ensure_partitions('2031-01-01', '2031-02-01')")
        assert (made.fetchone() or (0,))[0] > 0
        writer.execute("SELECT trade.ensure_series_partitions('2032-01-01', '2032-02-01')")


def test_what_the_retention_removed_stays_removed(
    store: Kept, empty: Kept, place: str, tmp_path: Path
) -> None:
    with store.writer() as connection:
        old = record_artifact(
            connection, store.artifacts, b"an old answer", media_type="text/plain",
            expires_at=datetime.now(UTC) - timedelta(days=1),
        )  # fmt: skip
    first = back_up(store.settings, place).manifest
    with Database.at(store.url) as database:
        remove_expired(database, store.artifacts, SystemClock(), by="test")
    second = back_up(store.settings, place).manifest
    assert (first.artifacts, second.artifacts) == (3, 2)
    done = restore(empty.settings, place)
    assert done.report is not None
    assert done.report.intact, done.report.verdict
    assert not empty.artifacts.exists(old)
    # The older backup needs it, and the place keeps it as long as that stays.
    check_backup(Place(place), first)
    third = back_up(store.settings, place, keep=2)
    assert (third.removed, third.freed_artifacts) == ([first.name], 1)
    assert not Place(place).artifacts.exists(old)
    check_backup(Place(place), second)
    with pytest.raises(BadBackup, match=first.name):
        read_manifest(Place(place), first.name)
    with pytest.raises(BadConfig, match="keep=0"):
        back_up(store.settings, place, keep=0)


def test_nothing_is_removed_while_it_is_copied(store: Kept) -> None:
    free = "SELECT pg_try_advisory_lock(hashtextextended('trade.retention', 0))"
    with (
        endpoint_of(store.settings) as endpoint,
        psycopg.connect(store.url, autocommit=True) as other,
    ):
        with snapshot_of(endpoint):
            assert other.execute(free).fetchone() == (False,)
        assert other.execute(free).fetchone() == (True,)


def test_a_head_that_is_written_as_the_backup_begins_is_in_it(
    store: Kept, empty: Kept, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database remembers it, and would miss its file."""

    def later(endpoint: Endpoint) -> AbstractContextManager[Snapshot]:
        store.write("s1")
        return snapshot_of(endpoint)

    monkeypatch.setattr(create, "snapshot_of", later)
    assert back_up(store.settings, place).manifest.heads.last == 1
    done = restore(empty.settings, place)
    assert done.report is not None
    assert done.report.intact, done.report.verdict


def test_what_is_missing_from_the_store_is_told_and_the_rest_is_kept(
    store: Kept, place: str
) -> None:
    address, damaged = store.write("s1", b"lost", b"damaged")
    store.artifacts.remove(address)
    Path(store.artifacts.uri(damaged).removeprefix("file://")).write_bytes(b"DAMAGED")
    made = back_up(store.settings, place).manifest
    assert (made.artifacts, len(made.incomplete)) == (2, 2)
    assert all(any(lost in why for why in made.incomplete) for lost in (address, damaged))
    heads = Path(store.artifacts.heads.url, "000000/000000001.json")
    heads.write_bytes(b"{}")
    (told,) = [why for why in back_up(store.settings, place + "2").manifest.incomplete
               if "head" in why]  # fmt: skip
    assert "head 1 " in told


def test_a_history_that_parts_gets_heads_of_its_own(store: Kept, empty: Kept, place: str) -> None:
    first = back_up(store.settings, place).manifest
    store.write("s1")
    second = back_up(store.settings, place).manifest
    restore(empty.settings, place, name=first.name)
    empty.write("other")
    third = back_up(empty.settings, place).manifest
    assert [m.heads.line for m in (first, second, third)] == [0, 0, 1]
    for manifest in (first, second, third):
        check_backup(Place(place), manifest)
    back_up(empty.settings, place, keep=1)
    assert Place(place).lines() == [1]


def test_a_manifest_that_was_changed_is_refused(store: Kept, place: str) -> None:
    name = back_up(store.settings, place).manifest.name
    file = Path(place, "backups", name, MANIFEST)
    file.write_bytes(file.read_bytes().replace(b'"artifacts":2', b'"artifacts":1'))
    with pytest.raises(BadBackup, match=r"manifest\.json is damaged"):
        read_manifest(Place(place), name)


def test_a_database_of_nobody_is_no_backup(empty: Kept, place: str) -> None:
    with pytest.raises(BadBackup, match="nothing to back up"):
        back_up(empty.settings, place)
    assert Place(place).whole() == []


def test_the_embedded_server_is_backed_up_without_a_setting(
    server: EmbeddedPostgres, place: str
) -> None:
    """There its tables' owner may not even connect."""
    home = Settings(_env_file=None, home=server.folder.parent)  # type: ignore[call-arg]
    made = back_up(home, place, with_dagster=True).manifest
    assert sum(made.tables.values()) == made.tables["migrations"]
    assert made.dagster == {"runs": 0, "event_logs": 0}
    planned = restore(home, place, dry_run=True)
    assert (planned.database, planned.report) == (True, None)
