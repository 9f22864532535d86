"""Retention: raw artifacts go after their year, every day."""

import dagster as dg
from pydantic import Field

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
