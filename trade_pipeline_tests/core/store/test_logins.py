"""Every login of docs/security.md does its work and nothing else."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres, binary
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.documents import ROOT, blocks

DOCUMENT = ROOT / "docs" / "security.md"
DENIED = (psycopg.errors.InsufficientPrivilege, psycopg.OperationalError)
# Whatever a login may be, it does none of this.
NOBODY = (
    "UPDATE trade.sessions SET market = 'x'",
    "DELETE FROM trade.sessions",
    "TRUNCATE trade.sessions CASCADE",
    "DROP TABLE trade.sessions CASCADE",
    "ALTER TABLE trade.sessions ADD COLUMN mine integer",
    "ALTER TABLE trade.sessions DISABLE TRIGGER ALL",
    "CREATE FUNCTION trade.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE FUNCTION public.mine() RETURNS integer LANGUAGE sql AS 'SELECT 1'",
    "CREATE TABLE trade.mine (x integer)",
    "CREATE SCHEMA mine",
    "SET ROLE trade_owner",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "SET session_replication_role = replica",
    "CREATE ROLE mine",
    "CREATE DATABASE mine",
    "ALTER SYSTEM SET fsync = off",
    "COPY trade.sessions TO PROGRAM 'cat'",
    "COPY trade.sessions FROM '/etc/passwd'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT rolpassword FROM pg_authid",
    "SELECT trade.protect('trade.migrations')",
)
WRITES = (
    "INSERT INTO trade.artifacts (address, uri, size_bytes, media_type) VALUES"
    " ('sha256:' || repeat('a', 64), 'x', 1, 'x')",
    "UPDATE trade.leases SET holder = 'x'",
    "SELECT trade.take_lease('a', 'b', 'paper', 1, false)",
    "SELECT trade.ensure_partitions(now(), now())",
    "CREATE TEMPORARY TABLE mine (x integer)",
)


@pytest.fixture(scope="module")
def named(server: EmbeddedPostgres) -> Iterator[str]:
    """A database with the logins that the document makes."""
    block, *_ = blocks(DOCUMENT, "sql")
    with create_database(server) as database:
        with database.connect() as connection:
            name = connection.info.dbname
            append_bulk(connection, "s", samples.records_of_a_session(3))
        written = block.replace("DATABASE trade_pipeline", f'DATABASE "{name}"')
        with psycopg.connect(server.url("postgres", name), autocommit=True) as superuser:
            superuser.execute(written.encode())
            yield name
            superuser.execute(b"DROP OWNED BY trade_app, dashboards, backup")
            superuser.execute(b"DROP ROLE trade_app, dashboards, backup")


def url_of(server: EmbeddedPostgres, login: str, password: str, database: str) -> str:
    place = server.url("postgres", database).partition("@")[2]
    return f"postgresql://{login}:{password}@{place}"


@pytest.fixture(scope="module")
def logins(server: EmbeddedPostgres, named: str) -> dict[str, str]:
    given = {"trade_app": "one", "dashboards": "two", "backup": "three"}
    return {login: url_of(server, login, word, named) for login, word in given.items()}


@pytest.mark.parametrize("login", ["trade_app", "dashboards", "backup"])
@pytest.mark.parametrize("role", [None, "trade_writer", "trade_reader", "trade_admin"])
def test_no_login_changes_what_is_stored_or_becomes_more_than_it_is(
    logins: dict[str, str], login: str, role: str | None
) -> None:
    with psycopg.connect(logins[login], autocommit=True) as connection:
        if role is not None:
            if login != "trade_app" and role != "trade_reader":
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
                return
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        for statement in NOBODY:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())


@pytest.mark.parametrize("login", ["trade_app", "dashboards", "backup"])
def test_no_login_reads_another_database(
    server: EmbeddedPostgres, logins: dict[str, str], login: str
) -> None:
    for other in ("dagster", "postgres", "template1"):
        place = re.sub(r"/test_[0-9a-f]+\?", f"/{other}?", logins[login])
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(place)


@pytest.mark.parametrize("login", ["dashboards", "backup"])
def test_who_reads_writes_nothing_and_sees_all(logins: dict[str, str], login: str) -> None:
    with psycopg.connect(logins[login], autocommit=True) as connection:
        for statement in WRITES:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement.encode())
        for (view,) in connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'trade'::regnamespace "
            "AND relkind IN ('r', 'p', 'v') AND relname <> 'ledger_columns'"
        ).fetchall():
            connection.execute(
                sql.SQL("SELECT * FROM trade.{} LIMIT 1").format(sql.Identifier(view))
            )


def test_the_program_does_all_its_work_as_one_login(logins: dict[str, str]) -> None:
    with Database.at(logins["trade_app"]) as database:
        with database.connect() as connection:
            append_bulk(connection, "t", samples.records_of_a_session(3, "t"))
            connection.execute("SELECT trade.take_lease('a', 'me', 'paper', 60, false)")
        with database.connect("trade_admin") as connection:
            connection.execute("SELECT trade.ensure_partitions(now(), now())")
        with database.connect("trade_reader") as connection:
            assert connection.execute("SELECT count(*) FROM trade.attribution").fetchone()


def test_the_backups_login_dumps_the_whole_database(logins: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "dump"
    subprocess.run(
        [binary("pg_dump"), "-Fc", "-f", file, "-d", logins["backup"]],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    assert file.stat().st_size > 10_000


def test_dagsters_login_keeps_its_own_database_and_sees_no_record(
    server: EmbeddedPostgres, named: str
) -> None:
    with psycopg.connect(server.url("dagster", "dagster")) as connection:
        connection.execute("CREATE TABLE mine (x integer)")
        connection.execute("DROP TABLE mine")
        for statement in ("SET ROLE trade_reader", "SET ROLE trade_owner", "SET ROLE postgres"):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                connection.transaction(),
            ):
                connection.execute(statement.encode())
    for other in (named, "trade_pipeline", "postgres"):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(server.url("dagster", other))


def test_nobody_but_the_products_roles_may_call_its_functions(
    server: EmbeddedPostgres, named: str
) -> None:
    """Also those of migrations to come: the catalogue is asked."""
    with psycopg.connect(server.url("postgres", named)) as connection:
        functions = connection.execute(
            "SELECT p.oid::regprocedure::text, "
            "has_function_privilege('dagster', p.oid, 'EXECUTE'), "
            "p.prosecdef, p.proconfig, l.lanname FROM pg_proc p JOIN pg_language l "
            "ON l.oid = p.prolang WHERE p.pronamespace = 'trade'::regnamespace "
            "AND l.lanname <> 'internal'"
        ).fetchall()
    assert len(functions) > 15
    for name, callable_by_all, as_owner, settings, language in functions:
        assert not callable_by_all, name
        if as_owner or language == "plpgsql":
            assert "search_path=pg_catalog, pg_temp" in (settings or []), name
