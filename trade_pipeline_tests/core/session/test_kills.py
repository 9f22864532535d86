"""Sessions and their database killed at random moments: started again, they end the same."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from report.record import counted

from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.core.session.stored import Rows, run, stored_rows

pytestmark = pytest.mark.reliability

# Every few records are a transaction, so that most kills fall between or into writes.
FLUSH_ROWS = 4
PATIENCE = 120.0


@dataclass
class Ground:
    """Where sessions are killed: a server of its own, since its postmaster dies too."""

    server: EmbeddedPostgres
    session_id: str
    rows: Rows
    seconds: float

    def new_database(self) -> str:
        name = f"kill_{uuid.uuid4().hex[:12]}"
        self.server.ensure_running()
        with psycopg.connect(
            self.server.url("postgres", "postgres"), autocommit=True
        ) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE trade_pipeline')
        return name

    def start(self, name: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", stored.__name__, str(self.server.folder), name]
        return subprocess.Popen(
            [*command, str(FLUSH_ROWS)],
            cwd=Path(__file__).resolve().parents[3],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def stored(self, name: str) -> Rows:
        with Database.embedded(self.server.folder, name) as database:
            return stored_rows(database, self.session_id)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a session that nobody disturbs."""
    output, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    return output


@pytest.fixture(scope="module")
def ground(
    tmp_path_factory: pytest.TempPathFactory, database: Database, artifacts: ArtifactStore
) -> Iterator[Ground]:
    """The undisturbed session is stored in another database of another server."""
    done = run(database, artifacts)
    rows = stored_rows(database, done.session.session_id)
    folder = tmp_path_factory.mktemp("kills") / "postgres"
    with EmbeddedPostgres(folder) as server:
        Database.embedded(folder).close()
        ground = Ground(server, done.session.session_id, rows, 0.0)
        started = time.monotonic()
        finish(ground.start(ground.new_database()))
        ground.seconds = time.monotonic() - started
        yield ground


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victims", ["session", "postmaster", "session and postmaster"])
def test_after_a_kill_at_any_moment_a_restart_ends_with_the_same_records(
    ground: Ground, victims: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = random.Random(victims)
    left: Counter[str] = Counter()
    prefixes = []
    total = sum(map(len, ground.rows.values()))
    for number in range(KILLS):
        name = ground.new_database()
        postmaster = ground.server.status().pid
        assert postmaster is not None
        process = ground.start(name)
        # One moment from each equal part of the session's length, start-up included.
        time.sleep((number + chosen.random()) / KILLS * ground.seconds)
        if "session" in victims:
            process.kill()
        if "postmaster" in victims:
            kill(postmaster)
        process.communicate(timeout=PATIENCE)
        left["completed" if process.returncode == 0 else "ended early"] += 1

        before = ground.stored(name)
        numbers = sorted(seq for rows in before.values() for seq, _, _ in rows)
        assert numbers == list(range(len(numbers)))
        prefixes.append(len(numbers))
        for table, rows in before.items():
            assert rows == ground.rows[table][: len(rows)]

        # What a restart does needs no process of its own.
        stored.main(ground.server.folder, name, FLUSH_ROWS)
        output = capsys.readouterr().out.split()
        assert output == [ground.session_id, str(total - len(numbers))]
        assert ground.stored(name) == ground.rows
    counted(f"session.kills.{victims}", KILLS, KILLS)
    if KILLS > 3:
        with capsys.disabled():
            print(
                f"\n{victims}: {KILLS} kills, {dict(left)}, "
                f"{sum(0 < n < total for n in prefixes)} left a part of the {total} records"
            )
