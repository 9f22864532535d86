"""Production under watch: what is found of its model, and the rollback where that is broken."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.record import LINES, ROLLS_NOTHING_BACK
from trade_pipeline.core.session.version import learning_version
from trade_pipeline.defs.markdown import markdown_table, records_table
from trade_pipeline.defs.queue import TRADING
from trade_pipeline.defs.report import picture
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import OWNERS

_MEANING = {
    "works": "The model can be loaded and asked.",
    "expectation": "It earns what it expects: the whole confidence sequence is not below it.",
    "calibration": "What it calls 60 % still happens in about 60 of 100.",
    "feature_drift": "The inputs that matter to it are those that it learned from.",
    "prediction_drift": "It says what it said of decisions that it did not learn from.",
    "performance_estimate": "Told without labels, what it enters earns no less than the average.",
    "missing_features": "It gets the inputs that it learned with.",
    "freshness": "Decisions and market still come in; this alone takes no model back.",
}


class MonitoringRunConfig(dg.Config):
    """Whose model is looked at, and whether a breach takes it back."""

    market: str | None = Field(
        None, description="Kind of market; unset: that of the newest production model."
    )
    venue: str = Field("default", description="Venue of the account.")
    account: str = Field("backtest", description="backtest, paper or live.")
    act: bool = Field(True, description="Whether a breach rolls back within this run.")
    monitoring: dict[str, Any] = Field(
        {}, description="Fields of MonitoringConfig, such as {tolerance: 0.01}; only stricter."
    )


class ReportConfig(dg.Config):
    """On which report a rollback rests."""

    report: str = Field(description="Id of a stored monitoring report.")


@dg.asset(
    group_name="promotion",
    deps=["production_model", "shadow_outcomes", "trade_outcomes"],
    owners=OWNERS,
    kinds={"python", "postgres"},
    tags={"layer": "promotion"},
    code_version=learning_version(),
    metadata={"dagster/table_name": "trade.monitoring_reports"},
)
def monitoring_report(
    context: dg.AssetExecutionContext, config: MonitoringRunConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """A look at the production model, stored; a breach takes it back at once."""
    from trade_pipeline.core.canary.deployments import history, productions
    from trade_pipeline.core.errors import BadConfig
    from trade_pipeline.core.monitoring.production import clock_of, monitor_production
    from trade_pipeline.core.monitoring.reports import is_acted_on
    from trade_pipeline.core.report.canary_pictures import history_png
    from trade_pipeline.core.report.monitoring_pictures import (
        drift_png,
        expectation_png,
        production_calibration_png,
    )

    with store.open() as opened:
        market = config.market
        if market is None:
            with opened.database.connect("trade_reader") as connection:
                everywhere = productions(connection)
            if not everywhere:
                raise BadConfig("no model is in production anywhere: the heuristic decides")
            market = everywhere[-1][0].market
        scope = Scope(market, config.venue, config.account)
        report = monitor_production(
            opened, scope, clock_of(scope, datetime.now(UTC)),
            MonitoringConfig.parse(config.monitoring), act=config.act,
            by=f"dagster run {context.run.run_id}",
        )  # fmt: skip
        with opened.database.connect("trade_reader") as connection:
            rolled_back = is_acted_on(connection, report)
            events = history(connection, scope)
    lines = [{name: one[name] for name in ("name", "passed", "reason")} for one in report.lines]
    return dg.MaterializeResult(
        data_version=dg.DataVersion(report.report_id),
        metadata={
            "report": dg.MetadataValue.text(report.report_id),
            "model": dg.MetadataValue.text(report.model),
            "scope": dg.MetadataValue.text(str(scope)),
            "broken": dg.MetadataValue.bool(report.broken),
            "rolled_back": dg.MetadataValue.bool(rolled_back),
            "lines": dg.MetadataValue.md(records_table(lines)),
            "drift": dg.MetadataValue.md(records_table(report.drift)),
            "drift_picture": picture("drift", drift_png(report.drift)),
            "expectation": picture("expectation", expectation_png(report.sequence)),
            "calibration": picture("calibration", production_calibration_png(report.calibration)),
            "timeline": picture("deployments", history_png(events)),
        },
    )


@dg.multi_asset_check(
    name="monitoring_lines",
    specs=[
        dg.AssetCheckSpec(
            name, asset="monitoring_report", blocking=True, description=_MEANING[name]
        )
        for name in LINES
    ],
)
def monitoring_lines(
    context: dg.AssetCheckExecutionContext, store: TradeStore
) -> Iterator[dg.AssetCheckResult]:
    """What this run's report says (on its own: the newest one), line by line."""
    from trade_pipeline.core.monitoring.reports import newest_report, read_report

    made = _report_of_run(context)
    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        report = newest_report(connection) if made is None else read_report(connection, made)
    for line in report.lines:
        yield dg.AssetCheckResult(
            check_name=line["name"],
            asset_key="monitoring_report",
            passed=line["passed"],
            severity=dg.AssetCheckSeverity.WARN
            if line["name"] in ROLLS_NOTHING_BACK
            else dg.AssetCheckSeverity.ERROR,
            description=line["reason"] or _MEANING[line["name"]],
            metadata={
                "report": report.report_id,
                "numbers": dg.MetadataValue.md(
                    markdown_table(["number", "value"], line["numbers"].items())
                ),
            },
        )


