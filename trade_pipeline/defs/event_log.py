"""Keeps Dagster's own storage small: runs that nothing refers to any more go, with their events.

`retention` in dagster.yaml removes ticks alone.  What stays is what the UI and automation read:
unfinished runs, and those that hold the newest materialisation of an asset or of one of its
partitions, the newest evaluation of a check, or a sensor's newest run.  The records of trades name
the runs that made them, and lose nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import dagster as dg
from dagster._core.storage.tags import SENSOR_NAME_TAG

_ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class RunPurge:
    """What was removed, or would have been.

    Attributes:
        removed: runs by their job.
        needed: how many runs of that age stay because something refers to them.
        oldest: when the oldest one that goes was made; None: none goes.
    """

    removed: Mapping[str, int]
    needed: int
    oldest: datetime | None
    dry_run: bool

    @property
    def runs(self) -> int:
        """How many runs go."""
        return sum(self.removed.values())


@dataclass(frozen=True, slots=True)
class _OldRun:
    run_id: str
    job: str
    sensor: str | None
    made_at: datetime


def known_checks() -> list[dg.AssetCheckKey]:
    """Every check of the product."""
    from trade_pipeline.definitions import defs

    return list(defs.resolve_asset_graph().asset_check_keys)


def purge_runs(
    instance: dg.DagsterInstance,
    checks: Sequence[dg.AssetCheckKey],
    before: datetime,
    *,
    dry_run: bool = False,
) -> RunPurge:
    """Remove the runs that ended, were made before a moment, and are not needed.

    Args:
        checks: every check that there is.
    """
    needed = _needed(instance, checks)
    removed: Counter[str] = Counter()
    kept, oldest = 0, None
    # All of them first: a page begins after a run of the page before, which must be there.
    for run in list(_old(instance, before)):
        if run.run_id in needed or _is_newest_of_sensor(instance, run):
            kept += 1
            continue
        oldest = run.made_at
        removed[run.job] += 1
        if not dry_run:
            _remove(instance, run.run_id)
    return RunPurge(dict(sorted(removed.items())), kept, oldest, dry_run)


def _old(instance: dg.DagsterInstance, before: datetime) -> Iterator[_OldRun]:
    """Ended runs that were made before a moment, the newest first."""
    wanted = dg.RunsFilter(statuses=_ENDED, created_before=before)
    cursor: str | None = None
    while page := instance.get_run_records(wanted, limit=_PAGE, cursor=cursor):
        for record in page:
            run = record.dagster_run
            yield _OldRun(
                run.run_id, run.job_name, run.tags.get(SENSOR_NAME_TAG), record.create_timestamp
            )
        cursor = page[-1].dagster_run.run_id


def _needed(instance: dg.DagsterInstance, checks: Sequence[dg.AssetCheckKey]) -> set[str]:
    """Runs that hold what is newest."""
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key(list(checks))
    found = {record.run_id for record in newest.values()}
    for key in instance.get_asset_keys():
        event = instance.get_latest_materialization_event(key)
        if event is not None:
            found.add(event.run_id)
        by_partition = instance.get_latest_storage_id_by_partition(
            key, dg.DagsterEventType.ASSET_MATERIALIZATION
        )
        ids = sorted(by_partition.values())
        for first in range(0, len(ids), _PAGE):
            some = ids[first : first + _PAGE]
            result = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=key, storage_ids=some), limit=len(some)
            )
            found.update(record.run_id for record in result.records)
    return found


def _is_newest_of_sensor(instance: dg.DagsterInstance, run: _OldRun) -> bool:
    """Whether it keeps a sensor from asking for the same run again."""
    if run.sensor is None:
        return False
    newest = instance.get_runs(dg.RunsFilter(tags={SENSOR_NAME_TAG: run.sensor}), limit=1)
    return [one.run_id for one in newest] == [run.run_id]


def _remove(instance: dg.DagsterInstance, run_id: str) -> None:
    """The run goes last: one whose removal was stopped is found again."""
    instance.compute_log_manager.delete_logs(prefix=[run_id])
    instance.event_log_storage.delete_events(run_id)
    instance.delete_run(run_id)
