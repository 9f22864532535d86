"""Several machines: they store what one stores, and whatever of them dies, nothing is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from cluster import Cluster, records, wait_for
from report.record import counted

from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.head_files import HeadFiles
from trade_pipeline_tests.conftest import KILLS

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(KILLS < 50, reason="ten minutes: make reliability runs it"),
]
FILE = """
name: stops
market: simulated
start: 2026-01-05
end: 2026-01-07
seeds: [1, 2]
set: {simulator.pools_per_day: 30, simulator.burn_in_days: 1, simulator.trades_max: 400}
grid: {strategy.exits.stop_loss: [0.15, 0.3]}
"""
SESSIONS = 4
PATIENCE = 400.0


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """What one machine without a broker prints and stores."""
    folder = tmp_path_factory.mktemp("alone")
    (folder / "stops.yaml").write_text(FILE)
    given = {k: v for k, v in os.environ.items() if not k.startswith("TRADE_PIPELINE_")}
    ran = subprocess.run(
        [
            sys.executable, "-m", "trade_pipeline.cli", "experiment", "run", "--json",
            "--workers", "1", "stops.yaml",
        ],
        env=given | {"TRADE_PIPELINE_HOME": str(folder / "home")}, cwd=folder,
        capture_output=True, text=True, timeout=PATIENCE, check=True,
    )  # fmt: skip
    with Database.embedded(folder / "home" / "postgres") as database:
        return json.loads(ran.stdout), records(database)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    (tmp_path / "stops.yaml").write_text(FILE)
    with Cluster(tmp_path) as made:
        yield made


def ask(cluster: Cluster) -> subprocess.Popen[bytes]:
    """`experiment run` on a machine that executes nothing."""
    file = str(cluster.folder / "stops.yaml")
    return cluster.command("asker", "experiment", "run", "--json", file, stdout=subprocess.PIPE)


def answer(asked: subprocess.Popen[bytes]) -> Any:
    out, _ = asked.communicate(timeout=PATIENCE)
    assert asked.returncode == 0, out.decode()
    return json.loads(out)


def stored(cluster: Cluster, table: str = "session_ends") -> int:
    with cluster.database.connect("trade_reader") as connection:
        row = connection.execute(f"SELECT count(*) FROM trade.{table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def in_the_middle(cluster: Cluster, workers: int = 1) -> None:
    """Wait until a session is stored and every worker executes another one."""
    wait_for(
        lambda: stored(cluster) >= 1 and runs(cluster, "status = 'STARTED'") == workers,
        PATIENCE, "workers that are busy",
    )  # fmt: skip


def same(cluster: Cluster, told: Any, alone: tuple[Any, Any]) -> None:
    """All sessions are there, and every record is the one that a single process stored."""
    expected, rows = alone
    assert (told["failed"], told["stored"]) == ([], SESSIONS)
    assert told["groups"] == expected["groups"]
    found = records(cluster.database)
    assert found == rows
    assert min(len(found[table]) for table in ("candidates", "executions", "outcomes")) > 10
    heads = HeadFiles(f"{cluster.shared['TRADE_PIPELINE_ARTIFACTS_URL']}/heads")
    assert verify_url(cluster.database.url("trade_reader"), heads).intact


@pytest.fixture(autouse=True)
def object_store_variables(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in cluster.shared.items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)


def test_two_machines_store_what_one_process_stores(
    cluster: Cluster, alone: tuple[Any, Any]
) -> None:
    workers = [cluster.worker("first"), cluster.worker("second")]
    same(cluster, answer(ask(cluster)), alone)
    for worker in workers:
        # Without a run a worker ends at once.
        worker.end()
        assert worker.process.returncode == 0


@pytest.mark.parametrize("dies", ["machine", "worker", "run"])
def test_a_death_in_the_middle_loses_and_doubles_nothing(
    cluster: Cluster, alone: tuple[Any, Any], dies: str
) -> None:
    first, second = cluster.worker("first"), cluster.worker("second")
    asked = ask(cluster)
    in_the_middle(cluster, workers=2)
    run = first.children()
    if dies == "machine":
        first.kill()
    elif dies == "worker":
        first.process.kill()
        first.process.wait()
        # Nobody would see what it does: it ends with its worker.
        assert not psutil.wait_procs(run, 60)[1]
    else:
        run[0].kill()
    same(cluster, answer(asked), alone)
    assert second.process.poll() is None
    counted("operations.worker_deaths", 1, 1)


def test_a_command_that_was_killed_finds_its_runs_again(
    cluster: Cluster, alone: tuple[Any, Any]
) -> None:
    cluster.worker("first")
    first = ask(cluster)
    in_the_middle(cluster)
    first.kill()
    first.communicate()
    same(cluster, answer(ask(cluster)), alone)
    # What was under way was waited for and not launched again.
    assert runs(cluster, "status <> 'SUCCESS'") == 0
    assert runs(cluster, "pipeline_name = 'backtest_job'") == SESSIONS
    counted("operations.worker_deaths", 1, 1)


def test_ctrl_c_cancels_what_runs_and_the_next_command_goes_on(
    cluster: Cluster, alone: tuple[Any, Any]
) -> None:
    cluster.worker("first")
    asked = ask(cluster)
    in_the_middle(cluster)
    asked.terminate()
    asked.communicate(timeout=60)
    assert asked.returncode == 130
    assert runs(cluster, "status = 'CANCELED'") > 0
    assert runs(cluster, "status NOT IN ('CANCELED', 'SUCCESS')") == 0
    assert stored(cluster) < SESSIONS
    same(cluster, answer(ask(cluster)), alone)


def runs(cluster: Cluster, where: str) -> int:
    """How many of Dagster's runs are so."""
    import psycopg

    url = cluster.shared["TRADE_PIPELINE_DAGSTER_URL"].replace("+psycopg2", "")
    with psycopg.connect(url) as connection:
        row = connection.execute(f"SELECT count(*) FROM runs WHERE {where}".encode()).fetchone()
    assert row is not None
    return int(row[0])