def _report_of_run(context: dg.AssetCheckExecutionContext) -> str | None:
    """The report that this run stored; another run may have stored one of another scope since."""
    events = context.instance.all_logs(
        context.run.run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION
    )
    for event in reversed(events):
        made = event.asset_materialization
        if made is not None and made.asset_key == dg.AssetKey("monitoring_report"):
            return str(made.metadata["report"].value)
    return None


monitoring_job = dg.define_asset_job(
    "monitoring_job",
    selection=dg.AssetSelection.assets(monitoring_report),
    description="A look at a production model, and its rollback where something is broken.",
    tags={"dagster/max_retries": "0"},
    executor_def=dg.in_process_executor,
)


@dg.schedule(
    job=monitoring_job,
    cron_schedule="0 * * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Looks at every production model, each hour.",
)
def monitoring_schedule(
    context: dg.ScheduleEvaluationContext, store: TradeStore
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """A look per production model."""
    from trade_pipeline.core.canary.deployments import productions

    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        everywhere = productions(connection)
    if not everywhere:
        yield dg.SkipReason("no model is in production: the heuristic decides")
    for scope, active in everywhere:
        yield dg.RunRequest(
            run_key=f"{active.deployment_id}@{context.scheduled_execution_time.isoformat()}",
            run_config={"ops": {"monitoring_report": {"config": asdict(scope)}}},
        )


@dg.op
def roll_back(context: dg.OpExecutionContext, config: ReportConfig, store: TradeStore) -> None:
    """Take back what a stored report found broken; each report is acted on once."""
    from trade_pipeline.core.monitoring.reports import act_on, read_report

    with store.open() as opened, opened.database.connect() as connection:
        report = read_report(connection, config.report)
        act_on(connection, report, by=f"dagster run {context.run.run_id}")
        connection.commit()
    context.log.info("%s is taken back: %s", report.model, report.reason)


@dg.job(
    executor_def=dg.in_process_executor,
    tags=TRADING,
    description="Takes back the production model that a stored report found broken.",
)
def rollback_job() -> None:
    """The rollback alone, with its report as evidence."""
    roll_back()


@dg.sensor(
    job=rollback_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Takes back production models whose newest report failed and was not acted on.",
)
def rollback_sensor(
    context: dg.SensorEvaluationContext, store: TradeStore
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One rollback per report; the database keeps it at that."""
    from trade_pipeline.core.monitoring.reports import breaches

    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        found = breaches(connection)
    if not found:
        yield dg.SkipReason("no report on a production model asks for a rollback")
    for report in found:
        yield dg.RunRequest(
            run_key=report.report_id,
            run_config={"ops": {"roll_back": {"config": {"report": report.report_id}}}},
            tags={"monitoring_reason": report.reason[:200]},
        )
