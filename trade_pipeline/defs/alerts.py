"""Tells people what the records say: a sensor, so that trading never waits for a message."""

import dagster as dg

from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.settings import Settings


@dg.sensor(
    minimum_interval_seconds=15,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the channels of TRADE_PIPELINE_ALERT_URLS what happened; starts no run.",
)
def alert_sensor(context: dg.SensorEvaluationContext, store: TradeStore) -> dg.SkipReason:
    """Delivers what waits; a channel that fails is tried again later."""
    from trade_pipeline.core.alerts.channels import channels_of
    from trade_pipeline.core.alerts.deliver import deliver
    from trade_pipeline.core.errors import BadConfig

    try:
        channels = channels_of(Settings().alert_urls)
    except BadConfig as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    if not channels:
        return dg.SkipReason("TRADE_PIPELINE_ALERT_URLS is not set: nobody is told anything")
    with store.open() as opened:
        found = deliver(opened.database, channels, patient=True)
    if found is None:
        return dg.SkipReason("another process tells people now")
    return dg.SkipReason(
        "; ".join(
            f"{one.channel}: {one.became.replace('_', ' ')}"
            + (f", {one.alerts} alerts" if one.alerts else "")
            for one in found
        )
    )
