"""Work that a command hands to whoever executes runs elsewhere: a broker's workers, a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import typer

from trade_pipeline.cli.console import batch_progress, err

if TYPE_CHECKING:
    from trade_pipeline.settings import Settings

INTERRUPTED = 130
_HERE = "DefaultRunLauncher"


def runs_elsewhere(settings: Settings) -> bool:
    """Whether runs are executed elsewhere, and not by processes of this machine.

    Raises:
        BadConfig: see `trade_pipeline.defs.instance.dagster_yaml`.
    """
    if settings.broker_url is None and settings.dagster_yaml is None:
        return False
    from trade_pipeline.defs.instance import dagster_yaml

    launcher = dagster_yaml(settings).get("run_launcher") or {}
    return bool(launcher.get("class", _HERE) != _HERE)


def run_days(
    settings: Settings,
    job: str,
    asset: str,
    config: Mapping[str, Any],
    days: Sequence[date],
    what: str,
) -> tuple[list[Mapping[str, Any]], list[dict[str, str]]]:
    """Run a job's asset on days, a run for each, with a progress bar; a signal ends the command.

    Args:
        config: of the asset; no secrets.
        what: the days, in words.

    Returns:
        The metadata of each day that made the asset, and a row (job, day, run, why) for each run
        that did not.

    Raises:
        BadConfig: a day is no partition.
        StoreUnavailable: no worker answers.
    """
    from trade_pipeline.defs import daily_runs
    from trade_pipeline.defs.process_group import Told

    try:
        with batch_progress(len(days), what) as advance:
            made, failed = daily_runs.run_days(settings, job, {asset: config}, days, asset, advance)
    except Told:
        err.print("Stopped: what was not done was cancelled. To go on, give the command again.")
        raise typer.Exit(INTERRUPTED) from None
    rows = [
        {
            "job": job,
            "day": "" if one.launch.days is None else one.launch.days[0].isoformat(),
            "run": one.run_id,
            "why": one.why,
        }
        for one in failed
    ]
    return made, rows
