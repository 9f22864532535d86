"""A live session on another machine's worker outlives Dagster, and never its worker unseen."""

from __future__ import annotations

import signal
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import psutil
import pytest
import yaml
from cluster import Cluster, Worker, end_group, wait_for
from report.record import measured

from trade_pipeline.core.live.lease import holder_is_connected, read_lease
from trade_pipeline.core.live.supervision import holder_of
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.session.stored import CONFIG
from trade_pipeline_tests.defs.conftest import free_port

pytestmark = [
    pytest.mark.reliability,
    pytest.mark.skipif(KILLS < 50, reason="five minutes: make reliability runs it"),
]
ACCOUNT = "paper"
PATIENCE = 180.0
# From the end of a session to its successor's lease.
SUCCESSOR_SECONDS = 90.0
QUIET_SECONDS = 12.0


class Deployment:
    """A code server, a daemon and a webserver, each a process of its own, and the live worker."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ports = {name: free_port() for name in ("first code", "second code", "webserver")}
        for name in ("daemon", "webserver"):
            code = "first code" if name == "daemon" else "second code"
            server = {
                "host": "127.0.0.1", "port": self.ports[code], "location_name": "trade_pipeline",
            }  # fmt: skip
            text = yaml.safe_dump({"load_from": [{"grpc_server": server}]})
            (cluster.folder / f"{name}.yaml").write_text(text)
        for name in ("first code", "second code", "daemon", "webserver"):
            self.start(name)
        self.worker = cluster.worker("live0", "live", 2)

    def start(self, name: str) -> None:
        workspace = str(self.cluster.folder / f"{name}.yaml")
        port = str(self.ports.get(name))
        command = {
            "daemon": ["dagster-daemon", "run", "-w", workspace],
            "webserver": ["dagster-webserver", "-h", "127.0.0.1", "-p", port, "-w", workspace],
        }.get(name) or [
            "dagster", "code-server", "start", "-m", "trade_pipeline.definitions",
            "-h", "127.0.0.1", "-p", port,
        ]  # fmt: skip
        self.processes[name] = self.cluster.command(name.replace(" ", "-"), "exec", *command)
        if name == "webserver":
            wait_for(self.answers, PATIENCE, "the UI")

    def restart(self, name: str) -> None:
        end_group(self.processes[name])
        self.start(name)

    def answers(self) -> bool:
        try:
            url = f"http://127.0.0.1:{self.ports['webserver']}/server_info"
            with urllib.request.urlopen(url, timeout=5):
                return True
        except OSError:
            return False

    def lease(self) -> tuple[str | None, int, dict[str, Any]]:
        """Who holds the lease now, the newest epoch, and what its holder told last."""
        with self.cluster.database.connect("trade_reader") as connection:
            lease = read_lease(connection, ACCOUNT)
            held = holder_of(lease, holder_is_connected(connection, ACCOUNT))
        return (held, 0, {}) if lease is None else (held, lease.epoch, dict(lease.told))

    def trading(self) -> tuple[str, int]:
        """Wait until a session holds positions; its run and epoch."""
        wait_for(
            lambda: self.lease()[0] is not None and self.lease()[2].get("open_positions", 0) > 0,
            PATIENCE, "a session that trades",
        )  # fmt: skip
        holder, epoch, _ = self.lease()
        assert holder is not None
        return holder, epoch

    def goes_on(self, before: tuple[str, int]) -> None:
        reached = self.lease()[2]["market_time"]
        time.sleep(QUIET_SECONDS)
        holder, epoch, told = self.lease()
        assert (holder, epoch) == before
        assert told["market_time"] > reached

    def succeeded(self, before: tuple[str, int], children: list[psutil.Process]) -> None:
        """A successor has the positions, and nothing trades on unseen."""
        taken = wait_for(
            lambda: self.lease()[0] not in (None, before[0]), SUCCESSOR_SECONDS, "a successor"
        )
        measured("operations.other_worker_s", [taken])
        assert not any(one.is_running() for one in children)
        assert self.trading()[1] == before[1] + 1
        with self.cluster.database.connect("trade_reader") as connection:
            rows = connection.execute(
                "SELECT kind, explained, content FROM trade.reconciliations "
                "WHERE account = %s AND epoch = %s", (ACCOUNT, before[1] + 1),
            ).fetchall()  # fmt: skip
        (start,) = [orjson.loads(content) for kind, _, content in rows if kind == "start"]
        assert start["facts"]["open_positions"] > 0
        assert all(explained for _, explained, _ in rows)

    def replace(self, number: int) -> Worker:
        """Another live worker, which waits for what the first one leaves; gives the first."""
        first = self.worker
        self.worker = self.cluster.worker(f"live{number}", "live", 2)
        return first


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    with Cluster(tmp_path) as cluster:
        config = tmp_path / "config.json"
        config.write_bytes(orjson.dumps({"trading": CONFIG.model_dump(mode="json")}))
        asked = cluster.command(
            "asker", "live", "start", "--market", "simulated", "--start", "2022-01-01",
            "--end", "2022-02-01", "--speed", "300", "--seed", "3", "--config", str(config),
        )  # fmt: skip
        assert asked.wait(PATIENCE) == 0
        yield Deployment(cluster)


def test_a_session_outlives_dagster_and_has_a_successor_when_its_worker_ends(
    deployment: Deployment,
) -> None:
    before = deployment.trading()
    for name in ("webserver", "daemon", "first code", "second code"):
        deployment.restart(name)
    deployment.goes_on(before)

    # The machine dies.
    first = deployment.replace(1)
    deployment.succeeded(before, first.kill())

    # The worker alone dies: its runs end with it.
    before = deployment.trading()
    first = deployment.replace(2)
    children = first.children()
    first.process.kill()
    deployment.succeeded(before, children)

    for number, told in enumerate((signal.SIGTERM, signal.SIGINT), 3):
        # As `docker stop` and Ctrl-C do: the session ends, its positions stay for the next.
        before = deployment.trading()
        first = deployment.replace(number)
        children = first.children()
        first.end(told)
        # Celery ends with 1 after a Ctrl-C.
        assert first.process.returncode == (0 if told is signal.SIGTERM else 1)
        deployment.succeeded(before, children)
