"""Restoring: what is lost comes back, what is there stays, and a damaged backup changes nothing."""

from __future__ import annotations

import subprocess
import sys
import time
import uuid
from pathlib import Path

import orjson
import psycopg
import pytest

from trade_pipeline.core.backup.check import check_backup
from trade_pipeline.core.backup.create import back_up
from trade_pipeline.core.backup.errors import BadBackup, TargetNotEmpty
from trade_pipeline.core.backup.manifest import Manifest
from trade_pipeline.core.backup.place import Place
from trade_pipeline.core.backup.restore import restore
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.heads import LedgerBroken
from trade_pipeline.core.ledger.set_aside import set_heads_aside
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.migrations import migrate, migrations_folder, read_migrations
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.backup.kept import Kept


def lose_database(kept: Kept) -> None:
    with psycopg.connect(kept.url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA trade CASCADE")


def file_of(kept: Kept, address: str) -> Path:
    return Path(kept.artifacts.uri(address).removeprefix("file://"))


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "place")


@pytest.fixture
def made(store: Kept, place: str) -> Manifest:
    for number in range(1, 4):
        store.write(f"s{number}", b"content %d" % number)
    return back_up(store.settings, place).manifest


def test_what_was_lost_comes_back_and_what_is_there_stays(
    store: Kept, made: Manifest, place: str
) -> None:
    content = store.content()
    addresses = sorted(store.artifacts.sizes())
    kept = {address: file_of(store, address).stat().st_mtime_ns for address in addresses[2:]}
    store.artifacts.remove(addresses[0])
    damaged = file_of(store, addresses[1])
    damaged.write_bytes(bytes(damaged.stat().st_size))
    Path(store.artifacts.heads.url, "000000/000000001.json").unlink()
    Path(store.artifacts.heads.url, "000000/000000002.leaves").write_bytes(b"short")
    lose_database(store)
    planned = restore(store.settings, place, dry_run=True)
    assert (planned.database, planned.artifacts, planned.report) == (True, 2, None)
    assert not store.artifacts.exists(addresses[0])
    done = restore(store.settings, place)
    assert (done.artifacts, done.kept, done.heads) == (2, made.artifacts - 2, 2)
    assert done.report is not None
    assert done.report.intact, done.report.verdict
    assert store.content() == content
    assert kept == {address: file_of(store, address).stat().st_mtime_ns for address in kept}
    again = restore(store.settings, place)
    assert (again.database, again.artifacts, again.heads) == (False, 0, 0)


def test_a_database_that_holds_something_else_is_never_touched(
    store: Kept, made: Manifest, place: str
) -> None:
    store.write("s9")
    before = store.content()
    with pytest.raises(TargetNotEmpty, match="kept_"):
        restore(store.settings, place)
    assert store.content() == before


def test_a_migrated_database_without_a_record_is_an_empty_place(
    empty: Kept, store: Kept, made: Manifest, place: str
) -> None:
    migrate(empty.url)
    done = restore(empty.settings, place)
    assert done.database
    assert empty.content() == store.content()


