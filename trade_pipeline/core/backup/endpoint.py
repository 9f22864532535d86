"""The database of a backup, opened as whoever owns its tables and without migrating it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
from pydantic import SecretStr

from trade_pipeline.core.backup.errors import BadBackup
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.store.address import connect
from trade_pipeline.core.store.server import SUPERUSER, EmbeddedPostgres
from trade_pipeline.settings import Settings

OWNER = "trade_owner"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A database of the settings.

    Attributes:
        url: of a login that may act for the owner of the tables; its password is inside.
        runs: the URL of Dagster's own storage; None: the settings name none.
    """

    url: str
    runs: str | None

    @property
    def dagster(self) -> str:
        """The URL of Dagster's own storage.

        Raises:
            BadConfig: the settings name none, beside a database of their own.
        """
        if self.runs is None:
            raise BadConfig(
                "with_dagster=True: TRADE_PIPELINE_DAGSTER_URL is not set, so nobody knows where "
                "Dagster's storage is"
            )
        return self.runs

    def connect(self) -> psycopg.Connection:
        """A new connection of the login, in autocommit mode.

        Raises:
            StoreUnavailable: the server does not answer or refuses the login.
        """
        return connect(self.url, "cannot reach the database", autocommit=True)


@contextmanager
def endpoint_of(settings: Settings) -> Iterator[Endpoint]:
    """The database that the settings name; an embedded one is started and not migrated.

    Raises:
        StoreUnavailable: an embedded server cannot be started.
    """
    database = settings.admin_database_url or settings.database_url
    runs = None if settings.dagster_url is None else _plain(settings.dagster_url)
    if database is not None:
        yield Endpoint(database.get_secret_value(), runs)
        return
    with EmbeddedPostgres(settings.home / "postgres") as server:
        yield Endpoint(server.url(SUPERUSER), runs or server.url("dagster", "dagster"))


def become_owner(connection: psycopg.Connection) -> None:
    """Go on as the role that owns the tables.

    Raises:
        BadBackup: the database is not migrated, or the login may not.
    """
    if connection.execute("SELECT to_regclass('trade.migrations')").fetchone() == (None,):
        raise BadBackup("there is nothing to back up: the database has no tables of this program")
    try:
        connection.execute(f"SET ROLE {OWNER}")
    except psycopg.errors.InsufficientPrivilege:
        raise BadBackup(
            f"the login {connection.info.user!r} may not act for {OWNER}, who owns the tables: set "
            "TRADE_PIPELINE_ADMIN_DATABASE_URL to the login that migrates"
        ) from None


def _plain(url: SecretStr) -> str:
    """SQLAlchemy's URL as libpq reads it."""
    scheme, _, rest = url.get_secret_value().partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"
