"""Many runs at once, through the instance's own run launcher: launch them, wait, tell what failed.

Whoever has work that falls into runs (sessions of an experiment, days of a feature build) gives
them here and waits.  A run whose worker died is launched again: what the jobs store is addressed by
its content, so that a second run of the same work adds nothing.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Protocol, runtime_checkable

import dagster as dg
from dagster._core.definitions.reconstruct import ReconstructableRepository
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.execution.plan.objects import ErrorSource
from dagster._core.launcher import WorkerStatus
from dagster._core.storage.dagster_run import FINISHED_STATUSES

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.defs.instance import RANGE_TAG, failures_of
from trade_pipeline.defs.queue import BATCH, KIND

log = logging.getLogger("trade_pipeline.runs")
# Of what a run does: a run that goes on already is waited for and not launched a second time.
LAUNCH = "trade_pipeline/launch"
ATTEMPTS = 3
# Also of runs with which nobody began: a worker that ends before each of them would never stop.
LAUNCHES = 10
POLL_SECONDS = 0.5
HEALTH_SECONDS = 5.0
_CANCEL_SECONDS = 15.0
_UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


@dataclass(frozen=True, slots=True)
class Launch:
    """A run that somebody wants.

    Attributes:
        job: its name.
        configs: by the name of an asset, a check or an op; no secrets.
        days: first and last one, of a job on daily partitions.
        tags: besides those of the job.
    """

    job: str
    configs: Mapping[str, Mapping[str, Any]]
    days: tuple[date, date] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)

    def address(self) -> str:
        """The same for the same work, whoever wants it."""
        days = None if self.days is None else [day.isoformat() for day in self.days]
        return address_of(canonical_bytes({"job": self.job, "configs": self.configs, "days": days}))


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """A run that did not come to a good end, and why."""

    launch: Launch
    run_id: str
    why: str


@runtime_checkable
class HasSlots(Protocol):
    """A launcher that knows how many runs its workers execute at once; 0: there is no worker."""

    def slots(self) -> int: ...


def launch_and_wait(
    instance: dg.DagsterInstance,
    launches: Sequence[Launch],
    *,
    limit: int | None = None,
    advance: Callable[[float], None] = lambda done: None,
) -> list[LaunchFailed]:
    """Launch runs and wait until all have ended.

    Whatever interrupts it (a signal that raises) cancels the runs that have not ended, before it
    goes on its way.  The instance's launcher must be one that needs no code server
    (`WorkerRunLauncher`, Dagster's for Kubernetes).

    Args:
        limit: how many may be under way at once; unset: what keeps all workers busy, or what the
            queue starts at once where the launcher has no workers.
        advance: called with how many have ended.

    Returns:
        Those that failed, by their own fault or because every worker that began with it was lost.

    Raises:
        StoreUnavailable: no worker answers.
    """
    waiting = deque(_UnderWay(one) for one in launches)
    under_way: dict[str, _UnderWay] = {}
    failed: list[LaunchFailed] = []
    if not waiting:
        return failed
    limit = limit or _default_limit(instance)
    adopted = _already_under_way(instance, launches)
    done = 0
    try:
        while waiting or under_way:
            while waiting and len(under_way) < limit:
                one = waiting.popleft()
                run_id = adopted.pop(one.launch.address(), None) or _launch(instance, one.launch)
                one.looked = time.monotonic()
                under_way[run_id] = one
            time.sleep(POLL_SECONDS)
            _end_lost_runs(instance, under_way)
            for run in _ended(instance, list(under_way)):
                one = under_way.pop(run.run_id)
                why = _failure(instance, run)
                if isinstance(why, _Lost) and one.may_try_again(why):
                    # Before all that has not begun: whoever waits for the last one waits less.
                    waiting.appendleft(one)
                    continue
                done += 1
                if why is not None:
                    failed.append(LaunchFailed(one.launch, run.run_id, str(why)))
            advance(done)
    except BaseException:
        _cancel(instance, list(under_way))
        raise
    return failed


@dataclass(slots=True)
class _UnderWay:
    """A run that was launched, for the how many-th time, and when its worker was last looked at."""

    launch: Launch
    attempts: int = 1
    launches: int = 1
    looked: float = 0.0

    def may_try_again(self, why: _Lost) -> bool:
        self.launches += 1
        self.attempts += why.begun
        return self.attempts <= ATTEMPTS and self.launches <= LAUNCHES


@dataclass(frozen=True, slots=True)
class _Lost:
    """A run that ended by no fault of its own.

    Attributes:
        begun: a worker had begun with it, so that it may be what ended the worker.
    """

    why: str
    begun: bool

    def __str__(self) -> str:
        return f"its worker was lost again and again: {self.why}"


def _default_limit(instance: dg.DagsterInstance) -> int:
    launcher = instance.run_launcher
    if not isinstance(launcher, HasSlots):
        return _queue_limit(instance)
    slots = launcher.slots()
    if slots == 0:
        raise StoreUnavailable(
            "no worker of the queue `batch` answers: start one with `trade-pipeline exec "
            "celery -A trade_pipeline.defs.celery_app worker -Q batch`"
        )
    # While one is executed the next one waits, so that no worker waits for this process.
    return 2 * slots


def _queue_limit(instance: dg.DagsterInstance) -> int:
    """How many runs of the kind `batch` the queue starts at once."""
    queue = instance.get_concurrency_config().run_queue_config
    for limit in queue.tag_concurrency_limits if queue else ():
        if (limit["key"], limit.get("value")) == (KIND, BATCH):
            return max(1, int(limit["limit"]))
    return os.cpu_count() or 1


def _already_under_way(instance: dg.DagsterInstance, launches: Sequence[Launch]) -> dict[str, str]:
    """Runs by what they do, which a command that was killed has left."""
    wanted = {one.address() for one in launches}
    found = instance.get_runs(dg.RunsFilter(statuses=_UNDER_WAY[:3], tags={LAUNCH: sorted(wanted)}))
    return {run.tags[LAUNCH]: run.run_id for run in found}


def _launch(instance: dg.DagsterInstance, launch: Launch) -> str:
    from trade_pipeline.definitions import defs

    job = defs.resolve_job_def(launch.job)
    code = ReconstructableRepository.for_module(
        "trade_pipeline.definitions",
        "defs",
        container_image=os.environ.get("DAGSTER_CURRENT_IMAGE"),
    ).get_reconstructable_job(launch.job)
    days = {
        f"{RANGE_TAG}{end}": day.isoformat()
        for end, day in zip(("start", "end"), launch.days or (), strict=False)
    }
    run = instance.create_run_for_job(
        job,
        run_config={"ops": {name: {"config": dict(one)} for name, one in launch.configs.items()}},
        tags={**job.run_tags, **launch.tags, **days, LAUNCH: launch.address()},
        job_code_origin=code.get_python_origin(),
    )
    # Not through the queue: it counts what was asked for in the UI, and needs a daemon.
    instance.launch_run(run.run_id, None)  # type: ignore[arg-type]
    return run.run_id


def _ended(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> list[dg.DagsterRun]:
    if not run_ids:
        return []
    # The database tells which; reading what goes on still would cost as much at every look.
    return list(instance.get_runs(dg.RunsFilter(run_ids=run_ids, statuses=FINISHED_STATUSES)))


def _end_lost_runs(instance: dg.DagsterInstance, under_way: Mapping[str, _UnderWay]) -> None:
    """Report runs as failed whose worker is gone; the daemon does so as well where there is one."""
    launcher = instance.run_launcher
    now = time.monotonic()
    due = [run_id for run_id, one in under_way.items() if now - one.looked >= HEALTH_SECONDS]
    if not due or not launcher.supports_check_run_worker_health:
        return
    for run in instance.get_runs(dg.RunsFilter(run_ids=due)):
        under_way[run.run_id].looked = now
        if run.is_finished:
            continue
        health = launcher.check_run_worker_health(run)
        if health.status in (WorkerStatus.FAILED, WorkerStatus.NOT_FOUND):
            again = instance.get_run_by_id(run.run_id)
            # It may have ended while its worker was asked.
            if again is not None and not again.is_finished:
                instance.report_run_failed(again, f"Its worker is gone: {health.msg}.")


def _failure(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | _Lost | None:
    """Why a run that ended did not succeed."""
    if run.is_success:
        return None
    if run.status == dg.DagsterRunStatus.CANCELED:
        return "it was cancelled"
    kinds = dg.DagsterEventType
    events = [
        entry.dagster_event
        for entry in instance.all_logs(
            run.run_id,
            of_type={
                kinds.RUN_START, kinds.STEP_FAILURE, kinds.ASSET_CHECK_EVALUATION,
                kinds.RUN_FAILURE,
            },
        )
        if entry.dagster_event is not None
    ]  # fmt: skip
    interrupted = [
        event
        for event in events
        if event.is_step_failure and event.step_failure_data.error_source == ErrorSource.INTERRUPT
    ]
    own = failures_of(event for event in events if event not in interrupted)
    if own:
        return "; ".join(own)
    ends = [event for event in events if event.event_type == kinds.RUN_FAILURE]
    data = ends[-1].event_specific_data if ends else None
    reason = data.failure_reason if isinstance(data, JobFailureData) else None
    why = (ends[-1].message if ends else None) or "nothing was told"
    if reason == RunFailureReason.JOB_INITIALIZATION_FAILURE:
        return why
    begun = any(event.event_type == kinds.RUN_START for event in events)
    return _Lost("it was interrupted" if interrupted else why, begun)


def _cancel(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Cancel what has not ended, and wait a while for it: a run tells of its end itself."""
    for run_id in run_ids:
        try:
            instance.run_launcher.terminate(run_id)
        except StoreUnavailable as error:
            # The others may still be told; this one is reported below.
            log.warning("run %s is not told to end: %s", run_id, error)
    end = time.monotonic() + _CANCEL_SECONDS
    left = set(run_ids)
    while left and time.monotonic() < end:
        left -= {run.run_id for run in _ended(instance, list(left))}
        time.sleep(0.2)
    for run_id in left:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            instance.report_run_canceled(run)
