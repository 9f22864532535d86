"""What Dagster loads.  No logic and no heavy import here: a run starts with loading this."""

import dagster as dg

from trade_pipeline.defs.checks import record_integrity
from trade_pipeline.defs.contracts import (
    dataset_contracts,
    learning_contracts,
    session_contracts,
)
from trade_pipeline.defs.datasets import dataset_guards, training_dataset
from trade_pipeline.defs.features import rug_risk_model, trade_features
from trade_pipeline.defs.jobs import backtest_job, learning_job
from trade_pipeline.defs.outcomes import shadow_outcomes
from trade_pipeline.defs.report import performance_report
from trade_pipeline.defs.resources import TradeStore, no_progress
from trade_pipeline.defs.trades import backtest_session, market_events

defs = dg.Definitions(
    assets=[
        market_events,
        backtest_session,
        performance_report,
        shadow_outcomes,
        rug_risk_model,
        trade_features,
        training_dataset,
    ],
    asset_checks=[
        record_integrity,
        session_contracts,
        learning_contracts,
        dataset_contracts,
        dataset_guards,
    ],
    jobs=[backtest_job, learning_job],
    resources={"store": TradeStore(), "progress": no_progress},
    executor=dg.in_process_executor,
)
