"""The jobs: a session with its checks and its report; what is learned from sessions."""

from __future__ import annotations

import dagster as dg

from trade_pipeline.defs.canary import canary_deployment
from trade_pipeline.defs.datasets import training_dataset
from trade_pipeline.defs.features import RECOMPUTED, trade_features
from trade_pipeline.defs.models import candidate_model, eligible_model, model_evaluation
from trade_pipeline.defs.outcomes import shadow_outcomes
from trade_pipeline.defs.queue import VERDICT
from trade_pipeline.defs.report import performance_attribution, performance_report
from trade_pipeline.defs.trades import backtest_session

# With the checks of the selected assets.
backtest_job = dg.define_asset_job(
    "backtest_job",
    selection=dg.AssetSelection.assets(
        backtest_session, performance_report, performance_attribution
    ),
    description="A session over the picked days, its checks, its report and attribution.",
    # A replay finds what is stored; a failure is shown and not tried again.
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)

# Contracts are of whole tables: learning_job judges them, not each of its days.
labelling_job = dg.define_asset_job(
    "labelling_job",
    selection=dg.AssetSelection.assets(shadow_outcomes).without_checks(),
    description="Labels of the picked days' decisions, as far as the market has gone on.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)

features_job = dg.define_asset_job(
    "features_job",
    selection=dg.AssetSelection.assets(trade_features).without_checks()
    | dg.AssetSelection.checks(dg.AssetCheckKey(dg.AssetKey("trade_features"), RECOMPUTED)),
    description="The feature table of the picked days' decisions.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)

learning_job = dg.define_asset_job(
    "learning_job",
    selection=dg.AssetSelection.assets(shadow_outcomes, trade_features, training_dataset),
    description="Labels and feature table of the picked days' sessions, a dataset, its guards.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)

training_job = dg.define_asset_job(
    "training_job",
    selection=dg.AssetSelection.assets(candidate_model, model_evaluation, eligible_model),
    description="A model on the newest dataset, its gates, and its admission if all pass.",
    tags={"dagster/max_retries": "0", VERDICT: "gates"},
    executor_def=dg.in_process_executor,
)

retraining_job = dg.define_asset_job(
    "retraining_job",
    selection=dg.AssetSelection.assets(
        training_dataset, candidate_model, model_evaluation, eligible_model
    ),
    description="A new dataset and its guards, then what training_job does.",
    tags={"dagster/max_retries": "0", VERDICT: "gates"},
    executor_def=dg.in_process_executor,
)

canary_job = dg.define_asset_job(
    "canary_job",
    selection=dg.AssetSelection.assets(canary_deployment),
    description="The last eligible model becomes the canary of its market.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)
