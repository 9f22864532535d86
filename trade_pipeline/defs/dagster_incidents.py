"""What is wrong with Dagster's own work: jobs whose newest run failed, ticks, and stale assets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
from dagster._core.scheduler.instigation import TickStatus

from trade_pipeline.defs.queue import VERDICT

RUNS, TICKS, ASSETS = ("job ", "run of "), ("schedule ", "sensor "), ("freshness of ",)
# Its sessions are judged by their lease, see core/freshness.
_JUDGED_ELSEWHERE = ("live_job",)
_WILL_RETRY = "dagster/will_retry"
_ADHOC = "__ASSET_JOB"
_LONGEST = 300
_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]
_SHOWN_ASSETS = 3


def ended_runs(
    instance: dg.DagsterInstance, since: datetime, limit: int = 200
) -> tuple[dict[str, str | None], datetime]:
    """What is wrong by job, from the runs that ended since a moment, and up to when that is known.

    A failed run of a job whose failure is a verdict, such as a gate's, is none that failed.
    """
    found: dict[str, str | None] = {}
    records = instance.get_run_records(
        dg.RunsFilter(statuses=_ENDED, updated_after=since - timedelta(microseconds=1)),
        order_by="update_timestamp",
        ascending=True,
        limit=limit,
    )
    for record in records:
        run = record.dagster_run
        since = max(since, record.update_timestamp.replace(tzinfo=UTC))
        if run.job_name in _JUDGED_ELSEWHERE or run.tags.get(_WILL_RETRY) == "true":
            continue
        failed = run.status == dg.DagsterRunStatus.FAILURE
        found[_subject(run)] = _why(instance, run) if failed else None
    return found, since


def failed_ticks(instance: dg.DagsterInstance) -> dict[str, str | None]:
    """What is wrong with each schedule and sensor, by its newest tick that has ended."""
    found: dict[str, str | None] = {}
    for state in instance.all_instigator_state():
        ticks = instance.get_ticks(
            state.instigator_origin_id,
            state.selector_id,
            limit=1,
            statuses=[TickStatus.SUCCESS, TickStatus.SKIPPED, TickStatus.FAILURE],
        )
        if not ticks or not state.is_running:
            continue
        subject = f"{state.instigator_type.value.lower()} {state.instigator_name}"
        [tick] = ticks
        failed = tick.status == TickStatus.FAILURE
        found[subject] = _line(_cause(tick.error)) if failed else None
    return found


def stale_assets(instance: dg.DagsterInstance) -> Mapping[str, str | None]:
    """What Dagster's daemon says of assets with a freshness policy."""
    from trade_pipeline.definitions import defs

    graph = defs.resolve_asset_graph()
    keys = [key for key in graph.get_all_asset_keys() if graph.get(key).freshness_policy]
    records = instance.get_freshness_state_records(keys)
    return {
        f"{ASSETS[0]}{key.to_user_string()}": (
            "it was not made in the time of its freshness policy"
            if record.freshness_state.value == "FAIL"
            else None
        )
        for key, record in records.items()
    }


def _subject(run: dg.DagsterRun) -> str:
    if run.job_name != _ADHOC:
        return f"job {run.job_name}"
    names = sorted(key.to_user_string() for key in run.asset_selection or ())
    more = f" and {len(names) - _SHOWN_ASSETS} more" if len(names) > _SHOWN_ASSETS else ""
    return f"run of {', '.join(names[:_SHOWN_ASSETS])}{more}"


def _why(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str | None:
    """Why a run failed; None: it said no, which was its job."""
    logs = instance.all_logs(
        run.run_id, {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    )
    events = [entry.dagster_event for entry in logs if entry.dagster_event is not None]
    steps = [event for event in events if event.is_step_failure]
    verdicts = [event.step_failure_data for event in steps]
    if VERDICT in run.tags and verdicts and all(_is_verdict(one) for one in verdicts):
        return None
    told = [
        one.user_failure_data.description
        if one.user_failure_data and one.user_failure_data.description
        else _cause(one.error)
        for one in verdicts
    ] or [event.message or "" for event in events]
    return _line(f"run {run.run_id[:8]} failed: {told[0] if told else ''}")


def _is_verdict(data: Any) -> bool:
    refused = data.error is not None and data.error.cls_name == "DagsterAssetCheckFailedError"
    return data.user_failure_data is not None or refused


def _cause(error: Any) -> str:
    """What went wrong at first: Dagster wraps it."""
    while error is not None and error.cause is not None:
        error = error.cause
    return "" if error is None else str(error.message)


def _line(text: str) -> str:
    """The first line that says something, not too long."""
    line = next((one.strip() for one in text.splitlines() if one.strip()), "it failed; see the UI")
    return line if len(line) <= _LONGEST else line[:_LONGEST] + "…"
