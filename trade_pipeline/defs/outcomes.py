"""Shadow outcomes: what would have come of every candidate, entered or not."""

from typing import Any

import dagster as dg

from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.records import TradeOutcome
from trade_pipeline.core.session.version import code_version
from trade_pipeline.defs.columns import column_schema
from trade_pipeline.defs.markdown import records_table
from trade_pipeline.defs.markets import sessions_with_markets
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import DAYS, KINDS, OWNERS, MarketConfig


@dg.asset(
    group_name="outcome",
    deps=["market_events", "trade_candidates"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "record"},
    code_version=code_version(),
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=dg.AutomationCondition.eager()
    & dg.AutomationCondition.all_deps_blocking_checks_passed(),
    metadata={
        "dagster/table_name": "trade.outcomes",
        "dagster/column_schema": column_schema(TradeOutcome),
    },
)
def shadow_outcomes(
    context: dg.AssetExecutionContext, config: MarketConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """The labels: the strategy's own exits on executable prices, for every candidate of the days.

    A label exists from when its trade has ended; materialise again when the market has gone on.
    """
    start, end = context.partition_time_window
    with store.open() as opened:
        runs = [
            label_session(opened.database, opened.artifacts, feed, session.session_id)
            for session, feed in sessions_with_markets(opened, config, start, end)
        ]
    sessions = [
        {
            "session": run.session_id,
            "candidates": run.candidates,
            "labelled": run.labelled,
            "new": run.new,
            "corrected": run.corrected,
            "not_ended": run.unended,
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
        }
    )
