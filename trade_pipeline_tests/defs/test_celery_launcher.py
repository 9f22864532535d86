"""Runs as tasks of Celery's workers: on their queue, once, and thought alive only while they are.

The broker is in memory, and the worker a thread; `make reliability` kills real ones.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from dagster._core.launcher import LaunchRunContext, WorkerStatus
from dagster._core.test_utils import instance_for_test
from pydantic import SecretStr

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs import celery_launcher, launched_runs
from trade_pipeline.defs.celery_launcher import WorkerRunLauncher
from trade_pipeline.defs.celery_settings import broker_of, celery_of
from trade_pipeline.defs.launched_runs import Launch, launch_and_wait
from trade_pipeline.settings import Settings

BROKER = "memory://"


@pytest.fixture(scope="module")
def app() -> Iterator[Celery]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRADE_PIPELINE_BROKER_URL", BROKER)
        sys.modules.pop("trade_pipeline.defs.celery_app", None)
        from trade_pipeline.defs.celery_app import app

        yield app


@pytest.fixture
def instance(app: Celery, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setattr(celery_launcher, "ANSWER_SECONDS", 1.0)
    app.control.purge()
    launcher = {
        "module": "trade_pipeline.defs.celery_launcher",
        "class": "WorkerRunLauncher",
        "config": {"broker": BROKER, "default_queue": "batch"},
    }
    overrides: dict[str, Any] = {"run_launcher": launcher, "run_monitoring": {"enabled": True}}
    with instance_for_test(overrides=overrides) as made:
        # In memory, a result is known only to the app that the worker has.
        launcher_of(made).celery = app
        yield made


@pytest.fixture(scope="module", autouse=True)
def account(store: Store) -> None:
    """Somebody trades it, so that it can be halted."""
    with store.database.connect(autocommit=True) as connection:
        connection.execute(
            "INSERT INTO trade.live_requests (account, wanted, settings, by_whom) "
            "VALUES ('paper', false, '{}', 'a test')"
        )


def launcher_of(instance: dg.DagsterInstance) -> WorkerRunLauncher:
    assert isinstance(instance.run_launcher, WorkerRunLauncher)
    return instance.run_launcher


def worker(app: Celery, *queues: str) -> AbstractContextManager[Any]:
    """A worker that consumes queues, as long as the block lasts."""
    return start_worker(app, pool="solo", perform_ping_check=False, queues=list(queues))


def halt(reason: str, **tags: str) -> Launch:
    return Launch("halt_job", {"order_halt_op": {"account": "paper", "reason": reason}}, tags=tags)


def halts(store: Store, reason: str) -> int:
    with store.database.connect("trade_reader") as connection:
        row = connection.execute(
            "SELECT count(*) FROM trade.halts WHERE reason = %s", (reason,)
        ).fetchone()
    assert row is not None
    return int(row[0])


def launched(instance: dg.DagsterInstance, launch: Launch) -> dg.DagsterRun:
    run = instance.get_run_by_id(launched_runs._launch(instance, launch))
    assert run is not None
    return run


def test_live_sessions_and_halts_have_a_queue_of_their_own() -> None:
    queues = {job.name: job.tags.get("dagster-celery/queue") for job in defs.resolve_all_job_defs()}
    live = {"live_job", "halt_job", "flatten_job", "resume_job"}
    assert {name for name, queue in queues.items() if queue == "live"} >= live
    assert queues["backtest_job"] is None


def test_a_worker_executes_what_is_in_its_queue(
    instance: dg.DagsterInstance, app: Celery, store: Store
) -> None:
    batch = halt("of batch", **{"dagster-celery/queue": "batch"})
    other = launched(instance, halt("of live"))
    with worker(app, "batch"):
        assert launcher_of(instance).slots() == 1
        assert launcher_of(instance).slots("live") == 0
        assert launch_and_wait(instance, [batch]) == []
    assert (halts(store, "of batch"), halts(store, "of live")) == (1, 0)
    waiting = instance.get_run_by_id(other.run_id)
    assert waiting is not None
    assert waiting.status == dg.DagsterRunStatus.STARTING
    with worker(app, "live"):
        assert launch_and_wait(instance, [halt("of live")], limit=1) == []
    assert halts(store, "of live") == 1


def test_a_message_that_comes_twice_is_executed_once(
    instance: dg.DagsterInstance, app: Celery, store: Store
) -> None:
    run = launched(instance, halt("twice"))
    launcher_of(instance).launch_run(LaunchRunContext(run, None))
    with worker(app, "live"):
        assert launch_and_wait(instance, [halt("twice"), halt("after it")], limit=1) == []
    assert (halts(store, "twice"), halts(store, "after it")) == (1, 1)


def test_a_run_that_waits_is_not_lost_and_one_that_nobody_has_is(
    instance: dg.DagsterInstance, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(celery_launcher, "MISSING_SECONDS", 0.0)
    run = launched(instance, halt("waits"))
    health = launcher_of(instance).check_run_worker_health(run)
    assert (health.status, health.msg) == (WorkerStatus.RUNNING, "it waits for a worker")
    # The broker forgets.
    with app.connection_for_write() as connection:
        app.amqp.queues["live"](connection.default_channel).purge()
    run = instance.get_run_by_id(run.run_id) or run
    health = launcher_of(instance).check_run_worker_health(run)
    assert health.status == WorkerStatus.FAILED
    assert "neither the broker nor a worker has it" in str(health.msg)


def test_a_run_whose_worker_is_silent_for_a_moment_is_not_given_up(
    instance: dg.DagsterInstance, app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launched(instance, halt("silent"))
    run = instance.get_run_by_id(run.run_id) or run
    task = run.tags["dagster-celery/task_id"]
    app.backend.store_result(task, {"hostname": "gone@machine", "pid": 1}, "STARTED")
    launcher = launcher_of(instance)
    assert launcher.check_run_worker_health(run).status == WorkerStatus.RUNNING
    monkeypatch.setattr(celery_launcher, "MISSING_SECONDS", 0.0)
    health = launcher.check_run_worker_health(run)
    assert (health.status, health.msg) == (WorkerStatus.FAILED, "gone@machine does not answer")
    # It died so that its worker noticed.
    app.backend.store_result(task, RuntimeError("signal 9"), "FAILURE")
    assert launcher.check_run_worker_health(run).status == WorkerStatus.FAILED


def test_a_run_that_is_ended_before_a_worker_has_it_is_never_executed(
    instance: dg.DagsterInstance, app: Celery, store: Store
) -> None:
    run = launched(instance, halt("unwanted"))
    assert launcher_of(instance).terminate(run.run_id)
    assert not launcher_of(instance).terminate(run.run_id)
    with worker(app, "live"):
        assert launch_and_wait(instance, [halt("wanted")], limit=1) == []
    ended = instance.get_run_by_id(run.run_id)
    assert ended is not None
    assert ended.status == dg.DagsterRunStatus.CANCELED
    assert (halts(store, "unwanted"), halts(store, "wanted")) == (0, 1)


def test_runs_are_acknowledged_as_they_begin_and_no_worker_hoards_them() -> None:
    conf = celery_of("redis://broker.example.org/1").conf
    assert (conf.task_acks_late, conf.task_reject_on_worker_lost) == (False, None)
    assert (conf.worker_prefetch_multiplier, conf.worker_disable_prefetch) == (1, True)
    assert conf.result_backend == "redis://broker.example.org/1"
    # A session that goes on for months is not forgotten.
    assert conf.result_expires > 365 * 86_400


def test_tls_to_the_broker_checks_its_certificate() -> None:
    conf = celery_of("rediss://broker.example.org/1").conf
    assert conf.broker_use_ssl == conf.redis_backend_use_ssl
    assert conf.broker_use_ssl["ssl_cert_reqs"].name == "CERT_REQUIRED"


def test_a_worker_without_a_broker_is_refused_in_one_line(
    app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRADE_PIPELINE_BROKER_URL")
    with pytest.raises(BadConfig, match="broker_url=None"):
        broker_of(Settings(_env_file=None))
    assert broker_of(Settings(_env_file=None, broker_url=SecretStr(BROKER))) == BROKER
