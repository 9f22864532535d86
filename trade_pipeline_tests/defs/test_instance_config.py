"""What DAGSTER_HOME/dagster.yaml says: one file, and over it what the settings ask for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from trade_pipeline.cli.elsewhere import runs_elsewhere
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.defs.instance import (
    command_environment,
    dagster_environment,
    dagster_server,
    dagster_yaml,
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


def given_yaml(tmp_path: Path, text: str, **settings: Any) -> Settings:
    file = tmp_path / "given.yaml"
    file.write_text(text)
    return Settings(_env_file=None, home=tmp_path / "home", dagster_yaml=file, **settings)


def test_a_configuration_that_another_wrote_is_taken_as_it_is(tmp_path: Path) -> None:
    settings = given_yaml(tmp_path, "run_launcher: {module: dagster_k8s, class: K8sRunLauncher}")
    environment = command_environment(settings)
    written = Path(environment["DAGSTER_HOME"], "dagster.yaml")
    assert written.stat().st_mode & 0o077 == 0
    assert yaml.safe_load(written.read_text()) == {
        "run_launcher": {"module": "dagster_k8s", "class": "K8sRunLauncher"}
    }
    assert "TRADE_PIPELINE_DAGSTER_URL" not in environment
    with dagster_server(settings) as server:
        assert server is None


@pytest.mark.parametrize(
    ("text", "elsewhere"),
    [
        ("run_launcher: {module: dagster_k8s, class: K8sRunLauncher}", True),
        ("run_launcher: {module: dagster, class: DefaultRunLauncher}", False),
        ("telemetry: {enabled: false}", False),
    ],
)
def test_who_executes_runs_is_read_from_it(tmp_path: Path, text: str, elsewhere: bool) -> None:
    assert runs_elsewhere(given_yaml(tmp_path, text)) is elsewhere


def test_only_a_broker_lets_runs_be_executed_elsewhere_without_it(tmp_path: Path) -> None:
    assert runs_elsewhere(Settings(_env_file=None, broker_url=BROKER_URL))
    assert not runs_elsewhere(Settings(_env_file=None))


def test_a_configuration_that_is_none_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"dagster_yaml='/nowhere/dagster.yaml': .*No such file"):
        dagster_yaml(Settings(_env_file=None, dagster_yaml="/nowhere/dagster.yaml"))
    for text in ("a: [", "just a text", ""):
        with pytest.raises(BadConfig, match=r"dagster_yaml='.*given.yaml': "):
            dagster_yaml(given_yaml(tmp_path, text))


@pytest.mark.parametrize(
    ("name", "url"), [("dagster_url", DAGSTER_URL), ("broker_url", BROKER_URL)]
)
def test_what_a_given_configuration_tells_is_not_told_twice(
    tmp_path: Path, name: str, url: str
) -> None:
    with pytest.raises(BadConfig, match=f"{name}=") as refused:
        dagster_yaml(given_yaml(tmp_path, "telemetry: {enabled: false}", **{name: url}))
    assert "hidden@" not in str(refused.value)


def test_mappings_are_merged_and_lists_replaced() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": 1}
    assert overlaid(below, {"a": {"c": [3]}, "e": {"f": 1}}) == {
        "a": {"b": 1, "c": [3]}, "d": 1, "e": {"f": 1},
    }  # fmt: skip
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": 1}