def test_a_damaged_backup_is_refused_by_the_name_of_the_file(
    empty: Kept, made: Manifest, place: str
) -> None:
    kept = Place(place)
    (day, _), *_ = made.heads.days.values()
    artifact = sorted(kept.artifacts.sizes().keys() - {day})[0]
    files = {
        f"{place}/backups/{made.name}/database.dump": "database.dump",
        f"{place}/backups/{made.name}/addresses.txt": "addresses.txt",
        f"{place}/heads/0/000000/000000001.json": "head 1 ",
        f"{place}/heads/0/000000/000000002.leaves": "head 2 ",
        kept.artifacts.uri(artifact).removeprefix("file://"): artifact.removeprefix("sha256:"),
        kept.artifacts.uri(day).removeprefix("file://"): "day 2026-06-01",
    }
    for path, named in files.items():
        file = Path(path)
        data = file.read_bytes()
        for damage in (None, data[:-1] + bytes([data[-1] ^ 1]), data[: len(data) // 2]):
            file.unlink()
            if damage is not None:
                file.write_bytes(damage)
            with pytest.raises(BadBackup, match=named):
                restore(empty.settings, place)
            with pytest.raises(BadBackup, match=named):
                check_backup(kept, made)
            file.write_bytes(data)
    assert empty.artifacts.sizes() == {}
    assert empty.artifacts.heads.numbers() == []
    with psycopg.connect(empty.url) as connection:
        assert connection.execute("SELECT to_regnamespace('trade')").fetchone() == (None,)
    check_backup(kept, made)


def test_a_store_keeps_what_its_backup_has_lost(store: Kept, made: Manifest, place: str) -> None:
    """What the store holds whole is not needed of the backup."""
    address = sorted(store.artifacts.sizes())[0]
    Place(place).artifacts.remove(address)
    lose_database(store)
    done = restore(store.settings, place)
    assert done.report is not None
    assert done.report.intact


RESTORE = (
    "import sys; from pathlib import Path; from trade_pipeline.settings import Settings;"
    "from trade_pipeline.core.backup.restore import restore;"
    "sys.stdin.readline();"
    "restore(Settings(_env_file=None, home=Path(sys.argv[1]), database_url=sys.argv[2],"
    " dagster_url=sys.argv[2], artifacts_url=sys.argv[3]), sys.argv[4])"
)


def test_accounts_whose_exchange_has_not_gone_back_enter_nothing_after_a_restore(
    store: Kept, empty: Kept, tmp_path: Path
) -> None:
    with psycopg.connect(store.url) as connection:
        for account, orders in (("venue", "exchange"), ("paper", "simulated")):
            connection.execute(
                "INSERT INTO trade.live_requests (account, wanted, settings, by_whom) "
                "VALUES (%s, true, %s, 'test')",
                (account, orjson.dumps({"account": account, "orders": orders}).decode()),
            )
    store.write("s", b"content")
    back_up(store.settings, str(tmp_path / "place"))
    done = restore(empty.settings, str(tmp_path / "place"))
    assert done.halted == ["venue"]
    with psycopg.connect(empty.url) as connection:
        halts = connection.execute("SELECT account, action, reason FROM trade.halts").fetchall()
    reason = f"restored backup {done.manifest.name}: compare with the venue"
    assert halts == [("venue", "halt", reason)]


def test_dagsters_storage_that_no_setting_names_is_refused(store: Kept, tmp_path: Path) -> None:
    settings = store.settings.model_copy(update={"dagster_url": None})
    with pytest.raises(BadConfig, match="TRADE_PIPELINE_DAGSTER_URL is not set"):
        back_up(settings, str(tmp_path / "place"), with_dagster=True)


@pytest.mark.reliability
def test_a_restore_that_is_killed_is_run_again(
    store: Kept, empty: Kept, made: Manifest, place: str
) -> None:
    settings = empty.settings
    given = [str(settings.home), empty.url, str(settings.artifacts_url), place]
    wait = 0.1
    for _ in range(KILLS):
        process = subprocess.Popen([sys.executable, "-c", RESTORE, *given], stdin=subprocess.PIPE)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        time.sleep(wait)
        wait += 2.0 / KILLS
        ended = process.poll() is not None
        process.kill()
        process.wait(60)
        process.stdin.close()
        with psycopg.connect(empty.url) as connection:
            row = connection.execute("SELECT to_regclass('trade.sessions')").fetchone()
        # Whole or not there.
        assert row == (None,) or empty.rows()["sessions"] == 4
        if ended:
            break
    done = restore(empty.settings, place)
    assert done.report is not None
    assert done.report.intact
    assert empty.content() == store.content()


def test_a_backup_of_an_earlier_schema_is_migrated(
    empty: Kept, store: Kept, place: str, tmp_path: Path
) -> None:
    known = read_migrations(migrations_folder())
    early = tmp_path / "early"
    early.mkdir()
    for migration in known[:-2]:
        (early / migration.name).write_text(migration.sql)
    lose_database(store)
    migrate(store.url, early)
    for number in store.artifacts.heads.numbers():
        Path(store.artifacts.heads.url, f"000000/{number:09}.json").unlink()
    with store.writer() as connection:
        connection.execute(
            "INSERT INTO trade.artifacts (address, uri, size_bytes, media_type) "
            "VALUES (%s, 'x', 8, 'text/plain')",
            (sorted(store.artifacts.sizes())[0],),
        )
    made = back_up(store.settings, place).manifest
    assert made.schema == known[-3].version
    done = restore(empty.settings, place)
    assert list(done.migrations) == [migration.name for migration in known[-2:]]
    assert done.report is not None
    assert done.report.intact
    assert empty.rows()["artifacts"] == 1


def test_a_backup_of_a_newer_program_is_refused(
    store: Kept, empty: Kept, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    back_up(store.settings, place)
    known = read_migrations(migrations_folder())
    monkeypatch.setattr("trade_pipeline.core.backup.restore.read_migrations", lambda _: known[:-1])
    with pytest.raises(BadBackup, match="install the newer one"):
        restore(empty.settings, place)


def test_after_an_older_backup_the_later_heads_are_told_and_set_aside(
    store: Kept, made: Manifest, place: str
) -> None:
    store.write("s8")
    store.write("s9")
    lose_database(store)
    done = restore(store.settings, place)
    assert done.later_heads == 2
    report = done.report
    assert report is not None
    assert not report.intact
    assert report.behind is not None
    assert (report.behind.first, report.behind.last) == (4, 5)
    assert "older than its heads: head 3 is the last that holds" in report.verdict
    with Database.at(store.url) as database:
        files = store.artifacts.heads
        with pytest.raises(BadConfig, match="reason"):
            set_heads_aside(database, files, MarketClock(0), reason=" ", by="test")
        behind, folder = set_heads_aside(
            database, files, MarketClock(0), reason="restored", by="test"
        )
        assert behind == report.behind
        aside = Path(files.url, folder)
        assert {path.name for path in aside.rglob("0*.json")} == {
            "000000004.json", "000000005.json",
        }  # fmt: skip
        assert b"restored" in (aside / "note.json").read_bytes()
        after = verify_url(store.url, files)
        assert after.intact, after.verdict
        store.write("s10")
        assert (verify_url(store.url, files).heads, files.numbers()[-1]) == (5, 4)
        with pytest.raises(BadConfig, match="nothing to set aside"):
            set_heads_aside(database, files, MarketClock(0), reason="again", by="test")


def test_a_record_that_was_changed_is_never_explained_by_a_restore(
    store: Kept, made: Manifest, place: str
) -> None:
    store.write("s9")
    lose_database(store)
    restore(store.settings, place)
    with psycopg.connect(store.url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute("UPDATE trade.candidates SET instrument = 'DOGE' WHERE decision_no = 1")
    report = verify_url(store.url, store.artifacts.heads)
    assert report.behind is None
    with Database.at(store.url) as database, pytest.raises(LedgerBroken):
        set_heads_aside(
            database, store.artifacts.heads, MarketClock(0), reason="restored", by="test"
        )


def test_heads_of_another_history_are_refused(
    store: Kept, empty: Kept, made: Manifest, place: str
) -> None:
    migrate(empty.url)
    empty.write("other")
    lose_database(empty)
    with pytest.raises(TargetNotEmpty, match="another history"):
        restore(empty.settings, place)


def test_a_role_that_is_not_there_is_named_and_the_database_stays_as_it_was(
    store: Kept, empty: Kept, place: str
) -> None:
    role = f"analyst_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(store.url, autocommit=True) as superuser:
        superuser.execute(f"CREATE ROLE {role}".encode())
        superuser.execute(f"GRANT SELECT ON trade.sessions TO {role}".encode())
        back_up(store.settings, place)
        superuser.execute(f"DROP OWNED BY {role}; DROP ROLE {role}".encode())
    with pytest.raises(BadBackup, match=f'role "{role}" does not exist'):
        restore(empty.settings, place)
    with psycopg.connect(empty.url) as connection:
        assert connection.execute("SELECT to_regnamespace('trade')").fetchone() == (None,)
