"""`trade-pipeline experiment` as a user types it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.integration.typed import Run, run_in

FILE = """
name: stops
market: simulated
start: 2026-01-05
end: 2026-01-06
seeds: [1, 2]
set: {simulator.pools_per_day: 30, simulator.burn_in_days: 1, simulator.trades_max: 400}
grid: {strategy.exits.stop_loss: [0.15, 0.3]}
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "stops.yaml").write_text(FILE)
    return tmp_path / "home"


@pytest.fixture
def run(home: Path) -> Iterator[Run]:
    with pytest.MonkeyPatch.context() as patch:
        yield run_in(patch, {"TRADE_PIPELINE_HOME": str(home)})


def test_a_dry_run_lists_the_sessions_and_runs_none(run: Run, tmp_path: Path) -> None:
    listed = run("experiment", "run", str(tmp_path / "stops.yaml"), "--dry-run", "--json")
    assert listed.code == 0, listed.err
    sessions = listed.facts["sessions"]
    assert len({one["session_id"] for one in sessions}) == len(sessions) == 4
    assert not any(one["stored"] for one in sessions)
    assert run("experiment", "list", "--json").facts == []
    missing = run("experiment", "show", "stops")
    assert (missing.code, "stops" in missing.err) == (2, True)


def ran(file: Path, home: Path, **given: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trade_pipeline.cli", "experiment", "run", str(file)]
    return subprocess.Popen(
        [*command, "--json", "--workers", "2"], text=True, start_new_session=True,
        env=os.environ | {"TRADE_PIPELINE_HOME": str(home)}, **given,
    )  # fmt: skip


def stored(run: Run, file: Path) -> int:
    listed = run("experiment", "run", str(file), "--dry-run", "--json")
    return sum(one["stored"] for one in listed.facts["sessions"])


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="two minutes: make reliability runs it")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_experiment_that_was_stopped_goes_on_and_ends_as_an_undisturbed_one(
    run: Run, home: Path, tmp_path: Path, how: signal.Signals
) -> None:
    file = tmp_path / "stops.yaml"
    first = ran(file, home, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 180
    while not 0 < stored(run, file) < 4 and time.monotonic() < until:
        time.sleep(0.2)
    first.send_signal(how)
    assert first.wait(60) == (-how if how is signal.SIGKILL else 130)
    again = ran(file, home, stdout=subprocess.PIPE)
    out, _ = again.communicate(timeout=300)
    told = json.loads(out)
    assert (again.returncode, told["failed"]) == (0, [])
    assert (told["stored"], told["sessions"]) == (4, 4)
    untouched = ran(file, tmp_path / "other", stdout=subprocess.PIPE)
    assert json.loads(untouched.communicate(timeout=300)[0])["groups"] == told["groups"]
