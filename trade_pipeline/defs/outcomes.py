"""Shadow outcomes: what would have come of every candidate, entered or not."""

from dataclasses import asdict
from typing import Any

import dagster as dg

from trade_pipeline.core.ids import micros
from trade_pipeline.core.outcome.shadow import LabelRun, label_session
from trade_pipeline.core.records import TradeOutcome
from trade_pipeline.core.session.version import code_version
from trade_pipeline.defs.columns import column_schema
from trade_pipeline.defs.facts import facts_metadata
from trade_pipeline.defs.markdown import records_table
from trade_pipeline.defs.markets import sessions_with_markets
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import DAYS, DAYS_APART, KINDS, OWNERS, SessionsConfig

# The metadata for programs.
LABELS = "labels"


@dg.asset(
    group_name="outcome",
    deps=["market_events", "trade_candidates"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "record"},
    code_version=code_version(),
    partitions_def=DAYS,
    backfill_policy=DAYS_APART,
    automation_condition=dg.AutomationCondition.eager()
    & dg.AutomationCondition.all_deps_blocking_checks_passed(),
    metadata={
        "dagster/table_name": "trade.outcomes",
        "dagster/column_schema": column_schema(TradeOutcome),
    },
)
def shadow_outcomes(
    context: dg.AssetExecutionContext, config: SessionsConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """The labels: the strategy's own exits on executable prices, for every candidate of the days.

    A label exists from when its trade has ended; materialise again when the market has gone on.
    """
    start, end = context.partition_time_window
    between = micros(start), micros(end)
    with store.open() as opened:
        runs = [
            label_session(
                opened.database, opened.artifacts, feed, session.session_id, between=between
            )
            for session, feed in sessions_with_markets(opened, config, start, end)
        ]
    return _made(runs)


@dg.asset(
    group_name="outcome",
    deps=["live_session"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "record"},
    code_version=code_version(),
    partitions_def=DAYS,
    backfill_policy=DAYS_APART,
    metadata={
        "dagster/table_name": "trade.outcomes",
        "dagster/column_schema": column_schema(TradeOutcome),
    },
)
def live_shadow_outcomes(
    context: dg.AssetExecutionContext, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """The labels of the days' live decisions, on the market that their sessions recorded.

    A label exists from when its trade has ended in what is recorded.
    """
    from trade_pipeline.core.outcome.live import label_live_sessions

    start, end = context.partition_time_window
    with store.open() as opened:
        return _made(label_live_sessions(opened, (start, end)))


live_labelling_job = dg.define_asset_job(
    "live_labelling_job",
    selection=dg.AssetSelection.assets(live_shadow_outcomes),
    description="Labels of live decisions, as far as the market was recorded.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)


@dg.schedule(
    job=live_labelling_job,
    cron_schedule="0 2 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Labels live decisions every night: a run for each day of which some have none.",
)
def live_labelling_schedule(
    context: dg.ScheduleEvaluationContext, store: TradeStore
) -> list[dg.RunRequest] | dg.SkipReason:
    """Ask for a run for each day of which recorded decisions have no label yet."""
    from trade_pipeline.core.outcome.live import unlabelled_days

    now = context.scheduled_execution_time
    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        days = [day.isoformat() for day in unlabelled_days(connection, now)]
    # Today is no partition before it has ended.
    known = set(DAYS.get_partition_keys(current_time=now))
    if due := [day for day in days if day in known]:
        return [dg.RunRequest(run_key=day, partition_key=day) for day in due]
    if days:
        return dg.SkipReason(f"no partition yet, or never: {', '.join(days)}")
    return dg.SkipReason("every recorded decision of the last three weeks has its label")


def _made(runs: list[LabelRun]) -> dg.MaterializeResult[Any]:
    sessions = [
        {
            "session": run.session_id,
            "candidates": run.candidates,
            "labelled": run.labelled,
            "new": run.new,
            "corrected": run.corrected,
            "not_ended": run.unended,
            "not_recorded": run.unrecorded,
            "entry_refused": sum(run.refused.values()),
        }
        for run in runs
    ]
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": dg.MetadataValue.int(sum(run.labelled for run in runs)),
            "new": dg.MetadataValue.int(sum(run.new for run in runs)),
            "corrected": dg.MetadataValue.int(sum(run.corrected for run in runs)),
            "sessions": dg.MetadataValue.md(records_table(sessions)),
            LABELS: facts_metadata([asdict(run) for run in runs]),
        }
    )
