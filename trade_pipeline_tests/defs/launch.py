"""Runs of some of the product's assets, and what they say when they fail."""

from __future__ import annotations

import dagster as dg

from trade_pipeline.definitions import defs

QUIET = {"console": {"config": {"log_level": "CRITICAL"}}}


def materialise(instance: dg.DagsterInstance, *names: str) -> dg.ExecuteInProcessResult:
    """Only these assets, without any check."""
    selection = dg.AssetSelection.assets(*names).without_checks()
    job = dg.define_asset_job("only_these", selection, executor_def=dg.in_process_executor)
    assets = dg.Definitions(
        assets=defs.assets, asset_checks=defs.asset_checks, jobs=[job], resources=defs.resources
    )
    return assets.resolve_job_def("only_these").execute_in_process(
        instance=instance, run_config={"loggers": QUIET}, raise_on_error=False
    )


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    return " ".join(
        str(event.step_failure_data.user_failure_data or event.step_failure_data.error)
        for event in result.all_events
        if event.is_step_failure
    )
