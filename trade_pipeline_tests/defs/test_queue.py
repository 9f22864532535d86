"""The queue of runs: what must not wait does not, and the rest waits for its turn."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test, instance_for_test
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import (
    QueuedRunCoordinatorDaemon,
)

from trade_pipeline.definitions import defs
from trade_pipeline.defs.instance import dagster_yaml
from trade_pipeline.defs.queue import TradeRunCoordinator
from trade_pipeline.settings import Settings

_LOCATION = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("trade_pipeline"), "__repository__")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance with the queue of the product's own configuration."""
    settings = dagster_yaml(Settings(_env_file=None))
    kept: dict[str, Any] = {name: settings[name] for name in ("run_coordinator", "concurrency")}
    with instance_for_test(overrides=kept) as made:
        yield made


def submit(instance: dg.DagsterInstance, *jobs: str) -> list[str]:
    """The ids of new runs in the queue."""
    made = []
    for job in jobs:
        run = create_run_for_test(
            instance, job, tags=dict(defs.resolve_job_def(job).tags),
            status=dg.DagsterRunStatus.NOT_STARTED, remote_job_origin=_LOCATION.get_job_origin(job),
        )  # fmt: skip
        context = dg.SubmitRunContext(run, None)  # type: ignore[arg-type]
        instance.run_coordinator.submit_run(context)
        made.append(run.run_id)
    return made


def next_runs(instance: dg.DagsterInstance) -> list[str]:
    """The ids of the runs that the daemon would start now, in its order."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    found = daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)
    return [run.run_id for run in found]


def test_sessions_and_the_kill_switch_wait_for_no_training(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_coordinator, TradeRunCoordinator)
    trainings = submit(instance, *["training_job"] * 3)
    assert next_runs(instance) == trainings[:2]
    for run_id in trainings[:2]:
        started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "training_job")
        instance.report_dagster_event(started, run_id)
    assert next_runs(instance) == []
    urgent = ["live_job", "live_job", "halt_job", "flatten_job", "resume_job", "rollback_job"]
    at_once = submit(instance, *urgent)
    assert sorted(next_runs(instance)) == sorted(at_once)


def test_sessions_keep_no_training_waiting(instance: dg.DagsterInstance) -> None:
    sessions = submit(instance, *["live_job"] * 5)
    for run_id in sessions:
        started = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "live_job")
        instance.report_dagster_event(started, run_id)
    trainings = submit(instance, "training_job")
    assert next_runs(instance) == trainings
