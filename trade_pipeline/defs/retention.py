"""Retention: what goes or moves away when its time is over, every day; each job has a dry run.

Raw artifacts go after their year, months of recorded markets move into the artifact store, and
Dagster's old runs go.  Records, features and models stay for ever.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from trade_pipeline.defs.event_log import known_checks, purge_runs
from trade_pipeline.defs.markdown import records_table
from trade_pipeline.defs.queue import AT_ONCE
from trade_pipeline.defs.resources import TradeStore


class RetentionConfig(dg.Config):
    """Whether anything is removed."""

    dry_run: bool = Field(False, description="Only tell what would be removed.")


@dg.op
def remove_expired_artifacts(
    context: dg.OpExecutionContext, config: RetentionConfig, store: TradeStore
) -> None:
    """Remove the bytes of raw artifacts whose time is over; each leaves a tombstone."""
    from trade_pipeline.core.clock import SystemClock
    from trade_pipeline.core.retention.artifacts import remove_expired

    with store.open() as opened:
        done = remove_expired(
            opened.database, opened.artifacts, SystemClock(),
            by=f"dagster run {context.run.run_id}", dry_run=config.dry_run,
        )  # fmt: skip
    context.add_output_metadata(
        {
            "dry_run": done.dry_run,
            "artifacts": done.expired,
            "bytes": done.bytes,
            "kept_because_needed": dg.MetadataValue.json(list(done.needed)),
            "completed_from_a_run_before": done.finished,
        }
    )


@dg.job(
    executor_def=dg.in_process_executor,
    tags=AT_ONCE,
    description="Removes raw artifacts whose time is over; features and records stay for ever.",
)
def retention_job() -> None:
    """The removal alone."""
    remove_expired_artifacts()


retention_schedule = dg.ScheduleDefinition(
    job=retention_job,
    cron_schedule="30 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Removes raw artifacts whose time is over, every day.",
)


# What is looked at most often is of the last two months.
KEEP_DAYS = 62


class ArchiveConfig(dg.Config):
    """Which months of recorded markets move."""

    keep_days: int = Field(
        KEEP_DAYS,
        ge=0,
        description="A month that was over for so many days moves into the artifacts.",
    )
    dry_run: bool = Field(False, description="Only tell what would be moved.")


@dg.op
def archive_recorded_markets(
    context: dg.OpExecutionContext, config: ArchiveConfig, store: TradeStore
) -> None:
    """Move old months of recorded markets from the database into the artifact store."""
    from dataclasses import asdict

    from trade_pipeline.core.market.archive import archive_series

    before = datetime.now(UTC) - timedelta(days=config.keep_days)
    with store.open() as opened:
        done = archive_series(opened.database, opened.artifacts, before, dry_run=config.dry_run)
    rows = [asdict(one) | {"month": f"{one.month:%Y-%m}"} for one in done]
    context.add_output_metadata(
        {
            "dry_run": config.dry_run,
            "months_over_before": before.isoformat(),
            "rows": sum(one.rows for one in done),
            "months": dg.MetadataValue.md(records_table(rows) if rows else "none is due"),
        }
    )


@dg.job(
    executor_def=dg.in_process_executor,
    tags=AT_ONCE,
    description="Moves old months of recorded markets into the artifact store, where `ingest "
    "export` reads them.",
)
def archive_job() -> None:
    """The move alone."""
    archive_recorded_markets()


@dg.schedule(
    job=archive_job,
    cron_schedule="0 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Moves months of recorded markets that were over for 62 days, where there are any.",
)
def archive_schedule(store: TradeStore) -> dg.RunRequest | dg.SkipReason:
    """Nothing to do where no month is due, as on most days."""
    from trade_pipeline.core.market.archive import due_months

    before = datetime.now(UTC) - timedelta(days=KEEP_DAYS)
    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        months = due_months(connection, before)
    if not months:
        return dg.SkipReason(f"no month of a recorded market was over at {before.isoformat()}")
    return dg.RunRequest()


class PurgeConfig(dg.Config):
    """Which runs go."""

    older_than_days: int = Field(default=30, ge=1, description="Runs that were made longer ago go.")
    dry_run: bool = Field(default=False, description="Only tell what would be removed.")


@dg.op
def purge_old_runs(context: dg.OpExecutionContext, config: PurgeConfig) -> None:
    """Remove Dagster's old runs, with their events and logs, that nothing refers to."""
    before = datetime.now(UTC) - timedelta(days=config.older_than_days)
    done = purge_runs(context.instance, known_checks(), before, dry_run=config.dry_run)
    rows = [{"job": job, "runs": runs} for job, runs in done.removed.items()]
    context.add_output_metadata(
        {
            "dry_run": done.dry_run,
            "made_before": before.isoformat(),
            "runs": done.runs,
            "kept_because_needed": done.needed,
            "oldest": dg.MetadataValue.text(done.oldest.isoformat() if done.oldest else "none"),
            "by_job": dg.MetadataValue.md(records_table(rows) if rows else "none goes"),
        }
    )


@dg.job(
    executor_def=dg.in_process_executor,
    tags=AT_ONCE,
    description="Removes Dagster's old runs with their events and logs; what the UI and automation "
    "need stays.",
)
def run_purge_job() -> None:
    """The removal alone."""
    purge_old_runs()


run_purge_schedule = dg.ScheduleDefinition(
    job=run_purge_job,
    cron_schedule="30 4 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Removes Dagster's runs of more than 30 days ago, every day.",
)
