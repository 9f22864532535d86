"""Work on days that is handed over: what a command does where runs are executed elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import dagster as dg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.defs.instance import dagster_instance, dagster_server
from trade_pipeline.defs.launched_runs import LAUNCH, Launch, LaunchFailed, launch_and_wait
from trade_pipeline.defs.process_group import signals_end_it
from trade_pipeline.defs.trades import DAYS
from trade_pipeline.settings import Settings


def run_days(
    settings: Settings,
    job: str,
    configs: Mapping[str, Mapping[str, Any]],
    days: Sequence[date],
    asset: str,
    advance: Callable[[float], None],
) -> tuple[list[Mapping[str, Any]], list[LaunchFailed]]:
    """Run a job on daily partitions, a run for each day, by the instance's run launcher.

    Args:
        configs: by the name of an asset; no secrets.
        asset: whose metadata are wanted.
        advance: called with how many days are done.

    Returns:
        The metadata of each day that made the asset, in the order of the days (it does so before
        its own check is judged), and the runs that did not.

    Raises:
        BadConfig: a day is no partition.
        StoreUnavailable: no worker answers.
        Told: a signal ended it; what ran was cancelled.
    """
    for day in days:
        if not is_partition(day):
            last = DAYS.get_last_partition_key()
            raise BadConfig(
                f"day={day}: runs have days between {DAYS.get_first_partition_key()} and {last}"
            )
    launches = [Launch(job, configs, (day, day)) for day in days]
    with (
        dagster_server(settings) as server,
        dagster_instance(settings, server) as instance,
        signals_end_it(),
    ):
        failed = launch_and_wait(instance, launches, advance=advance)
        ended_badly = {one.launch.address(): one.run_id for one in failed}
        made = {}
        for one in launches:
            run_id = ended_badly.get(one.address()) or _newest(instance, one)
            made[one.address()] = None if run_id is None else _made(instance, run_id, asset)
    return (
        [found for found in made.values() if found is not None],
        [one for one in failed if made[one.launch.address()] is None],
    )


def is_partition(day: date) -> bool:
    """Whether a run can be about a day: today is none before it has ended."""
    return DAYS.has_partition_key(day.isoformat())


def _newest(instance: dg.DagsterInstance, launch: Launch) -> str | None:
    """The run that did some work last."""
    runs = instance.get_runs(dg.RunsFilter(tags={LAUNCH: launch.address()}), limit=1)
    return runs[0].run_id if runs else None


def _made(instance: dg.DagsterInstance, run_id: str, asset: str) -> Mapping[str, Any] | None:
    """The metadata that a run gave an asset; None where it did not make it."""
    records = instance.get_records_for_run(
        run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    ).records
    for record in records:
        found = record.asset_materialization
        if found is not None and found.asset_key.to_user_string() == asset:
            return {name: value.value for name, value in found.metadata.items()}
    return None
