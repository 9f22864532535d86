"""Dagster's old runs go; what the UI and automation read stays, on Dagster's own PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from trade_pipeline import cli
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs.event_log import RunPurge, purge_runs
from trade_pipeline.defs.instance import dagster_instance, dagster_server
from trade_pipeline.settings import Settings
from trade_pipeline_tests.defs.launch import QUIET

LATER = datetime.now(UTC) + timedelta(days=2)
SENSOR = "dagster/sensor_name"


@pytest.fixture
def instance(home: Path, environment: None) -> Iterator[dg.DagsterInstance]:
    settings = Settings(home=home, _env_file=None)
    with dagster_server(settings) as server, dagster_instance(settings, server) as made:
        for record in made.get_run_records():
            made.delete_run(record.dagster_run.run_id)
        yield made


@dg.asset
def plain() -> None:
    """Made again and again."""


@dg.asset(partitions_def=dg.StaticPartitionsDefinition(["x", "y"]))
def parted() -> None:
    """Made in parts."""


@dg.asset_check(asset=plain)
def looked_at() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


@dg.job
def work() -> None:
    """Makes nothing."""


ALL = dg.Definitions(
    assets=[plain, parted],
    asset_checks=[looked_at],
    jobs=[
        work,
        dg.define_asset_job("plain_job", dg.AssetSelection.assets(plain)),
        dg.define_asset_job("parted_job", dg.AssetSelection.assets(parted)),
    ],
    executor=dg.in_process_executor,
)
CHECKS = list(ALL.resolve_asset_graph().asset_check_keys)


def run(instance: dg.DagsterInstance, job: str, partition: str | None = None, **tags: str) -> str:
    result = ALL.resolve_job_def(job).execute_in_process(
        instance=instance, partition_key=partition, tags=tags, run_config={"loggers": QUIET}
    )
    return result.run_id


def purge(instance: dg.DagsterInstance, **given: Any) -> RunPurge:
    return purge_runs(instance, CHECKS, LATER, **given)


def stored(instance: dg.DagsterInstance) -> set[str]:
    return {record.dagster_run.run_id for record in instance.get_run_records()}


def test_what_is_newest_of_anything_stays_and_everything_else_goes(
    instance: dg.DagsterInstance,
) -> None:
    old = [run(instance, "plain_job"), run(instance, "parted_job", "x")]
    old.append(run(instance, "work", **{SENSOR: "a"}))
    needed = [
        run(instance, "plain_job"), run(instance, "parted_job", "x"),
        run(instance, "parted_job", "y"), run(instance, "work", **{SENSOR: "a"}),
    ]  # fmt: skip
    unfinished = instance.create_run_for_job(ALL.resolve_job_def("work")).run_id
    everything = {*old, *needed, unfinished}

    would = purge(instance, dry_run=True)
    assert (would.runs, would.needed, would.dry_run) == (len(old), len(needed), True)
    assert would.removed == {"plain_job": 1, "parted_job": 1, "work": 1}
    assert stored(instance) == everything

    # Whoever is killed between the events and the run finds the run again.
    with pytest.MonkeyPatch.context() as killed:
        killed.setattr(dg.DagsterInstance, "delete_run", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            purge(instance)
    assert stored(instance) == everything

    done = purge(instance)
    assert (done.removed, done.needed) == (would.removed, would.needed)
    assert stored(instance) == {*needed, unfinished}
    for run_id in old:
        assert instance.all_logs(run_id) == []
        assert not Path(instance.storage_directory(), run_id).exists()
    # What the UI and automation read is what it was.
    assert instance.get_materialized_partitions(dg.AssetKey("parted")) == {"x", "y"}
    event = instance.get_latest_materialization_event(dg.AssetKey("plain"))
    assert event is not None
    assert event.run_id == needed[0]
    [check] = instance.event_log_storage.get_latest_asset_check_execution_by_key(CHECKS).values()
    assert (check.run_id, check.status.value) == (needed[0], "SUCCEEDED")
    assert purge(instance).runs == 0
    # None of them is old.
    assert purge_runs(instance, [], datetime.now(UTC) - timedelta(days=1)) == RunPurge(
        {}, 0, None, False
    )


def test_the_job_tells_what_it_would_have_removed(instance: dg.DagsterInstance) -> None:
    config = {"older_than_days": 30, "dry_run": True}
    result = defs.resolve_job_def("run_purge_job").execute_in_process(
        instance=instance,
        run_config={"ops": {"purge_old_runs": {"config": config}}, "loggers": QUIET},
    )
    [output] = [event for event in result.all_events if event.is_successful_output]
    metadata = output.step_output_data.metadata
    assert metadata["dry_run"].value is True
    assert metadata["runs"].value == 0
    assert metadata["by_job"].value == "none goes"


def test_the_command_tells_the_same(
    store: Store,
    instance: dg.DagsterInstance,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    instance.create_run_for_job(ALL.resolve_job_def("work"))
    monkeypatch.setattr("sys.argv", ["trade-pipeline", "retention", "runs", "--dry-run", "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    told = json.loads(capsys.readouterr().out)
    assert (told["runs"], told["needed"], told["dry_run"], told["removed"]) == (0, 0, True, {})
