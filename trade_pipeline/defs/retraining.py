"""When models are trained without being asked: both ways are off until a user turns them on."""

import dagster as dg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.training.retraining import retraining_need
from trade_pipeline.defs.jobs import retraining_job
from trade_pipeline.defs.resources import TradeStore

retraining_schedule = dg.ScheduleDefinition(
    name="retraining_schedule",
    job=retraining_job,
    cron_schedule="0 3 * * 1",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="A new dataset, its guards, a new model and its gates, on Mondays at 03:00 UTC.",
)


@dg.sensor(
    job=retraining_job,
    minimum_interval_seconds=600,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="The same when 1,000 outcomes are new since the last dataset, or when the features "
    "of new decisions have moved away from those that were learned from.",
)
def retraining_sensor(
    context: dg.SensorEvaluationContext, store: TradeStore
) -> dg.RunRequest | dg.SkipReason:
    """Ask for a training where there is a reason, once a dataset."""
    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        try:
            need = retraining_need(connection)
        except BadConfig as error:
            return dg.SkipReason(str(error))
    if need.reason is None:
        return dg.SkipReason(
            f"{need.new_outcomes} outcomes since the dataset, {len(need.moved)} of "
            f"{need.features} features moved"
        )
    return dg.RunRequest(run_key=need.dataset, tags={"retraining_reason": need.reason[:200]})
