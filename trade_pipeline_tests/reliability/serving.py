"""Dagster as a user serves it, in a home of its own, and what is seen of it from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import psutil

from trade_pipeline.core.live.lease import holder_is_connected, read_lease
from trade_pipeline.core.live.supervision import holder_of
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs.instance import dagster_environment, dagster_server, project_file
from trade_pipeline.settings import Settings

Kind = Literal["up", "dev"]
# Until Dagster answers, or has ended.
PATIENCE = 180.0
_POLL_SECONDS = 0.1
_RELOAD = (
    'mutation { reloadRepositoryLocation(repositoryLocationName: "trade_pipeline") '
    "{ __typename ... on WorkspaceLocationEntry { loadStatus } } }"
)
_RUNS = (
    '{ runsOrError(filter: {pipelineName: "live_job"}) { ... on Runs { results { id status } } } }'
)


class Serving:
    """`trade-pipeline up` or `dagster dev` in a session of its own, as in a terminal.

    The database is kept by whoever watches, so that it can be asked whatever happens.
    """

    def __init__(self, kind: Kind, home: Path, store: Store, port: int) -> None:
        self.kind, self.home, self.store, self.port = kind, home, store, port
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._server: EmbeddedPostgres | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> float:
        """Start it; the seconds until its UI answered."""
        settings = Settings(home=self.home, ui_port=self.port, _env_file=None)
        environment = os.environ | {
            "TRADE_PIPELINE_HOME": str(self.home),
            "TRADE_PIPELINE_UI_PORT": str(self.port),
        }
        command = [sys.executable, "-m", "trade_pipeline.cli", "up"]
        if self.kind == "dev":
            with dagster_server(settings) as server:
                environment |= dagster_environment(settings, server)
            workspace = str(project_file("workspace.yaml"))
            dagster = str(Path(sys.executable).with_name("dagster"))
            command = [dagster, "dev", "-w", workspace, "-p", str(self.port)]
        began = time.monotonic()
        with (self.home / "serving.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, env=environment, cwd=self.home, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        wait_for(self._answers, PATIENCE, f"the UI of {self.kind}")
        return time.monotonic() - began

    def signal(self, number: int, *, group: bool = False) -> None:
        """To the command alone, or to its foreground group as Ctrl-C does."""
        (os.killpg if group else os.kill)(self.pid, number)

    def wait(self) -> float:
        """Wait until the command has ended; the seconds."""
        assert self._process is not None
        began = time.monotonic()
        self._process.wait(PATIENCE)
        return time.monotonic() - began

    def close(self) -> None:
        """End the command and whatever of this home is left."""
        if self._process is not None and self._process.poll() is None:
            self.signal(signal.SIGTERM)
            self._process.wait(PATIENCE)
        for process in self.processes():
            process.kill()

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError((self.home / "serving.log").read_text()[-3_000:])
        try:
            with urllib.request.urlopen(f"{self.url}/server_info", timeout=5):
                return True
        except OSError:
            return False

    def reload(self) -> None:
        """Load the code again, as the button of the UI does."""
        self._ask(_RELOAD)

    def runs(self) -> dict[str, str]:
        """The status of each run of `live_job`, by its id."""
        found = self._ask(_RUNS)["runsOrError"]["results"]
        return {one["id"]: one["status"] for one in found}

    def _ask(self, query: str) -> Any:
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["data"]

    def processes(self, *words: str) -> list[psutil.Process]:
        """Dagster's processes of this home, wherever they hang, whose command has these words."""
        found = []
        for process in psutil.process_iter():
            try:
                command = " ".join(process.cmdline())
                mine = process.environ().get("TRADE_PIPELINE_HOME") == str(self.home)
            except psutil.Error:
                continue
            ours = "dagster" in command or "spawn_main" in command
            if mine and ours and process.pid != os.getpid() and all(w in command for w in words):
                found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """Processes of runs."""
        return self.processes("spawn_main")

    def daemon(self) -> psutil.Process:
        (found,) = self.processes("dagster._daemon", "run")
        return found

    def code_server(self, worker: psutil.Process) -> psutil.Process:
        """The process that started a run's."""
        parent = worker.parent()
        assert parent is not None
        assert "grpc" in " ".join(parent.cmdline()), parent.cmdline()
        return parent

    def holder(self, account: str) -> tuple[str | None, int]:
        """Who holds an account's lease now, and the newest epoch."""
        with self.store.database.connect("trade_reader") as connection:
            lease = read_lease(connection, account)
            held = holder_of(lease, holder_is_connected(connection, account))
        return held, 0 if lease is None else lease.epoch

    def told(self, account: str) -> dict[str, Any]:
        """What the newest holder told with its last heartbeat."""
        with self.store.database.connect("trade_reader") as connection:
            lease = read_lease(connection, account)
        return {} if lease is None else dict(lease.told)


def wait_for(done: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for something; the seconds it took.

    Raises:
        AssertionError: it did not come in time.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(_POLL_SECONDS)
    return time.monotonic() - began


def gone(processes: Sequence[psutil.Process]) -> bool:
    return not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes)
