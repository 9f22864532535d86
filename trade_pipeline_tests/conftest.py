"""The real database for every test: one server a session, a database a test from a template."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import psutil
import psycopg
import pytest

from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.training.strong import Strong, train_strong

RECORDINGS = Path(__file__).resolve().parents[2] / "shared" / "data"

# Short versions by default; `make reliability` runs the full counts.
FULL_COUNTS = "TRADE_PIPELINE_TEST_KILLS"
KILLS = int(os.environ.get(FULL_COUNTS, "3"))

# How long an example takes says nothing of the code: other work runs on the machine, too.
hypothesis.settings.register_profile(
    "untimed", deadline=None, max_examples=100 if KILLS >= 50 else 25
)
hypothesis.settings.load_profile("untimed")

MEMORY = Path("/dev/shm")
# A run writes 5 GiB.
ROOM = 8 << 30


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Short runs write to memory where there is room: much of their time was a disk's fsync.

    A process that is killed loses nothing there either.  ``--basetemp`` and `make reliability` keep
    to the disk.
    """
    if config.option.basetemp is not None or FULL_COUNTS in os.environ or not MEMORY.is_dir():
        return
    name = "trade-pipeline-tests-"
    for left in MEMORY.glob(f"{name}*"):
        if not psutil.pid_exists(int(left.name.removeprefix(name))):
            shutil.rmtree(left, ignore_errors=True)
    if min(shutil.disk_usage(MEMORY).free, psutil.virtual_memory().available) >= ROOM:
        folder = MEMORY / f"{name}{os.getpid()}"
        config.option.basetemp = str(folder)
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedPostgres]:
    """A running embedded server with the migrated database ``trade_pipeline`` as template."""
    folder = tmp_path_factory.mktemp("store") / "postgres"
    with EmbeddedPostgres(folder) as running:
        Database.embedded(folder).close()
        with psycopg.connect(running.url("postgres", "postgres"), autocommit=True) as connection:
            # It is written to memory, of which there is less than of a disk.
            connection.execute("ALTER SYSTEM SET max_wal_size = '128MB'")
            connection.execute("SELECT pg_reload_conf()")
        yield running


@pytest.fixture(scope="session")
def superuser_url(server: EmbeddedPostgres) -> str:
    return server.url("postgres", "postgres")


def create_database(
    server: EmbeddedPostgres, template: str = "trade_pipeline", name: str | None = None
) -> Database:
    """A new database with all that its template holds, to which nobody may be connected."""
    name = name or f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"'.encode())
    return Database.embedded(server.folder, name)


@pytest.fixture(scope="session")
def database(server: EmbeddedPostgres) -> Iterator[Database]:
    """A database that tests share; it is not empty for long."""
    with create_database(server) as created:
        yield created


@pytest.fixture
def fresh_database(server: EmbeddedPostgres) -> Iterator[Database]:
    """An empty database of a test's own."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    with create_database(server, name=name) as created:
        yield created
    with psycopg.connect(server.url("postgres", "postgres"), autocommit=True) as connection:
        # Each is 15 MB of memory, and there are hundreds.
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> ArtifactStore:
    return ArtifactStore(str(tmp_path_factory.mktemp("artifacts")))


@pytest.fixture(scope="session")
def strong(server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Strong:
    """The template ``strong``: a model trained on a strong signal, which nobody judged so far."""
    folder = str(tmp_path_factory.mktemp("strong"))
    with create_database(server, name="strong") as database:
        dataset, model = train_strong(Store(database, ArtifactStore(folder)))
    with psycopg.connect(server.url("postgres", "strong"), autocommit=True) as connection:
        # Copies read many times faster with statistics, which a short test would never wait for.
        connection.execute("ANALYZE")
    return Strong(dataset, model, folder)


@pytest.fixture(scope="module")
def strong_store(
    server: EmbeddedPostgres, strong: Strong, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A copy of ``strong`` for the tests of a module; heads are of one database each."""
    heads = str(tmp_path_factory.mktemp("heads"))
    with create_database(server, "strong") as database:
        yield Store(database, ArtifactStore(strong.artifacts, heads))


@pytest.fixture
def fresh_strong_store(
    server: EmbeddedPostgres, strong: Strong, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Store]:
    """A copy of ``strong`` of a test's own."""
    heads = str(tmp_path_factory.mktemp("heads"))
    with create_database(server, "strong") as database:
        yield Store(database, ArtifactStore(strong.artifacts, heads))


@pytest.fixture(scope="module")
def strong_environment(
    server: EmbeddedPostgres,
    strong: Strong,
    strong_store: Store,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """The settings by which a command or a run of Dagster opens ``strong_store``."""
    with strong_store.database.connect() as connection:
        name = connection.info.dbname
    return {
        "TRADE_PIPELINE_HOME": str(tmp_path_factory.mktemp("home")),
        "TRADE_PIPELINE_DATABASE_URL": server.url("postgres", name),
        "TRADE_PIPELINE_ARTIFACTS_URL": strong.artifacts,
        "TRADE_PIPELINE_HEADS_URL": strong_store.artifacts.heads.url,
    }


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The folder of real recordings, where there is one."""
    if not RECORDINGS.is_dir():
        pytest.skip(f"no recordings in {RECORDINGS}")
    return RECORDINGS
