"""The command line as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from trade_pipeline.cli import main
from trade_pipeline.core.session.version import code_version
from trade_pipeline.core.store.server import EmbeddedPostgres

DAYS = ["--start", "2026-01-05", "--end", "2026-01-07"]
SMALL = ["--set", "simulator.burn_in_days=3"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("a home of spaces")
    with EmbeddedPostgres(folder / "postgres"):
        yield folder


@pytest.fixture
def run(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs the command line; gives (exit code, standard output, standard error)."""
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "200")

    def run_it(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["trade-pipeline", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        code = ended.value.code
        return (code if isinstance(code, int) else 0), captured.out, captured.err

    return run_it


def test_a_backtest_prints_its_facts_and_adds_nothing_when_it_is_run_again(run: Run) -> None:
    arguments = ["backtest", "--market", "simulated", *DAYS, *SMALL, "--seed", "3", "--json"]
    code, out, _ = run(*arguments, "--experiment", "first")
    facts = json.loads(out)
    assert code == 0
    assert facts["new_rows"] > 0
    assert {
        "session_id", "events", "candidates", "trades", "win_rate", "mean_return_pct",
        "median_return_pct", "by_reason", "stop_by_liquidity", "by_gas", "costs", "seconds",
        "events_per_second", "peak_memory_mb",
    } <= facts.keys()  # fmt: skip
    again = json.loads(run(*arguments)[1])
    assert again["new_rows"] == 0
    timing = ("seconds", "database_seconds", "events_per_second", "peak_memory_mb", "new_rows")
    assert {k: v for k, v in again.items() if k not in timing} == {
        k: v for k, v in facts.items() if k not in timing
    }


def test_metrics_and_a_trace_are_read_back_from_the_store(run: Run) -> None:
    out = run("backtest", "--market", "simulated", *DAYS, *SMALL, "--seed", "3", "--json")[1]
    facts = json.loads(out)
    metrics = json.loads(run("metrics", "--json")[1])
    assert metrics["total_trades"] >= facts["trades"]
    session = json.loads(run("metrics", "--session", facts["session_id"], "--json")[1])
    assert session["win_rate"] == facts["win_rate"]
    assert "session" in run("metrics", "--session", facts["session_id"])[1]
    code, out, _ = run("trace", "00000000-0000-7000-8000-000000000000")
    assert (code, out) == (2, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backtest", "--market", "uniswap-v2", "--data", "/nowhere", *DAYS], "/nowhere/tape"),
        (["backtest", "--market", "uniswap-v2", *DAYS], "data=None"),
        (["backtest", "--market", "stocks", *DAYS], "market='stocks'"),
        (
            ["backtest", "--market", "simulated", "--start", "2026-01-07", "--end", "2026-01-05"],
            "end=2026-01-05: must be after start=2026-01-07",
        ),
        (
            ["backtest", "--market", "simulated", "--start", "monday", "--end", "2026-01-05"],
            "start='monday'",
        ),
        (
            ["backtest", "--market", "simulated", "--start", "2026-01-05T10:00", "--end", "x"],
            "start='2026-01-05T10:00'",
        ),
        (
            ["backtest", "--market", "simulated", *DAYS, "--set", "strategy.exits.stop_los=0.1"],
            "strategy.exits.stop_los='0.1'",
        ),
        (
            ["backtest", "--market", "simulated", *DAYS, "--set", "strategy.exits.stop_loss=2"],
            "strategy.exits.stop_loss='2'",
        ),
        (
            ["backtest", "--market", "simulated", *DAYS, "--set", "strategy=1"],
            "strategy='1'",
        ),
        (
            ["backtest", "--market", "simulated", *DAYS, "--config", "/nowhere.toml"],
            "/nowhere.toml",
        ),
        (["metrics", "--session", "none"], "session_id='none'"),
        (["trace", "12"], "uuid='12'"),
        (["db", "shell", "--role", "postgres"], "role='postgres'"),
    ],
)
def test_a_wrong_input_ends_with_code_2_and_names_the_field(
    run: Run, arguments: list[str], message: str
) -> None:
    code, out, err = run(*arguments)
    assert code == 2
    assert message in err
    assert "Traceback" not in err
    assert out == ""


def test_a_database_that_cannot_be_reached_is_named_without_its_password(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(
        "TRADE_PIPELINE_DATABASE_URL", "postgresql://me:hushhush@127.0.0.1:1/nothing"
    )
    code, _, err = run("backtest", "--market", "simulated", *DAYS)
    assert code == 2
    assert "127.0.0.1" in err
    assert "hushhush" not in err


def _write_tape(folder: Path, **columns: object) -> None:
    """A small recording; a column of None is left out."""
    count = 4
    tape: dict[str, object] = {
        "pool": ["0xp"] * count,
        "block": np.arange(100, 100 + count, dtype=np.int32),
        "log_index": np.zeros(count, np.int16),
        "timestamp": pa.array(
            [1_631_000_000_000_000 + 60_000_000 * i for i in range(count)],
            pa.timestamp("us", "UTC"),
        ),
        "weth_reserve": [10.0, 11.0, 12.0, 11.0],
        "token_reserve": [1000.0, 910.0, 834.0, 910.0],
    } | columns
    pq.write_table(
        pa.table({k: v for k, v in tape.items() if v is not None}), folder / "tape.parquet"
    )
    pools = {
        "pool": ["0xp"],
        "token": ["0xt"],
        "symbol": ["T"],
        "decimals": [18],
        "created_at": pa.array([1_631_000_000_000_000], pa.timestamp("us", "UTC")),
        "total_supply": [1000.0],
    }
    pq.write_table(pa.table(pools), folder / "pools.parquet")
    hours = pa.array(
        [1_630_980_000_000_000 + 3_600_000_000 * i for i in range(20)], pa.timestamp("us", "UTC")
    )
    pq.write_table(
        pa.table({"eth_usd": [3000.0] * 20, "__index_level_0__": hours}),
        folder / "eth_usd.parquet",
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weth_reserve": None}, "weth_reserve"),
        ({"token_reserve": [1000.0, float("nan"), 834.0, 910.0]}, "token_reserve"),
        ({"block": np.array([100, 102, 101, 103], np.int32)}, "block"),
    ],
)
def test_a_broken_recording_is_refused_and_leaves_nothing_behind(
    run: Run, tmp_path: Path, columns: dict[str, object], message: str
) -> None:
    _write_tape(tmp_path, **columns)
    arguments = ["--data", str(tmp_path), "--start", "2021-09-07", "--end", "2021-09-08"]
    code, _, err = run("backtest", "--market", "uniswap-v2", *arguments)
    assert code == 2
    assert "tape.parquet" in err
    assert message in err


def test_a_range_without_events_is_refused_with_the_span_of_the_market(
    run: Run, tmp_path: Path
) -> None:
    _write_tape(tmp_path)
    arguments = ["--data", str(tmp_path), "--start", "2024-09-07", "--end", "2024-09-08"]
    code, _, err = run("backtest", "--market", "uniswap-v2", *arguments)
    assert code == 2
    assert "spans 2021-09-07" in err


def test_the_database_commands_tell_where_it_is_and_open_it(run: Run, home: Path) -> None:
    status = json.loads(run("db", "status", "--json")[1])
    assert status["running"]
    assert status["folder"] == str(home / "postgres")
    code, out, _ = run("db", "url")
    assert code == 0
    assert out.startswith("postgresql://trade_writer:")
    assert json.loads(run("db", "migrate", "--json")[1]) == {"applied": []}


def test_the_environment_of_dagster_dev_is_printed_for_a_shell(run: Run, home: Path) -> None:
    code, out, _ = run("env")
    assert code == 0
    shell = f"{out}\nenv"
    found = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=True).stdout
    given = dict(line.split("=", 1) for line in found.splitlines())
    assert given["DAGSTER_HOME"] == str(home.resolve() / "dagster")
    assert given["TRADE_PIPELINE_DAGSTER_URL"].startswith("postgresql+psycopg2://dagster:")
    assert (home / "dagster" / "dagster.yaml").is_file()


