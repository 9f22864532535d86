"""A database goes back to a moment, from a base backup and the WAL that was archived since."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr
from report.record import counted

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.ledger.set_aside import set_heads_aside
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.migrations import migrate
from trade_pipeline.settings import Settings
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.backup.kept import Kept
from trade_pipeline_tests.core.backup.own_server import command, make, running

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(KILLS < 50, reason="two servers: make reliability runs it"),
]


@pytest.fixture
def folder() -> Iterator[Path]:
    # A short path: a socket's address holds 107 bytes.
    made = Path(tempfile.mkdtemp(prefix="pitr"))
    yield made
    shutil.rmtree(made)


def store_at(url: str, folder: Path) -> Kept:
    return Kept(
        Settings(
            _env_file=None,  # type: ignore[call-arg]
            home=folder,
            database_url=SecretStr(url),
            artifacts_url=str(folder / "artifacts"),
        ),
        url,
    )


def test_the_records_before_a_moment_are_there_and_none_after(folder: Path, tmp_path: Path) -> None:
    data = make(folder)
    with running(data) as url:
        migrate(url)
        store = store_at(url, tmp_path)
        store.write("s0", b"settings")
        command(folder, "pg_basebackup", "-h", str(folder), "-U", "postgres",
                "-D", str(folder / "base"), "--checkpoint=fast")  # fmt: skip
        store.write("s1", b"after the base backup")
        with psycopg.connect(url) as connection:
            (moment,) = connection.execute("SELECT clock_timestamp()").fetchone() or (None,)
        expected = store.content()
        store.write("s2", b"too late")
        store.write("s3")
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("SELECT pg_switch_wal()")
    assert moment is not None

    data.rename(folder / "lost")
    (folder / "base").rename(data)
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(
            f"restore_command = 'cp {folder}/archive/%f %p'\n"
            f"recovery_target_time = '{moment.astimezone(UTC).isoformat()}'\n"
            "recovery_target_action = promote\n"
            # The archive is that of the history that is left.
            "archive_mode = off\n"
        )
    (data / "recovery.signal").touch()
    with running(data) as url:
        store = store_at(url, tmp_path)
        assert store.content() == expected
        counted("operations.point_in_time", len(expected), len(expected))
        report = verify_url(url, store.artifacts.heads)
        assert report.behind is not None
        assert (report.behind.first, report.behind.last, report.last_holding) == (2, 3, 1)
        assert "the database is older than its heads" in report.verdict
        with Database.at(url) as database:
            set_heads_aside(
                database, store.artifacts.heads, MarketClock(0), reason="PITR", by="test"
            )
        assert verify_url(url, store.artifacts.heads).intact
        store.write("s4")
        after = verify_url(url, store.artifacts.heads)
        assert (after.intact, after.unanchored) == (True, 0), after.verdict
