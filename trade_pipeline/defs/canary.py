"""From an eligible model to production: a canary, looks at it, and what its evidence allows."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.session.version import learning_version
from trade_pipeline.defs.markdown import cell, records_table
from trade_pipeline.defs.queue import VERDICT
from trade_pipeline.defs.report import picture
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import OWNERS

KINDS = {"python", "postgres"}


class ScopeConfig(dg.Config):
    """Where a model decides."""

    market: str | None = Field(None, description="Kind of market; unset: of the newest canary.")
    venue: str = Field("default", description="Venue of the account.")
    account: str = Field("backtest", description="backtest, paper or live.")


class CanaryRunConfig(ScopeConfig):
    """Which model begins as a canary, and where."""

    model: str | None = Field(
        None, description="Version or short name of a model; unset: the last eligible one."
    )
    override: str | None = Field(
        None, description="Your reason to start it although it will hardly show anything."
    )
    canary: dict[str, Any] = Field(
        {}, description="Fields of CanaryConfig, such as {share: 0.25, block_hours: 24}."
    )


@dg.asset(
    group_name="canary",
    deps=["eligible_model"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "canary"},
    code_version=learning_version(),
    metadata={"dagster/table_name": "trade.deployments"},
)
def canary_deployment(
    context: dg.AssetExecutionContext, config: CanaryRunConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """An eligible model beside what is in production, with what it can be expected to show."""
    from trade_pipeline.core.canary.cycle import deploy_canary
    from trade_pipeline.core.canary.deployments import history
    from trade_pipeline.core.training.registry import newest_eligible, read_model

    with store.open() as opened:
        with opened.database.connect("trade_reader") as connection:
            record = read_model(connection, config.model or newest_eligible(connection))
        scope = Scope(config.market or record.market, config.venue, config.account)
        active = deploy_canary(
            opened, record.model_version, scope, by="dagster", reason=f"run {context.run.run_id}",
            override=config.override, config=CanaryConfig.parse(config.canary),
        )  # fmt: skip
        with opened.database.connect("trade_reader") as connection:
            power = history(connection, scope)[-1].deployment.evidence["power"]
    expected = power.pop("expected")
    return dg.MaterializeResult(
        data_version=dg.DataVersion(str(active.deployment_id)),
        metadata={
            "model": dg.MetadataValue.text(record.short_name),
            "scope": dg.MetadataValue.text(str(scope)),
            "power": dg.MetadataValue.md(records_table([power])),
            "within_56_days": dg.MetadataValue.md(records_table(expected)),
        },
    )


@dg.asset(
    group_name="canary",
    deps=["canary_deployment", "shadow_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "canary"},
    code_version=learning_version(),
    metadata={"dagster/table_name": "trade.canary_evaluations"},
)
def canary_evaluation(
    context: dg.AssetExecutionContext, config: ScopeConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """A look at the canary; one that does harm, or is too old, ends here."""
    from trade_pipeline.core.canary.cycle import look_at_canary
    from trade_pipeline.core.report.canary_pictures import books_png, sequence_png

    with store.open() as opened:
        look = look_at_canary(opened, _scope(opened, config), by="dagster", act="protect")
    plain = {k: v for k, v in look.numbers.items() if not isinstance(v, (list, dict))}
    guardrails = [
        {
            "guardrail": one["name"],
            "holds": one["passed"],
            "numbers": ", ".join(f"{k} {cell(v)}" for k, v in one["numbers"].items()),
        }
        for one in look.numbers["guardrails"]
    ]
    return dg.MaterializeResult(
        metadata={
            "model": dg.MetadataValue.text(look.model),
            "decision": dg.MetadataValue.text(look.decision),
            "reasons": dg.MetadataValue.text("; ".join(look.reasons)),
            "numbers": dg.MetadataValue.md(records_table([plain])),
            "guardrails": dg.MetadataValue.md(records_table(guardrails)),
            "secondary": dg.MetadataValue.md(records_table([look.numbers["secondary"]])),
            "sequence": picture("confidence sequence", sequence_png(look.numbers)),
            "side_by_side": picture("shadow books", books_png(look.numbers["books"])),
        },
    )


@dg.multi_asset_check(
    name="canary_verdict",
    specs=[
        dg.AssetCheckSpec(
            "promotes",
            asset="canary_evaluation",
            blocking=True,
            description="The newest evaluation says promote: no harm, and not inferior.",
        )
    ],
)
def canary_verdict(
    context: dg.AssetCheckExecutionContext, store: TradeStore
) -> Iterator[dg.AssetCheckResult]:
    """What the newest evaluation of a canary said."""
    from trade_pipeline.core.canary.deployments import newest_look

    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        look = newest_look(connection)
    yield dg.AssetCheckResult(
        check_name="promotes",
        asset_key="canary_evaluation",
        passed=look.decision == "promote",
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{look.decision}: " + "; ".join(look.reasons),
        metadata={"evaluation": look.evaluation_id},
    )


@dg.asset(
    group_name="canary",
    deps=["canary_evaluation", "ledger_head"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "canary"},
    code_version=learning_version(),
    metadata={"dagster/table_name": "trade.deployments"},
    # Nobody has promoted anything for so long; how old the model itself is, its check `fresh` says.
    freshness_policy=dg.FreshnessPolicy.time_window(
        fail_window=timedelta(days=90), warn_window=timedelta(days=60)
    ),
)
def production_model(
    context: dg.AssetExecutionContext, config: ScopeConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """The canary, promoted: it is looked at again, and whatever else it shows fails this run."""
    from trade_pipeline.core.canary.cycle import look_at_canary
    from trade_pipeline.core.canary.deployments import deployed, history
    from trade_pipeline.core.report.canary_pictures import history_png

    with store.open() as opened:
        scope = _scope(opened, config)
        look = look_at_canary(opened, scope, by="dagster")
        if not look.promoted:
            raise dg.Failure(
                f"{look.model}: {look.decision}: " + "; ".join(look.reasons), allow_retries=False
            )
        with opened.database.connect("trade_reader") as connection:
            production = deployed(connection, scope).production
            events = history(connection, scope)
    assert production is not None
    lines = [
        {"model": event.short_name, **{name: asdict(event.deployment)[name] for name in
         ("stage", "slot", "deployed_at", "deployed_by", "reason")}}
        for event in events
    ]  # fmt: skip
    return dg.MaterializeResult(
        data_version=dg.DataVersion(production.model_version),
        metadata={
            "model": dg.MetadataValue.text(look.model),
            "scope": dg.MetadataValue.text(str(scope)),
            "history": dg.MetadataValue.md(records_table(lines)),
            "timeline": picture("deployments", history_png(events)),
        },
    )


promotion_job = dg.define_asset_job(
    "promotion_job",
    selection=dg.AssetSelection.assets(canary_evaluation, "ledger_head", production_model),
    description="A look at the canary, and its promotion if that is shown on untouched records.",
    tags={"dagster/max_retries": "0", VERDICT: "canary"},
    executor_def=dg.in_process_executor,
)


@dg.sensor(
    job=promotion_job,
    minimum_interval_seconds=300,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description="Looks at each canary whenever there are new decisions on its market.",
)
def canary_sensor(
    context: dg.SensorEvaluationContext, store: TradeStore
) -> Iterator[dg.RunRequest | dg.SkipReason]:
    """One look per canary and newest decision."""
    from trade_pipeline.core.canary.deployments import canaries
    from trade_pipeline.core.canary.paired import newest_decision

    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        known = [
            (scope, active, newest_decision(connection, scope))
            for scope, active in canaries(connection)
        ]
    if not known:
        yield dg.SkipReason("no canary is deployed")
    for scope, active, newest in known:
        place = {"market": scope.market, "venue": scope.venue, "account": scope.account}
        yield dg.RunRequest(
            run_key=f"{active.deployment_id}@{newest}",
            run_config={
                "ops": {
                    name: {"config": place} for name in ("canary_evaluation", "production_model")
                }
            },
        )


def _scope(store: Any, config: ScopeConfig) -> Scope:
    from trade_pipeline.core.canary.deployments import newest_canary_market

    with store.database.connect("trade_reader") as connection:
        market = config.market or newest_canary_market(connection)
    return Scope(market, config.venue, config.account)