def test_exec_becomes_a_command_that_knows_the_storage_and_gets_its_own_options(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(home))
    monkeypatch.setenv("TRADE_PIPELINE_BROKER_URL", "redis://broker.example.org/1")
    told = (
        "import os,sys;print(os.environ['DAGSTER_HOME'], os.environ['TRADE_PIPELINE_DAGSTER_URL']"
    )
    program = [sys.executable, "-c", f"{told}, os.getpid(), *sys.argv[1:]); sys.exit(7)"]
    command = [sys.executable, "-m", "trade_pipeline.cli", "exec", *program, "-Q", "live", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate(timeout=120)
    dagster_home, url, pid, *given = out.removeprefix(f"{home.resolve()}/").split()
    assert (dagster_home, given) == ("dagster", ["-Q", "live", "--help"])
    assert url.startswith("postgresql+psycopg2://dagster:")
    # The very process: signals reach the command, and its exit code is seen.
    assert (int(pid), process.returncode) == (process.pid, 7)
    assert "WorkerRunLauncher" in (home / "dagster" / "dagster.yaml").read_text()


def test_exec_of_nothing_that_is_installed_is_one_line(run: Run) -> None:
    code, _, err = run("exec", "no-such-program")
    assert code == 2
    assert "command='no-such-program': no such program" in err


def test_the_help_of_every_command_is_printed(run: Run) -> None:
    for command in ([], ["backtest"], ["demo"], ["db"], ["market", "calibrate"], ["trace"]):
        code, out, _ = run(*command, "--help")
        assert code == 0
        assert "Usage" in out


def test_the_version_is_told_with_that_of_the_code_which_sessions_record(run: Run) -> None:
    code, out, _ = run("--version")
    assert (code, out) == (
        0,
        f"trade-pipeline {version('trade-pipeline')}, code {code_version()}\n",
    )
