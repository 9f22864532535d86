"""Stored sessions, computed again: a partition holds the sessions that begin on its day.

A session cannot be computed again from its middle: what it held, its equity and its protections
follow from its beginning.
"""

from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.defs.facts import facts_metadata
from trade_pipeline.defs.markdown import records_table
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import DAYS, DAYS_APART, KINDS, OWNERS

CHECK = "decides_the_same_again"
FACTS = "replay"


class ReplayConfig(dg.Config):
    """Where the recorded markets are."""

    data: list[str] = Field(
        [], description="Folders of recordings; simulated markets come from their seeds."
    )
    mentions: str | None = Field(None, description="Folder with hourly mention counts.")
    session: str | None = Field(
        None, description="Only this session; unset: each that begins on the picked days."
    )


@dg.asset(
    group_name="outcome",
    deps=["trade_candidates", "trade_executions", "trade_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "report"},
    code_version="1",
    partitions_def=DAYS,
    backfill_policy=DAYS_APART,
    check_specs=[
        dg.AssetCheckSpec(
            CHECK,
            asset="replayed_records",
            blocking=True,
            description="Every record that can be computed again from stored inputs comes out the "
            "same, bit for bit.",
        )
    ],
)
def replayed_records(
    context: dg.AssetExecutionContext, config: ReplayConfig, store: TradeStore
) -> dg.MaterializeResult:  # type: ignore[type-arg]  # Dagster reads the bare name with checks
    """The sessions that begin on the picked days, computed again; nothing is written."""
    from pathlib import Path

    from trade_pipeline.core.replay import replay_all

    with store.open() as opened:
        found = replay_all(
            opened,
            data=[Path(folder) for folder in config.data],
            mentions=None if config.mentions is None else Path(config.mentions),
            between=context.partition_time_window,
            only=config.session,
        )
    first, totals = found.first, found.totals
    rows: list[dict[str, Any]] = [
        {
            "session": one.session.session_id,
            "mode": one.session.mode,
            "computed from": one.source,
            "trades": one.trades,
            "identical": one.identical,
            "different": one.different,
        }
        for one in found.sessions
    ]
    told = f"{totals['trades']:,} trades, {totals['records']:,} records: no difference"
    if first is not None:
        told = f"{totals['found']:,} differences; the first one: {first.text}"
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": dg.MetadataValue.int(totals["records"]),
            "sessions": dg.MetadataValue.md(records_table(rows)),
            FACTS: facts_metadata(found.facts()),
        },
        check_results=[
            dg.AssetCheckResult(
                check_name=CHECK,
                passed=not found.differs,
                severity=dg.AssetCheckSeverity.ERROR,
                description=told,
            )
        ],
    )


replay_job = dg.define_asset_job(
    "replay_job",
    selection=dg.AssetSelection.assets(replayed_records),
    description="The sessions that begin on the picked days, computed again.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)
