"""The ledger: heads of what is recorded, and whether the history is untouched.

A promotion comes after both: what it rests on is covered by a head, and verified.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import dagster as dg

from trade_pipeline.defs.markdown import records_table
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import OWNERS


@dg.asset(
    group_name="canary",
    deps=["canary_evaluation"],
    owners=OWNERS,
    kinds={"python", "postgres"},
    tags={"layer": "ledger"},
    metadata={"dagster/table_name": "trade.ledger_heads"},
    # Its schedule makes one a day.
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(hours=50), warn_window=timedelta(hours=26)
    ),
)
def ledger_head(store: TradeStore) -> dg.MaterializeResult[Any]:
    """A head over everything that is recorded and not covered yet, and time stamps of past days."""
    from trade_pipeline.core.ledger.heads import write_heads
    from trade_pipeline.core.ledger.stamps import stamp_days

    with store.open() as opened, opened.database.connect(autocommit=True) as connection:
        files = opened.artifacts.heads
        heads = write_heads(connection, files)
        stamped = stamp_days(files, opened.timestamp_url)
    lines = [
        {"head": head.number, "records": head.count, "SHA-256": head.hash.hex()} for head in heads
    ]
    return dg.MaterializeResult(
        metadata={
            "records": sum(head.count for head in heads),
            "heads": dg.MetadataValue.md(records_table(lines) if lines else "nothing was new"),
            "place": dg.MetadataValue.text(files.url),
            "stamped_days": dg.MetadataValue.text(", ".join(stamped) or "none"),
        }
    )


@dg.multi_asset_check(
    name="ledger",
    specs=[
        dg.AssetCheckSpec(
            "ledger_intact",
            asset="ledger_head",
            blocking=True,
            description="Every record is what its hashes, its chain and the heads say.",
        )
    ],
)
def ledger_check(store: TradeStore) -> Iterator[dg.AssetCheckResult]:
    """Verify the whole ledger; nothing is promoted on records that were touched."""
    from trade_pipeline.core.ledger.verify import verify_url

    with store.open() as opened:
        report = verify_url(opened.database.url("trade_reader"), opened.artifacts.heads)
    metadata: dict[str, Any] = {
        "records": report.records,
        "heads": report.heads,
        "last_head_that_holds": dg.MetadataValue.text(str(report.last_holding)),
        "not_yet_anchored": report.unanchored,
        "seconds": report.seconds,
    }
    if report.problems:
        metadata["problems"] = report.problem_count
        metadata["reason"] = dg.MetadataValue.text(str(report.problems[0]))
        lines = [
            {"head": one.head, "table": one.table, "key": one.key, "field": one.field,
             "what": one.what}
            for one in report.problems[:50]
        ]  # fmt: skip
        metadata["bad_rows"] = dg.MetadataValue.md(records_table(lines))
    yield dg.AssetCheckResult(
        check_name="ledger_intact",
        asset_key="ledger_head",
        passed=report.intact,
        severity=dg.AssetCheckSeverity.ERROR,
        description=report.verdict,
        metadata=metadata,
    )


ledger_job = dg.define_asset_job(
    "ledger_job",
    selection=dg.AssetSelection.assets(ledger_head),
    description="A head over what is new, time stamps of past days, and a verification of it all.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)

# Soon after midnight: the day before is closed, and stamped where an authority is set.
ledger_schedule = dg.ScheduleDefinition(
    name="ledger_schedule",
    job=ledger_job,
    cron_schedule="10 0 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
)
