"""The store on a PostgreSQL that is not the embedded one: an older major, reached by URL."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from trade_pipeline.core.backup.create import back_up
from trade_pipeline.core.backup.restore import restore
from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.records import ExecutionRecord, TerminationReason, TradeOutcome
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.migrations import migrate
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.server_account import server_account
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.backup.kept import Kept, store_in

INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))


@pytest.fixture(scope="module")
def superuser_url() -> Iterator[str]:
    """The URL of a server made with the machine's own PostgreSQL."""
    if not INSTALLED:
        pytest.skip("no PostgreSQL is installed under /usr/lib/postgresql")
    programs = INSTALLED[0].parent
    # A short path: a socket's address holds 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    account = server_account()
    os.chmod(folder, 0o755)
    data = folder / "data"
    data.mkdir()
    data.chmod(0o700)
    account.own(data)
    account.own(folder)
    made = account.launch(
        [str(programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8"],
        folder,
        subprocess.DEVNULL,
    )
    assert made.wait() == 0
    server = account.launch(
        [str(programs / "postgres"), "-D", str(data), "-c", "listen_addresses=", "-k", str(folder)],
        folder,
        subprocess.DEVNULL,
    )
    url = f"postgresql://postgres@/postgres?host={folder}"
    try:
        for _ in range(300):
            try:
                psycopg.connect(url).close()
                break
            except psycopg.OperationalError:
                time.sleep(0.1)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        server.wait()
        shutil.rmtree(folder)


def test_a_database_that_is_not_migrated_is_refused_with_the_command_to_run(
    superuser_url: str,
) -> None:
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("CREATE ROLE trade_reader LOGIN")
        connection.execute("CREATE DATABASE empty")
    with pytest.raises(StoreUnavailable, match="trade-pipeline db migrate"):
        Database.at(superuser_url.replace("/postgres?", "/empty?"))


def test_an_older_postgres_takes_the_migrations_and_a_whole_trade(
    superuser_url: str, tmp_path: Path
) -> None:
    assert len(migrate(superuser_url)) >= 5
    assert migrate(superuser_url) == []
    with (
        Database.at(superuser_url) as database,
        TradeTrackingSystem(store=Store(database, ArtifactStore(str(tmp_path)))) as tracker,
    ):
        candidate = tracker.create_candidate("PEPE/USDT", "v1", 0.75, "params", "test")
        tracker.store_execution_record(
            ExecutionRecord(uuid=candidate.uuid, order_id="o1", entry_price=1e-7, size=3.0)
        )
        tracker.store_outcome(
            TradeOutcome(
                uuid=candidate.uuid,
                realized_pnl_percent=1.0,
                time_in_market_seconds=60,
                termination_reason=TerminationReason.MANUAL,
            )
        )
        record = tracker.get_complete_trade_record(candidate.uuid)
        assert record["executions"][0]["entry_price"] == 1e-7
        with database.connect() as connection:
            # The login is a superuser, the app is not.
            assert connection.execute("SELECT current_user").fetchone() == ("trade_writer",)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute("UPDATE trade.candidates SET confidence = 1")


def test_a_store_moves_from_the_embedded_server_to_an_older_one_and_back(
    superuser_url: str, server: EmbeddedPostgres, tmp_path: Path
) -> None:
    """By a backup, with the programs of the newer one."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE moved")
    url = superuser_url.replace("/postgres?", "/moved?")
    moved = Kept(
        Settings(
            _env_file=None,  # type: ignore[call-arg]
            home=tmp_path / "moved",
            database_url=SecretStr(url),
            dagster_url=SecretStr(url),
            artifacts_url=str(tmp_path / "moved" / "artifacts"),
        ),
        url,
    )
    with (
        store_in(server, tmp_path / "store", "trade_pipeline") as store,
        store_in(server, tmp_path / "back") as back,
    ):
        store.write("s0", b"settings")
        back_up(store.settings, str(tmp_path / "there"))
        there = restore(moved.settings, str(tmp_path / "there"))
        assert there.report is not None
        assert there.report.intact, there.report.verdict
        moved.write("s1", b"more")
        made = back_up(moved.settings, str(tmp_path / "home"))
        assert made.manifest.server.startswith(INSTALLED[0].parents[1].name)
        home = restore(back.settings, str(tmp_path / "home"))
        assert home.report is not None
        assert home.report.intact, home.report.verdict
        assert back.content() == moved.content()
