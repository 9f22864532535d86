"""A store with records, artifacts and heads, and places to restore it into."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.store.address import as_role
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import artifacts_of
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core import samples

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Kept:
    """A store by its settings.

    Attributes:
        url: of its database, as the superuser.
    """

    settings: Settings
    url: str

    @property
    def artifacts(self) -> ArtifactStore:
        return artifacts_of(self.settings)

    def writer(self) -> psycopg.Connection:
        return psycopg.connect(as_role(self.url, "trade_writer"), autocommit=True)

    def write(self, name: str, *contents: bytes, trades: int = 3) -> list[str]:
        """A session whose records a head covers, and artifacts; gives their addresses."""
        with self.writer() as connection:
            addresses = [
                record_artifact(connection, self.artifacts, data, media_type="text/plain")
                for data in contents
            ]
            last = self.artifacts.heads.numbers()
            append_bulk(connection, name, session(name, trades, addresses))
            write_heads(connection, self.artifacts.heads, NOON + timedelta(hours=9 * len(last)))
        return addresses

    def rows(self) -> dict[str, int]:
        with psycopg.connect(self.url) as connection:
            return samples.count_rows(connection)

    def content(self) -> list[tuple[Any, ...]]:
        """Everything that the ledger holds."""
        with psycopg.connect(self.url) as connection:
            return [
                row
                for table in samples.ledger_tables(connection)
                for row in connection.execute(
                    f"SELECT chain_id, chain_seq, content, chain_hash, recorded_at "
                    f"FROM trade.{table} ORDER BY 1, 2".encode()
                )
            ]


def session(name: str, trades: int, addresses: list[str]) -> list[Any]:
    first, *others = samples.records_of_a_session(trades, name)
    assert first.TABLE == "sessions"
    params = addresses[0] if addresses else None
    return [samples.session(name, params_ptr=params), *others]


@contextmanager
def store_in(server: EmbeddedPostgres, folder: Path, template: str = "template0") -> Iterator[Kept]:
    """A store whose database is new, with nothing in it unless a template says so."""
    name = f"kept_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    url = server.url("postgres", name)
    settings = Settings(
        _env_file=None,  # type: ignore[call-arg]
        home=folder,
        database_url=SecretStr(url),
        dagster_url=SecretStr(url),
        artifacts_url=str(folder / "artifacts"),
    )
    try:
        yield Kept(settings, url)
    finally:
        with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())
