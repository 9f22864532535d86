"""Days of work that a command hands to whoever executes runs elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import typer

from trade_pipeline.cli.console import batch_progress, err

if TYPE_CHECKING:
    from trade_pipeline.settings import Settings

INTERRUPTED = 130


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
