"""The job that runs a session with its checks and its report."""

from __future__ import annotations

import dagster as dg

from trade_pipeline.defs.report import performance_report
from trade_pipeline.defs.trades import backtest_session

# With the checks of the selected assets.
backtest_job = dg.define_asset_job(
    "backtest_job",
    selection=dg.AssetSelection.assets(backtest_session, performance_report),
    description="A session over the picked days, its checks, and its report.",
    # A replay finds what is stored; a failure is shown and not tried again.
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)
