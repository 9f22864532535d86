"""The roles and databases of the embedded server, and the file with the passwords."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path

import psycopg
from psycopg import sql

SUPERUSER = "postgres"
ROLES = ("trade_writer", "trade_reader", "trade_admin", "dagster")
# Database: its owner, and the roles that may connect to it.
_DATABASES = {
    "trade_pipeline": (SUPERUSER, ("trade_writer", "trade_reader", "trade_admin")),
    "dagster": ("dagster", ("dagster",)),
}
# The database's comment says that it went through all of this: raise the number with any change.
_PREPARED = "trade_pipeline: roles and databases 2"


def write_passwords(file: Path) -> None:
    """Make a password for every role and store them where only this account can read them."""
    passwords = {role: secrets.token_urlsafe(24) for role in (SUPERUSER, *ROLES)}
    new = file.with_suffix(".new")
    new.unlink(missing_ok=True)
    with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        json.dump(passwords, stream, indent=2)
        stream.flush()
        os.fsync(stream.fileno())
    new.rename(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def prepare(connect: Callable[[str], psycopg.Connection], passwords: Mapping[str, str]) -> None:
    """Make what is missing of roles, databases and grants; all of it may be there already.

    ``connect`` opens an autocommitting connection of the superuser to a database.  Raises
    psycopg.Error.
    """
    with connect(SUPERUSER) as connection:
        done = connection.execute(
            "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = %s",
            ("trade_pipeline",),
        ).fetchone()
        if done == (_PREPARED,):
            return
        # A statement that fails would be logged, and these hold what follows from passwords.
        connection.execute("SET log_min_error_statement = panic")
        _make_roles(connection, passwords)
        _make_databases(connection)
    with connect("trade_pipeline") as connection:
        connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        comment = sql.SQL("COMMENT ON DATABASE trade_pipeline IS {}")
        connection.execute(comment.format(sql.Literal(_PREPARED)))


# Nobody's work is in them.
_OTHERS = (SUPERUSER, "template1")


def _make_roles(connection: psycopg.Connection, passwords: Mapping[str, str]) -> None:
    existing = {name for (name,) in connection.execute("SELECT rolname FROM pg_roles")}
    for role in ROLES:
        # The server gets, as psql's \password does it, only what checks the password.
        verifier = connection.pgconn.encrypt_password(
            passwords[role].encode(), role.encode(), b"scram-sha-256"
        )
        connection.execute(
            sql.SQL(
                "{} ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD {}"
            ).format(
                sql.SQL("ALTER" if role in existing else "CREATE"),
                sql.Identifier(role),
                sql.Literal(verifier.decode()),
            )
        )


def _make_databases(connection: psycopg.Connection) -> None:
    for other in _OTHERS:
        connection.execute(
            sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(other))
        )
    existing = {name for (name,) in connection.execute("SELECT datname FROM pg_database")}
    for database, (owner, guests) in _DATABASES.items():
        name = sql.Identifier(database)
        if database not in existing:
            create = sql.SQL("CREATE DATABASE {} OWNER {}")
            connection.execute(create.format(name, sql.Identifier(owner)))
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                name, sql.SQL(", ").join(sql.Identifier(guest) for guest in guests)
            )
        )
