"""Runs as tasks of Celery's workers, with an eye on whether their worker is still there."""

from __future__ import annotations

import time
import warnings
from typing import Any

import dagster as dg
from dagster._core.launcher import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster_celery.launcher import CeleryRunLauncher
from dagster_celery.tags import DAGSTER_CELERY_QUEUE_TAG, DAGSTER_CELERY_TASK_ID_TAG
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.defs.celery_settings import celery_of
from trade_pipeline.defs.queue import BATCH

# A worker that does not answer may be busy, or its network away for a while.
MISSING_SECONDS = 60.0
ANSWER_SECONDS = 1.0
_QUESTIONS = 3
# What a broker that is away raises, through kombu and through the store of results.
_AWAY = (OperationalError, RedisError, OSError)


class WorkerRunLauncher(CeleryRunLauncher):
    """dagster-celery's launcher, for runs whose worker may die.

    A task stays "started" for good in Celery's eyes when its worker was killed: there the workers
    themselves are asked.
    """

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        assert self.broker is not None
        self.celery = celery_of(self.broker)
        self._missed: dict[str, float] = {}
        # Dagster's class makes its task anew for each run.
        warnings.filterwarnings("ignore", message="Task name 'execute_job' is already registered")

    def slots(self, queue: str = BATCH) -> int:
        """How many runs the workers of a queue execute at once; 0: no worker answers."""
        inspect = self.celery.control.inspect
        # On a busy machine the first answer may be late.
        for _ in range(_QUESTIONS):
            queues = inspect(timeout=ANSWER_SECONDS).active_queues() or {}
            consumers = [
                worker
                for worker, consumed in queues.items()
                if any(one["name"] == queue for one in consumed)
            ]
            if not consumers:
                continue
            # Who answers is known now, so that nobody waits for more.
            stats = inspect(consumers, timeout=ANSWER_SECONDS, limit=len(consumers)).stats()
            if stats:
                return sum(int(told["pool"]["max-concurrency"]) for told in stats.values())
        return 0

    def launch_run(self, context: LaunchRunContext) -> None:
        """Give a run to the workers of its queue.

        Raises:
            StoreUnavailable: the broker does not answer.
        """
        try:
            super().launch_run(context)
        except _AWAY as error:
            raise StoreUnavailable(f"broker_url=(hidden): {error}") from None

    def terminate(self, run_id: str) -> bool:
        """End a run: its process is interrupted, or its message is not executed any more.

        Raises:
            StoreUnavailable: the broker does not answer.
        """
        run = self._instance.get_run_by_id(run_id)
        if run is None or run.is_finished:
            return False
        started = run.status == dg.DagsterRunStatus.STARTED
        self._instance.report_run_canceling(run)
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is not None:
            try:
                self.celery.control.revoke(task_id, terminate=True)
            except _AWAY as error:
                raise StoreUnavailable(f"broker_url=(hidden): {error}") from None
        if not started:
            self._instance.report_run_canceled(run)
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Whether a worker has the run, or it waits for one.

        Whoever asks reads the run once more before it acts: it may have ended meanwhile.
        """
        task_id = run.tags.get(DAGSTER_CELERY_TASK_ID_TAG)
        if task_id is None:
            return self._missing(run, "it was not given to the broker")
        try:
            return self._ask(run, task_id)
        except _AWAY as error:
            # Without a broker nobody can tell; the run's process does not need one.
            return self._there(run, f"the broker is away: {error}")

    def _ask(self, run: dg.DagsterRun, task_id: str) -> CheckRunHealthResult:
        result = self.celery.AsyncResult(task_id)
        worker = result.info.get("hostname") if isinstance(result.info, dict) else None
        begun = worker is not None or run.status == dg.DagsterRunStatus.STARTED
        if not begun and not result.ready() and self._waiting(run):
            # Asking all workers takes a while, and there may be many that wait.
            return self._there(run, "it waits for a worker")
        known = self.celery.control.inspect(
            destination=None if worker is None else [worker],
            limit=None if worker is None else 1,
            timeout=ANSWER_SECONDS,
        ).query_task(task_id)
        answers = known or {}
        if any(task_id in tasks for tasks in answers.values()):
            return self._there(run)
        if result.ready():
            return self._gone(run, f"its task ended as {result.state}")
        if worker in answers:
            return self._gone(run, f"{worker} was started again")
        if worker is not None:
            return self._missing(run, f"{worker} does not answer")
        return self._missing(run, "neither the broker nor a worker has it")

    def _waiting(self, run: dg.DagsterRun) -> bool:
        """Whether its queue has messages; which ones, no broker tells."""
        queue = run.tags.get(DAGSTER_CELERY_QUEUE_TAG, self.default_queue)
        with self.celery.connection_for_read() as connection:
            declared = self.celery.amqp.queues[queue](connection.default_channel)
            try:
                return bool(declared.queue_declare(passive=True).message_count)
            except connection.channel_errors:
                # Where there is no message, Redis has no queue.
                return False

    def _there(self, run: dg.DagsterRun, why: str | None = None) -> CheckRunHealthResult:
        self._missed.pop(run.run_id, None)
        return CheckRunHealthResult(WorkerStatus.RUNNING, why)

    def _missing(self, run: dg.DagsterRun, why: str) -> CheckRunHealthResult:
        now = time.monotonic()
        if now - self._missed.setdefault(run.run_id, now) < MISSING_SECONDS:
            return CheckRunHealthResult(WorkerStatus.RUNNING, why)
        return self._gone(run, why)

    def _gone(self, run: dg.DagsterRun, why: str) -> CheckRunHealthResult:
        self._missed.pop(run.run_id, None)
        return CheckRunHealthResult(WorkerStatus.FAILED, why)
