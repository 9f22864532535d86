"""The UI's processes: they answer, and nothing of them outlives who started them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest

from trade_pipeline_tests.defs.conftest import ENDINGS, PATIENCE, Served


@pytest.mark.parametrize("how", ENDINGS)
def test_the_ui_answers_and_ends_with_everything_it_started(
    served: dict[int, Served], how: int
) -> None:
    port, serving = served[how].port, served[how].process
    assert serving.stdout is not None
    assert f"http://127.0.0.1:{port}" in serving.stdout.readline()
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=20) as answer:
        assert b"dagster_version" in answer.read()
    started = psutil.Process(serving.pid).children(recursive=True)
    assert len(started) >= 4
    serving.send_signal(how)
    serving.wait(timeout=PATIENCE)
    _, alive = psutil.wait_procs(started, timeout=PATIENCE)
    # The watchdog and the server follow when their last user is gone.
    assert [process for process in alive if process.is_running()] == []


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "trade_pipeline.cli", "up"],
            env=os.environ
            | {
                "TRADE_PIPELINE_HOME": str(tmp_path / "home"),
                "TRADE_PIPELINE_UI_PORT": str(port),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    assert ended.returncode == 2
    assert f"ui_port={port}" in ended.stderr
    assert "TRADE_PIPELINE_UI_PORT" in ended.stderr
