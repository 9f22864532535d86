"""Many runs through the instance's launcher: each is done once, or it is told why not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.sync_in_memory_run_launcher import SyncInMemoryRunLauncher
from dagster._core.test_utils import instance_for_test

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs import launched_runs
from trade_pipeline.defs.launched_runs import ATTEMPTS, LAUNCH, Launch, launch_and_wait
from trade_pipeline.defs.queue import BATCH, KIND

JOB, OP = "halt_job", "order_halt_op"


class Workers(SyncInMemoryRunLauncher):
    """Executes what it is told at once, and loses runs as it is told.

    Attributes:
        dying: the next runs begin, and their worker dies.
        losing: the next runs never begin.
        holding: runs wait for a worker that never comes.
    """

    dying = losing = 0
    holding = False
    workers = 4

    def slots(self) -> int:
        return self.workers

    def launch_run(self, context: LaunchRunContext) -> None:
        run = context.dagster_run
        if self.holding:
            return
        if self.losing:
            self.losing -= 1
        elif self.dying:
            self.dying -= 1
            begun = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, run.job_name)
            self._instance.report_dagster_event(begun, run.run_id)
        else:
            super().launch_run(context)

    def terminate(self, run_id: str) -> bool:
        run = self._instance.get_run_by_id(run_id)
        assert run is not None
        self._instance.report_run_canceled(run)
        return True

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        if self.holding:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return CheckRunHealthResult(WorkerStatus.FAILED, "first@machine does not answer")


@pytest.fixture(autouse=True, scope="module")
def account(store: Store) -> None:
    """Somebody trades it, so that it can be halted."""
    with store.database.connect(autocommit=True) as connection:
        connection.execute(
            "INSERT INTO trade.live_requests (account, wanted, settings, by_whom) "
            "VALUES ('paper', false, '{}', 'a test')"
        )


@pytest.fixture
def instance(monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    monkeypatch.setattr(launched_runs, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(launched_runs, "HEALTH_SECONDS", 0.0)
    launcher = {"module": __name__, "class": "Workers"}
    with instance_for_test(overrides={"run_launcher": launcher}) as made:
        yield made


def workers(instance: dg.DagsterInstance) -> Workers:
    assert isinstance(instance.run_launcher, Workers)
    return instance.run_launcher


def halt(reason: str, account: str = "paper") -> Launch:
    return Launch(JOB, {OP: {"account": account, "reason": reason}}, tags={"why": reason})


def halts(store: Store) -> list[str]:
    with store.database.connect("trade_reader") as connection:
        rows = connection.execute("SELECT reason FROM trade.halts").fetchall()
    return [reason for (reason,) in rows]


def test_each_run_is_executed_once_with_its_tags(
    instance: dg.DagsterInstance, store: Store
) -> None:
    told: list[float] = []
    wanted = [halt(f"once {number}") for number in range(3)]
    assert launch_and_wait(instance, wanted, limit=2, advance=told.append) == []
    assert told[-1] == 3
    assert sorted(one for one in halts(store) if "once" in one) == ["once 0", "once 1", "once 2"]
    runs = instance.get_runs()
    assert {run.tags["why"] for run in runs} == {"once 0", "once 1", "once 2"}
    # As if the job had been started in the UI.
    assert {run.tags["dagster-celery/queue"] for run in runs} == {"live"}


def test_a_run_that_fails_by_its_own_fault_is_told_with_its_reason_and_not_repeated(
    instance: dg.DagsterInstance,
) -> None:
    (failed,) = launch_and_wait(instance, [halt("why", account="nobody")], limit=1)
    assert failed.why.startswith("account='nobody': no such account")
    assert failed.launch.configs[OP]["account"] == "nobody"
    assert [run.run_id for run in instance.get_runs()] == [failed.run_id]


@pytest.mark.parametrize(("what", "times"), [("dying", ATTEMPTS - 1), ("losing", ATTEMPTS + 2)])
def test_what_a_lost_worker_had_is_launched_again(
    instance: dg.DagsterInstance, store: Store, what: str, times: int
) -> None:
    setattr(workers(instance), what, times)
    assert launch_and_wait(instance, [halt(f"again {what}")]) == []
    assert halts(store).count(f"again {what}") == 1
    statuses = [run.status for run in instance.get_runs()]
    assert statuses.count(dg.DagsterRunStatus.SUCCESS) == 1
    assert statuses.count(dg.DagsterRunStatus.FAILURE) == times


def test_a_run_that_ends_every_worker_is_given_up(instance: dg.DagsterInstance) -> None:
    workers(instance).dying = ATTEMPTS + 5
    (failed,) = launch_and_wait(instance, [halt("deadly")])
    assert "lost again and again" in failed.why
    assert "first@machine does not answer" in failed.why
    assert len(instance.get_runs()) == ATTEMPTS


def test_a_run_that_goes_on_already_is_waited_for(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def kill(_: float) -> None:
        raise Killed

    workers(instance).holding = True
    with monkeypatch.context() as patch:
        # Killed: nothing is cancelled.
        patch.setattr(launched_runs, "_cancel", lambda *_: None)
        patch.setattr(launched_runs.time, "sleep", kill)
        with pytest.raises(Killed):
            launch_and_wait(instance, [halt("adopted")])
    (run,) = instance.get_runs()

    def end(_: float) -> None:
        for event in (dg.DagsterEventType.RUN_START, dg.DagsterEventType.RUN_SUCCESS):
            instance.report_dagster_event(dg.DagsterEvent(event.value, JOB), run.run_id)

    monkeypatch.setattr(launched_runs.time, "sleep", end)
    assert launch_and_wait(instance, [halt("adopted")]) == []
    assert [one.run_id for one in instance.get_runs()] == [run.run_id]


def test_an_interruption_cancels_what_has_not_ended(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers(instance).holding = True

    def interrupt(_: float) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(launched_runs.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        launch_and_wait(instance, [halt("first"), halt("second")], limit=1)
    (run,) = instance.get_runs()
    assert run.status == dg.DagsterRunStatus.CANCELED


def test_a_run_that_somebody_cancels_is_told_and_not_launched_again(
    instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    workers(instance).holding = True

    def cancel(_: float) -> None:
        for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
            instance.report_run_canceled(run)

    monkeypatch.setattr(launched_runs.time, "sleep", cancel)
    (failed,) = launch_and_wait(instance, [halt("unwanted")])
    assert failed.why == "it was cancelled"
    assert len(instance.get_runs()) == 1


def test_without_a_worker_nothing_is_launched(instance: dg.DagsterInstance) -> None:
    workers(instance).workers = 0
    with pytest.raises(StoreUnavailable, match="no worker of the queue `batch` answers"):
        launch_and_wait(instance, [halt("in vain")])
    assert instance.get_runs() == []
    assert launch_and_wait(instance, []) == []


def test_what_a_run_does_names_it_and_not_who_wants_it() -> None:
    same: dict[str, Any] = {"job": JOB, "configs": {OP: {"account": "a"}}}
    assert Launch(**same, tags={"x": "y"}).address() == Launch(**same).address()
    assert Launch(JOB, {OP: {"account": "b"}}).address() != Launch(**same).address()
    assert LAUNCH.startswith("trade_pipeline/")


def test_without_workers_as_many_run_at_once_as_the_queue_would_start() -> None:
    queue = {
        "run_coordinator": {
            "module": "trade_pipeline.defs.queue",
            "class": "TradeRunCoordinator",
            "config": {},
        },
        "concurrency": {
            "runs": {"tag_concurrency_limits": [{"key": KIND, "value": BATCH, "limit": 7}]}
        },
    }
    with instance_for_test(overrides=queue) as instance:
        assert launched_runs._default_limit(instance) == 7
