"""Commands that remove what was kept for its time: raw artifacts, and Dagster's old runs."""

from __future__ import annotations

import getpass
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from trade_pipeline.cli.console import print_json, print_table, rows_progress
from trade_pipeline.cli.inputs import Json, read_settings

app = typer.Typer(
    help="Remove raw artifacts and Dagster's runs whose time is over; records stay for ever.",
    no_args_is_help=True,
)


@app.callback()
def retention() -> None:
    """Remove raw artifacts and Dagster's runs whose time is over; records stay for ever."""


@app.command()
def artifacts(
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove the bytes of raw answers that were kept for their year.

    Their addresses stay, each with a tombstone in the ledger.  What a session, a model, a dataset
    or a name refers to stays whole.  Run it again after it was stopped: it completes what it began.
    """
    from trade_pipeline.core.clock import SystemClock
    from trade_pipeline.core.retention.artifacts import remove_expired
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, rows_progress("removing") as progress:
        done = remove_expired(
            store.database, store.artifacts, SystemClock(),
            by=getpass.getuser(), dry_run=dry_run, progress=progress,
        )  # fmt: skip
    if as_json:
        print_json(asdict(done))
        return
    print_table(
        "raw artifacts whose time was over",
        [
            {
                "would be removed" if dry_run else "removed": done.expired,
                "megabytes": round(done.bytes / 1e6, 3),
                "kept because something refers to them": len(done.needed),
                "completed from a run before": done.finished,
            }
        ],
    )
    for address in done.needed:
        print(f"kept: {address}")


@app.command()
def erase(
    address: Annotated[str, typer.Argument(help="Of the artifact, sha256:…")],
    reason: Annotated[str, typer.Option(help="Why it must go; it is stored.")],
    as_json: Json = False,
) -> None:
    """Remove one raw artifact before its time, such as an answer with personal data in it."""
    from trade_pipeline.core.clock import SystemClock
    from trade_pipeline.core.retention.artifacts import erase as erase_artifact
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store:
        stone = erase_artifact(
            store.database, store.artifacts, SystemClock(), address,
            reason=reason, by=getpass.getuser(),
        )  # fmt: skip
    if as_json:
        print_json(asdict(stone))
    else:
        print(f"{address} ({stone.size_bytes} bytes) is gone; its address and the reason stay")


@app.command()
def runs(
    older_than_days: Annotated[
        int | None,
        typer.Option(min=1, help="Runs that were made longer ago go; unset: as the schedule."),
    ] = None,
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be removed.")] = False,
    as_json: Json = False,
) -> None:
    """Remove Dagster's old runs with their events and logs.

    Unfinished runs stay, and those that hold what is newest of an asset, a partition, a check or a
    sensor.  What the runs recorded stays, too.
    """
    from trade_pipeline.defs.event_log import known_checks, purge_runs
    from trade_pipeline.defs.instance import dagster_instance, dagster_server
    from trade_pipeline.defs.retention import PurgeConfig

    settings = read_settings()
    days = older_than_days or PurgeConfig().older_than_days
    before = datetime.now(UTC) - timedelta(days=days)
    with dagster_server(settings) as server, dagster_instance(settings, server) as instance:
        done = purge_runs(instance, known_checks(), before, dry_run=dry_run)
    if as_json:
        print_json(asdict(done) | {"runs": done.runs, "made_before": before.isoformat()})
        return
    what = "would be removed" if dry_run else "removed"
    rows = [{"job": job, what: number} for job, number in done.removed.items()]
    print_table(
        f"Dagster's runs made before {before:%Y-%m-%d}",
        [*rows, {"job": "all", what: done.runs}, {"job": "needed, stay", what: done.needed}],
    )
