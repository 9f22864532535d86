"""A database's URL, and what may be told of it: never a part that could be its password."""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from trade_pipeline.core.errors import StoreUnavailable


def parts_of(url: str) -> dict[str, str]:
    """A URL's parts by libpq's names.

    Raises:
        StoreUnavailable: it is none that PostgreSQL reads, or a character of its password that has
            to be escaped was taken for the end of a part.
    """
    parts: dict[str, str] = {}
    # Its error shows parts of the URL, and must not hang at ours either.
    with suppress(psycopg.Error):
        parts = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    ports = parts.get("port", "").split(",")
    if not parts or "@" in parts.get("host", "") or not all(p.isdigit() or not p for p in ports):
        raise StoreUnavailable(
            "the database's URL cannot be read (it is not shown, since it holds a password): "
            "expected postgresql://user:password@host:port/database, with @ : / ? # % in the "
            "password written as %40 %3A %2F %3F %23 %25"
        )
    return parts


def environment_of(url: str) -> dict[str, str]:
    """A URL as libpq's environment variables, for programs: arguments can be seen by everybody.

    Raises:
        StoreUnavailable: see `parts_of`.
    """
    names = {"dbname": "PGDATABASE"}
    return {names.get(name, f"PG{name.upper()}"): value for name, value in parts_of(url).items()}


def as_role(url: str, role: str) -> str:
    """A URL by which a login acts as a role that it may become.

    Raises:
        StoreUnavailable: see `parts_of`.
    """
    given = parts_of(url).get("options") or ""
    return make_conninfo(url, options=f"{given} -c role={role}".strip())


def connect(url: str, what: str, *, autocommit: bool = False) -> psycopg.Connection:
    """A new connection.

    Args:
        what: was wanted, for the error.

    Raises:
        StoreUnavailable: see `parts_of`; the server does not answer or refuses the login.
    """
    password = parts_of(url).get("password")
    try:
        return psycopg.connect(url, autocommit=autocommit)
    except psycopg.OperationalError as error:
        why = str(error)
    raise StoreUnavailable(f"{what}: {why.replace(password, '***') if password else why}")
