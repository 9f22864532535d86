"""A run's process ends with the command that served its Dagster, and with nothing below that."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from trade_pipeline.defs.owner import is_ours

PATIENCE = 30
# A command called `dagster`, which starts what stands behind its second argument and stays.
COMMAND = """
import subprocess, sys, time
subprocess.run([sys.executable, *sys.argv[2:]])
time.sleep(60)
"""
# Tells whether anybody answers for it as often as it is asked.
WORKER = """
import os, sys
from trade_pipeline.defs.owner import OwnerWatch
with OwnerWatch() as watch:
    print(os.getpid(), flush=True)
    for line in sys.stdin:
        print(watch.missing(), flush=True)
"""
# The sensor of a code server.
SENSOR = """
import os, time
from trade_pipeline.defs.owner import dev_is_gone, end_orphans, owners
print(os.getpid(), flush=True)
while not dev_is_gone(owners()):
    time.sleep(0.05)
end_orphans()
"""


class Chain:
    """`dagster dev`, a code server below it, and a script below that."""

    def __init__(self, folder: Path, script: str) -> None:
        self.dagster, self.script = folder / "dagster", folder / "script.py"
        self.dagster.write_text(COMMAND)
        self.script.write_text(script)
        self.home = str(folder)
        self.command = self.start("dev", str(self.dagster), "api", str(self.script))
        self.worker = psutil.Process(int(self.line()))
        code_server = self.worker.parent()
        assert code_server is not None
        self.code_server = code_server

    def start(self, *words: str, group: int = 0, home: str = "") -> subprocess.Popen[str]:
        environment = {"DAGSTER_IS_DEV_CLI": "1", "DAGSTER_HOME": home or self.home}
        return subprocess.Popen(
            [sys.executable, str(self.dagster), *words],
            env=os.environ | environment, text=True, process_group=group,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )  # fmt: skip

    def line(self) -> str:
        assert self.command.stdout is not None
        return self.command.stdout.readline().strip()

    def missing(self) -> str:
        assert self.command.stdin is not None
        self.command.stdin.write("?\n")
        self.command.stdin.flush()
        return self.line()


@pytest.fixture
def chain(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Chain]:
    made = Chain(tmp_path, request.param)
    yield made
    for process in (made.worker, made.code_server):
        if process.is_running():
            process.kill()
    made.command.kill()
    made.command.communicate()


def ended(*processes: psutil.Process) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=PATIENCE)
    return not alive


@pytest.mark.parametrize("chain", [WORKER], indirect=True)
def test_a_worker_survives_its_code_server_and_ends_with_the_command(chain: Chain) -> None:
    assert chain.missing() == "False"
    chain.code_server.kill()
    assert ended(chain.code_server)
    assert chain.missing() == "False"
    chain.command.kill()
    assert ended(chain.worker)


@pytest.mark.parametrize("chain", [SENSOR], indirect=True)
def test_what_a_dead_dev_left_is_ended_and_nothing_else(chain: Chain) -> None:
    group = os.getpgid(chain.command.pid)
    # Of another project, in the same script: its own command would restart what is ended.
    other = chain.start("api", "-c", "import time; time.sleep(60)", group=group, home="/other")
    try:
        chain.command.kill()
        assert ended(chain.code_server, chain.worker)
        assert other.poll() is None
    finally:
        for process in psutil.Process(other.pid).children():
            process.kill()
        other.kill()
        other.communicate()


@pytest.mark.parametrize("chain", [WORKER], indirect=True)
def test_a_worker_that_an_orphan_starts_ends_at_once(chain: Chain) -> None:
    with chain.start("api", str(chain.script)) as orphan:
        assert orphan.stdout is not None
        worker = psutil.Process(int(orphan.stdout.readline()))
        assert ended(worker)
        orphan.kill()


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        ("/x/bin/python /x/bin/dagster dev -p 3000", True),
        ("python -m dagster code-server start", True),
        ("python -m dagster_webserver --port 3000", True),
        ("python -m dagster._daemon run", True),
        ("python -m trade_pipeline.cli up", True),
        ("/x/bin/python /x/bin/trade-pipeline up", True),
        ("/x/bin/python /x/bin/celery -A trade_pipeline.defs.celery_app worker -Q live", True),
        ("/bin/bash", False),
        ("/usr/lib/systemd/systemd --user", False),
        ("python -m pytest trade_pipeline_tests/defs", False),
        ("tail -f /home/me/dagster/daemon.log", False),
        ("vim one two three dagster", False),
    ],
)
def test_commands_of_dagster_and_of_the_product_are_known(command: str, ours: bool) -> None:
    assert is_ours(command.split()) == ours
