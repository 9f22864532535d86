"""The database of the records: the embedded server, or any PostgreSQL by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal, Self, get_args

import psycopg

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.store.address import as_role, connect, environment_of, parts_of
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.migrations import check_applied, migrate, migrations_folder
from trade_pipeline.core.store.migrations import read_migrations as _read_migrations
from trade_pipeline.core.store.server import EmbeddedPostgres, ServerError

Role = Literal["trade_writer", "trade_reader", "trade_admin"]
ROLES: tuple[Role, ...] = get_args(Role)


@contextmanager
def loss_reported() -> Iterator[None]:
    """Raises StoreUnavailable where the connection is lost within the block."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise StoreUnavailable(
            f"the database went away ({str(error).strip()}); run this again: what is stored stays "
            "and the rest follows"
        ) from error


class Database(Closing):
    """Opens connections that run as one of the three roles, never as owner or superuser.

    Use one of the constructors, and ``with`` or `close`: the embedded server runs as long as
    somebody uses it.

    Raises:
        StoreUnavailable: the server cannot be reached or started, or is not migrated.
    """

    def __init__(
        self, url: str | None, server: EmbeddedPostgres | None, name: str, opened: ExitStack
    ) -> None:
        self._url = url
        self._server = server
        self._name = name
        self._opened = opened

    @classmethod
    def embedded(cls, folder: Path, name: str = "trade_pipeline") -> Self:
        """The embedded server with its data in ``folder``, started and migrated when needed."""
        opened = ExitStack()
        try:
            server = opened.enter_context(EmbeddedPostgres(folder))
            migrate(server.url("postgres", name))
        except (ServerError, OSError) as error:
            opened.close()
            raise StoreUnavailable(f"embedded PostgreSQL in {folder}: {error}") from error
        except BaseException:
            opened.close()
            raise
        return cls(None, server, name, opened)

    @classmethod
    def at(cls, url: str) -> Self:
        """A server by URL whose login may become each of the three roles."""
        database = cls(url, None, "", ExitStack())
        with database.connect("trade_reader") as connection:
            missing = check_applied(connection, _read_migrations(migrations_folder()))
        if missing:
            raise StoreUnavailable(
                f"the database lacks {missing[0].name}: run `trade-pipeline db migrate` first"
            )
        return database

    @property
    def folder(self) -> Path | None:
        """Where the embedded server keeps its data; None: the database is elsewhere."""
        return None if self._server is None else self._server.folder

    def url(self, role: Role = "trade_writer") -> str:
        """The URL by which a role logs in (its password inside)."""
        if self._server is not None:
            return self._server.url(role, self._name)
        assert self._url is not None
        if parts_of(self._url).get("user") == role:
            return self._url
        return as_role(self._url, role)

    def connect(
        self, role: Role = "trade_writer", *, autocommit: bool = False
    ) -> psycopg.Connection:
        """A new connection of a role.

        Raises:
            StoreUnavailable: the server does not answer or refuses the login.
        """
        what = f"cannot reach the database as {role}"
        return connect(self.url(role), what, autocommit=autocommit)

    def version(self) -> str:
        """The server's version."""
        with self.connect("trade_reader") as connection:
            row = connection.execute("SELECT version()").fetchone()
        assert row is not None
        return str(row[0])

    def environment(self, role: Role) -> dict[str, str]:
        """The same as `url`, as libpq's environment variables: for programs such as psql."""
        return environment_of(self.url(role))

    def ensure_running(self) -> None:
        """Start the embedded server again when it died under its users.

        Raises:
            StoreUnavailable: it cannot be started.
        """
        if self._server is None:
            return
        try:
            self._server.ensure_running()
        except ServerError as error:
            raise StoreUnavailable(str(error)) from error

    def close(self) -> None:
        """Give the embedded server back; it stops when this was its last user."""
        self._opened.close()
