"""Migrations: each applied once and whole, and never edited afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from pathlib import Path

import psycopg
import pytest

from trade_pipeline.core.errors import MigrationEdited, StoreUnavailable, TradePipelineError
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.migrations import migrate, migrations_folder, read_migrations
from trade_pipeline.core.store.server import EmbeddedPostgres

NAMES = [path.name for path in sorted(migrations_folder().glob("*.sql"))]
MIGRATE = (
    "import sys\n"
    "from trade_pipeline.core.store.migrations import migrate\n"
    "sys.stdin.readline()\n"
    "print(len(migrate(sys.argv[1])))\n"
)


@pytest.fixture
def url(server: EmbeddedPostgres, superuser_url: str) -> str:
    """A database without anything in it, as the superuser."""
    name = f"bare_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE template0'.encode())
    return server.url("postgres", name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the migrations to spoil."""
    return Path(shutil.copytree(migrations_folder(), tmp_path / "sql"))


def applied(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        if connection.execute("SELECT to_regclass('trade.migrations')").fetchone() == (None,):
            return []
        rows = connection.execute("SELECT name FROM trade.migrations ORDER BY version")
        return [name for (name,) in rows]


def schema(url: str) -> list[tuple[object, ...]]:
    """Everything in the database that a migration could make."""
    with psycopg.connect(url) as connection:
        return connection.execute(
            "SELECT 'class', relname::text FROM pg_class c JOIN pg_namespace n "
            "ON n.oid = relnamespace WHERE nspname IN ('trade', 'public') UNION ALL "
            "SELECT 'function', proname::text FROM pg_proc p JOIN pg_namespace n "
            "ON n.oid = pronamespace WHERE nspname IN ('trade', 'public') UNION ALL "
            "SELECT 'schema', nspname::text FROM pg_namespace ORDER BY 1, 2"
        ).fetchall()


def test_a_bare_database_gets_every_migration_in_order(url: str) -> None:
    assert migrate(url) == NAMES
    assert applied(url) == NAMES


def test_a_second_run_applies_nothing(url: str) -> None:
    migrate(url)
    before = schema(url)
    assert migrate(url) == []
    assert schema(url) == before


def test_only_what_is_new_is_applied(url: str, folder: Path) -> None:
    migrate(url)
    new = f"{len(NAMES) + 1:04}_more.sql"
    (folder / new).write_text("CREATE TABLE trade.more (x integer);")
    assert migrate(url, folder) == [new]
    assert applied(url) == [*NAMES, new]


@pytest.mark.parametrize("name", NAMES)
def test_an_applied_migration_that_was_edited_is_refused_by_name(
    url: str, folder: Path, name: str
) -> None:
    migrate(url, folder)
    before = schema(url)
    edited = folder / name
    edited.write_text(edited.read_text() + "\n-- a harmless remark\n")
    (folder / f"{len(NAMES) + 1:04}_more.sql").write_text("CREATE TABLE trade.more (x integer);")
    with pytest.raises(MigrationEdited, match=f"^{name}: changed after it was applied"):
        migrate(url, folder)
    assert schema(url) == before
    assert applied(url) == NAMES


def test_an_applied_migration_that_was_removed_is_refused_by_name(url: str, folder: Path) -> None:
    migrate(url, folder)
    (folder / NAMES[-1]).unlink()
    with pytest.raises(MigrationEdited, match=f"^{NAMES[-1]}: applied to this database but missin"):
        migrate(url, folder)


@pytest.mark.parametrize("number", [1, 2, len(NAMES) + 2])
def test_a_gap_in_the_numbers_is_refused_before_anything_is_applied(
    url: str, folder: Path, number: int
) -> None:
    if number <= len(NAMES):
        (folder / NAMES[number - 1]).unlink()
    else:
        (folder / f"{number:04}_more.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationEdited, match="without gap"):
        migrate(url, folder)
    assert applied(url) == []


def test_two_migrations_of_one_number_are_refused(url: str, folder: Path) -> None:
    (folder / "0003_again.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationEdited, match="without gap"):
        migrate(url, folder)
    assert applied(url) == []


def test_other_files_in_the_folder_are_no_migrations(folder: Path) -> None:
    (folder / "notes.txt").write_text("")
    (folder / "0009_draft.sql.bak").write_text("")
    assert [m.name for m in read_migrations(folder)] == NAMES


def test_a_failing_migration_leaves_nothing_of_itself_behind(url: str, folder: Path) -> None:
    migrate(url)
    before = schema(url)
    (folder / f"{len(NAMES) + 1:04}_half.sql").write_text(
        "CREATE TABLE trade.half (x integer); CREATE FUNCTION trade.half() RETURNS integer "
        "LANGUAGE sql AS 'SELECT 1'; INSERT INTO trade.half SELECT 1/0;"
    )
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(url, folder)
    assert schema(url) == before
    assert applied(url) == NAMES


def test_after_a_failure_the_mended_migration_is_applied(url: str, folder: Path) -> None:
    last = folder / NAMES[-1]
    right = last.read_text()
    last.write_text(right + "\nSELECT 1/0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(url, folder)
    assert applied(url) == NAMES[:-1]
    last.write_text(right)
    assert migrate(url, folder) == NAMES[-1:]


def test_a_failing_first_migration_leaves_the_database_bare(url: str, folder: Path) -> None:
    before = schema(url)
    first = folder / NAMES[0]
    first.write_text(first.read_text() + "\nSELECT 1/0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate(url, folder)
    assert schema(url) == before


def test_two_processes_that_migrate_at_once_apply_each_migration_once(url: str) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", MIGRATE, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.communicate() for process in started]
    assert [process.returncode for process in started] == [0, 0], said
    assert sorted(int(out) for out, _ in said) == [0, len(NAMES)]
    assert applied(url) == NAMES


def test_a_server_that_does_not_answer_is_a_store_unavailable() -> None:
    with pytest.raises(StoreUnavailable, match="cannot migrate") as refused:
        migrate("postgresql://postgres@127.0.0.1:1/nowhere?connect_timeout=2")
    assert isinstance(refused.value, TradePipelineError)


def test_a_database_by_url_that_is_not_migrated_is_refused_with_what_it_lacks(url: str) -> None:
    with pytest.raises(StoreUnavailable, match=NAMES[0]):
        Database.at(url)


def test_a_database_by_url_acts_as_the_roles_and_never_as_its_login(url: str) -> None:
    migrate(url)
    with Database.at(url) as database:
        for role in ("trade_writer", "trade_reader", "trade_admin"):
            with database.connect(role) as connection:
                assert connection.execute("SELECT current_user").fetchone() == (role,)
