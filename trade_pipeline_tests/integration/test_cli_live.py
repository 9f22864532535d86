"""The commands about live sessions and the kill switch as a user types them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.integration.typed import run_in

REPLAY = (
    "--market", "simulated", "--start", "2026-01-05", "--end", "2026-01-06", "--speed", "0",
    "--set", "replay.cell_seconds=10", "--set", "trading.simulator.pools_per_day=5",
)  # fmt: skip


def test_a_session_is_started_halted_and_seen_by_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(monkeypatch, {"TRADE_PIPELINE_HOME": str(tmp_path / "home")})
    with Store.open(Settings()):
        assert run("live", "status", "--json").facts == []
        unknown = run("halt", "--account", "nobody")
        assert (unknown.code, "account='nobody'" in unknown.err) == (2, True)
        live = run("live", "start", "--mode", "live", "--account", "main")
        assert (live.code, "real money on main" in live.err) == (2, True)

        assert "a session is wanted" in run("live", "start", *REPLAY).out
        (row,) = run("live", "status", "--json").facts
        assert (row["account"], row["wanted"], row["holder"]) == ("paper", True, None)
        assert "halt is event" in run("halt", "--reason", "a try").out
        done = run("live", "start", *REPLAY, "--here", "--json")
        assert done.code == 0, done.err
        assert done.facts["why"] == "market"
        assert done.facts["open_positions"] == 0
        (row,) = run("live", "status", "--json").facts
        assert (row["wanted"], row["holder"], row["epoch"]) == (False, None, 1)
        assert row["halted"].startswith("halt: a try (")
        assert run("resume").code == 0
        (row,) = run("live", "status", "--json").facts
        assert row["halted"] is None
        assert "no session is wanted" in run("live", "stop").out


def test_nobody_goes_on_for_a_session_in_this_process_that_is_ended_by_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(monkeypatch, {"TRADE_PIPELINE_HOME": str(tmp_path / "home")})
    command = [sys.executable, "-m", "trade_pipeline.cli", "live", "start", *REPLAY, "--here"]
    slow = [*command, "--speed", "60"]
    with Store.open(Settings()):
        with subprocess.Popen(slow, env=os.environ, stderr=subprocess.PIPE) as trading:
            end = time.monotonic() + 60
            while not any(row["wanted"] for row in run("live", "status", "--json").facts):
                assert time.monotonic() < end
                assert trading.poll() is None
            trading.send_signal(signal.SIGINT)
            trading.communicate(timeout=60)
        (row,) = run("live", "status", "--json").facts
        assert (row["wanted"], row["holder"]) == (False, None)


def test_a_recorded_market_is_exported_and_traded_again_by_the_printed_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(monkeypatch, {"TRADE_PIPELINE_HOME": str(tmp_path / "home")})
    tape = tmp_path / "tape"
    with Store.open(Settings()):
        assert run("live", "start", *REPLAY, "--set", "record=true", "--here").code == 0
        done = run("ingest", "export", str(tape))
        assert done.code == 0, done.err
        command = done.out.splitlines()[-1].split()
        assert command[:4] == ["trade-pipeline", "backtest", "--data", str(tape)]
        again = run(*command[1:], "--json")
        assert again.code == 0, again.err
        assert again.facts["market"] == "simulated"
        dry = run("ingest", "archive", "--before", "2026-02-01", "--dry-run", "--json")
        assert [(one["month"], one["account"]) for one in dry.facts] == [("2026-01", "paper")]
        assert "the next session of account paper reads it" in dry.facts[0]["kept"]
        none = run("ingest", "archive", "--before", "2026-01-31")
        assert "no month of a recorded market was over" in none.out
        taken = run("ingest", "export", str(tape))
        assert (taken.code, "is there already" in taken.err) == (2, True)
