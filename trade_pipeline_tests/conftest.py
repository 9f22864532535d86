"""The real database for every test: one server a session, a database a test from a template."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data"

# Short versions by default; `make reliability` runs the full counts.
KILLS = int(os.environ.get("TRADE_PIPELINE_TEST_KILLS", "3"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running embedded server with the migrated database ``trade_pipeline`` as template."""
    folder = tmp_path_factory.mktemp("store") / "postgres"
    with EmbeddedPostgres(folder) as running:
        Database.embedded(folder).close()
        yield running


@pytest.fixture(scope="session")
def superuser_url(server: EmbeddedPostgres) -> str:
    return server.url("postgres", "postgres")


def _create(server: EmbeddedPostgres) -> Database:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE trade_pipeline')
    return Database.embedded(server.folder, name)


@pytest.fixture(scope="session")
def database(server: EmbeddedPostgres) -> Iterator[Database]:
    """A database that tests share; it is not empty for long."""
    with _create(server) as created:
        yield created


@pytest.fixture
def fresh_database(server: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database of a test's own."""
    with _create(server) as created:
        yield created


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(str(tmp_path_factory.mktemp("artifacts")))


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings, where there is one."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS}")
    return RECORDINGS
