"""Trades of an older bot, and what goes after a year, on the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.cli import main
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.core.imports import made

Run = Callable[..., tuple[Any, str, str]]


@pytest.fixture
def run(
    server: EmbeddedPostgres,
    fresh_database: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Run:
    """Runs the command line on a store of its own; gives exit code, output and errors."""
    with fresh_database.connect() as connection:
        name = connection.info.dbname
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("TRADE_PIPELINE_DATABASE_URL", server.url("postgres", name))

    def run_it(*arguments: str) -> tuple[Any, str, str]:
        monkeypatch.setattr("sys.argv", ["trade-pipeline", *arguments])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        captured = capfd.readouterr()
        return ended.value.code or 0, captured.out, captured.err

    return run_it


def test_an_import_is_shown_stored_and_counted_when_it_is_asked_for(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "old.csv"
    file.write_bytes(made.csv_of([made.legacy(termination_reason="moon")]))
    code, _, err = run("import", str(file))
    assert code == 2
    assert "row 2: reason='moon'" in err
    moon = ("--reason", "moon=profit_target", "--json")
    facts = json.loads(run("import", str(file), "--dry-run", *moon)[1])
    assert (facts["trades"], facts["dry_run"]) == (1, True)
    facts = json.loads(run("import", str(file), *moon)[1])
    assert (facts["new"], facts["dry_run"]) == (True, False)
    assert facts["by_reason"] == [
        {"in_the_file": "moon", "recorded_as": "profit_target", "trades": 1}
    ]
    code, out, _ = run("import", str(file), *moon[:2])
    assert (code, "nothing new" in out) == (0, True)

    assert json.loads(run("metrics", "--json")[1])["total_trades"] == 0
    assert json.loads(run("metrics", "--include-imported", "--json")[1])["total_trades"] == 1
    one = json.loads(run("metrics", "--session", facts["session_id"], "--json")[1])
    assert (one["trades"], one["total_pnl_usd"]) == (1, 29.7)
    code, _, err = run("datasets", "build")
    assert (code, "imported ones need --include-imported" in err) == (2, True)
    code, _, err = run("datasets", "build", "--include-imported")
    assert (code, "BadConfig" in err) == (2, True), "one trade makes no dataset"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--map", "size"), "--map 'size': expected NAME=VALUE"),
        (("--reason", "moon=up"), "--reason ...=up: expected one of stop_loss"),
        (("--reason", "moon=not_filled"), "expected one of stop_loss"),
        (("--quote-usd", "BTC=much"), "--quote-usd BTC=much: expected a price"),
        (("--timezone", "Mars"), "timezone='Mars'"),
    ],
)
def test_a_mistake_in_an_option_is_told(
    run: Run, tmp_path: Path, arguments: tuple[str, ...], told: str
) -> None:
    file = tmp_path / "old.csv"
    file.write_bytes(made.csv_of([made.legacy()]))
    code, _, err = run("import", str(file), *arguments)
    assert (code, told in err) == (2, True), err


def test_a_file_that_is_not_there_is_told(run: Run, tmp_path: Path) -> None:
    code, _, err = run("import", str(tmp_path / "none.csv"))
    assert (code, "No such file" in err) == (2, True)
