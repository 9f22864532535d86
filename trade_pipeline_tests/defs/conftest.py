"""A store under a home of its own, as a run of Dagster finds it; and UIs to end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def store(home: Path) -> Iterator[Store]:
    with Store.open(Settings(home=home, _env_file=None)) as opened:
        yield opened


@pytest.fixture(autouse=True)
def environment(home: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(home))
    monkeypatch.delenv("TRADE_PIPELINE_DATABASE_URL", raising=False)


PATIENCE = 150.0
ENDINGS = (signal.SIGTERM, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Served:
    """The command that serves a UI, and the UI's port."""

    process: subprocess.Popen[str]
    port: int


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[int, Served]]:
    """A UI to end by each signal; they start at once."""
    started = {}
    for how in ENDINGS:
        port = free_port()
        environment = os.environ | {
            "TRADE_PIPELINE_HOME": str(tmp_path_factory.mktemp("served")),
            "TRADE_PIPELINE_UI_PORT": str(port),
        }
        command = [sys.executable, "-m", "trade_pipeline.cli", "up"]
        started[int(how)] = Served(
            subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True), port
        )
    yield started
    for one in started.values():
        one.process.terminate()
        one.process.wait(timeout=PATIENCE)
