"""What DAGSTER_HOME/dagster.yaml says: one file, and over it what the settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.defs.instance import (
    command_environment,
    dagster_environment,
    overlaid,
    project_file,
)
from trade_pipeline.settings import Settings

DAGSTER_URL = "postgresql+psycopg2://dagster:hidden@db.example.org/dagster"
BROKER_URL = "redis://:hidden-too@broker.example.org:6379/1"


def written(tmp_path: Path, **settings: Any) -> tuple[dict[str, str], str]:
    """The environment of a command, and the text of its dagster.yaml."""
    environment = command_environment(
        Settings(_env_file=None, home=tmp_path, dagster_url=DAGSTER_URL, **settings)
    )
    return environment, Path(environment["DAGSTER_HOME"], "dagster.yaml").read_text()


def test_without_a_broker_runs_are_processes_of_this_machine(tmp_path: Path) -> None:
    environment, text = written(tmp_path)
    told = yaml.safe_load(text)
    assert "run_launcher" not in told
    assert "TRADE_PIPELINE_BROKER_URL" not in environment
    assert told["concurrency"]["runs"]["tag_concurrency_limits"] == [
        {"key": "trade_pipeline/queue", "value": "batch", "limit": 2}
    ]


def test_with_a_broker_its_workers_execute_runs_and_all_else_stays(tmp_path: Path) -> None:
    plain = yaml.safe_load(project_file("dagster.yaml").read_text())
    environment, text = written(tmp_path, broker_url=BROKER_URL, batch_runs=40)
    told = yaml.safe_load(text)
    assert told.pop("run_launcher")["class"] == "WorkerRunLauncher"
    # A file of the worker's machine would be on no screen.
    assert told.pop("compute_logs")["class"] == "NoOpComputeLogManager"
    # A run that waits for a free worker has not failed.
    assert told["run_monitoring"].pop("start_timeout_seconds") > 1000
    plain["run_monitoring"].pop("start_timeout_seconds")
    limits = told["concurrency"]["runs"].pop("tag_concurrency_limits")
    assert [one["limit"] for one in limits] == [40]
    assert told == plain
    assert environment["TRADE_PIPELINE_BROKER_URL"] == BROKER_URL


def test_no_secret_is_written_to_dagster_yaml(tmp_path: Path) -> None:
    assert "hidden" not in written(tmp_path, broker_url=BROKER_URL)[1]


def test_the_broker_reaches_every_process_that_up_and_env_start(tmp_path: Path) -> None:
    settings = Settings(
        _env_file=None, home=tmp_path, dagster_url=DAGSTER_URL, broker_url=BROKER_URL
    )
    assert dagster_environment(settings, None) == command_environment(settings)


def test_a_command_without_any_storage_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="dagster_url=None"):
        command_environment(Settings(_env_file=None, home=tmp_path))


def test_mappings_are_merged_and_lists_replaced() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert overlaid(below, {"a": {"c": [3]}, "e": {"f": 1}}) == {
        "a": {"b": 1, "c": [3]}, "d": 1, "e": {"f": 1},
    }  # fmt: skip
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 1}
