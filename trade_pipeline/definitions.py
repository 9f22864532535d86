"""What Dagster loads.  No logic and no heavy import here: a run starts with loading this."""

import dagster as dg

from trade_pipeline.defs.alerts import alert_sensor
from trade_pipeline.defs.canary import (
    canary_deployment,
    canary_evaluation,
    canary_sensor,
    canary_verdict,
    production_model,
    promotion_job,
)
from trade_pipeline.defs.checks import record_integrity
from trade_pipeline.defs.contracts import (
    dataset_contracts,
    learning_contracts,
    session_contracts,
)
from trade_pipeline.defs.datasets import dataset_guards, training_dataset
from trade_pipeline.defs.dossier import dossier, trade_dossier
from trade_pipeline.defs.experiments import experiment_job, experiment_report
from trade_pipeline.defs.features import rug_risk_model, trade_features
from trade_pipeline.defs.incidents import freshness, incident_sensor
from trade_pipeline.defs.jobs import (
    backtest_job,
    canary_job,
    features_job,
    labelling_job,
    learning_job,
    retraining_job,
    training_job,
)
from trade_pipeline.defs.ledger import ledger_check, ledger_head, ledger_job, ledger_schedule
from trade_pipeline.defs.live import (
    flatten_job,
    halt_job,
    live_job,
    live_session,
    live_session_sensor,
    resume_job,
)
from trade_pipeline.defs.models import (
    candidate_model,
    eligible_model,
    model_evaluation,
    model_gates,
)
from trade_pipeline.defs.monitoring import (
    monitoring_job,
    monitoring_lines,
    monitoring_report,
    monitoring_schedule,
    rollback_job,
    rollback_sensor,
)
from trade_pipeline.defs.outcomes import (
    live_labelling_job,
    live_labelling_schedule,
    live_shadow_outcomes,
    shadow_outcomes,
)
from trade_pipeline.defs.replays import replay_job, replayed_records
from trade_pipeline.defs.report import (
    parts_sum_to_results,
    performance_attribution,
    performance_report,
)
from trade_pipeline.defs.resources import TradeStore, no_progress
from trade_pipeline.defs.retention import (
    archive_job,
    archive_schedule,
    retention_job,
    retention_schedule,
    run_purge_job,
    run_purge_schedule,
)
from trade_pipeline.defs.retraining import retraining_schedule, retraining_sensor
from trade_pipeline.defs.trades import backtest_session, market_events

defs = dg.Definitions(
    assets=[
        market_events,
        backtest_session,
        performance_report,
        dossier,
        performance_attribution,
        experiment_report,
        replayed_records,
        shadow_outcomes,
        rug_risk_model,
        trade_features,
        training_dataset,
        candidate_model,
        model_evaluation,
        eligible_model,
        canary_deployment,
        canary_evaluation,
        ledger_head,
        production_model,
        monitoring_report,
        live_session,
        live_shadow_outcomes,
    ],
    asset_checks=[
        record_integrity,
        session_contracts,
        learning_contracts,
        dataset_contracts,
        dataset_guards,
        model_gates,
        canary_verdict,
        ledger_check,
        monitoring_lines,
        parts_sum_to_results,
        freshness,
    ],
    jobs=[
        backtest_job,
        experiment_job,
        labelling_job,
        features_job,
        learning_job,
        replay_job,
        training_job,
        retraining_job,
        canary_job,
        promotion_job,
        ledger_job,
        monitoring_job,
        rollback_job,
        live_job,
        live_labelling_job,
        halt_job,
        flatten_job,
        resume_job,
        retention_job,
        archive_job,
        run_purge_job,
        trade_dossier,
    ],
    schedules=[
        retraining_schedule,
        monitoring_schedule,
        live_labelling_schedule,
        retention_schedule,
        archive_schedule,
        run_purge_schedule,
        ledger_schedule,
    ],
    sensors=[
        retraining_sensor,
        canary_sensor,
        rollback_sensor,
        live_session_sensor,
        incident_sensor,
        alert_sensor,
    ],
    resources={"store": TradeStore(), "progress": no_progress},
    executor=dg.in_process_executor,
)
