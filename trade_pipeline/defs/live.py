"""Live sessions: a long, bounded run, its supervision by a sensor, and the kill switch as jobs."""

import time
from typing import Any

import dagster as dg
from pydantic import Field

from trade_pipeline.core.session.version import code_version
from trade_pipeline.defs.markdown import records_table
from trade_pipeline.defs.owner import OwnerWatch, dev_is_gone, end_orphans, owners
from trade_pipeline.defs.queue import TRADING
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import KINDS, OWNERS
from trade_pipeline.settings import Settings

ACCOUNT = "trade_pipeline/account"
_WAITING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
]
_RUNNING = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


class AccountConfig(dg.Config):
    """An account."""

    account: str = Field("paper", description="Name of the account.")


class HaltConfig(AccountConfig):
    """An account, and why it is halted or resumed."""

    reason: str = Field("from the UI", description="Why; it is stored.")


@dg.asset(
    group_name="live",
    deps=["production_model"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "live"},
    code_version=code_version(),
    metadata={"dagster/table_name": "trade.sessions"},
)
def live_session(
    context: dg.AssetExecutionContext, config: AccountConfig, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """One session of an account, by the settings of `trade-pipeline live start`.

    It recovers first and ends at the end of its window, its positions open for the next one.  It
    ends with the Dagster that started it.
    """
    from trade_pipeline.core.alerts.now import teller
    from trade_pipeline.core.live.requests import require_request
    from trade_pipeline.core.live.run import run_live

    with OwnerWatch(), store.open() as opened:
        with opened.database.connect("trade_reader") as connection:
            settings = require_request(connection, config.account).config()
        done = run_live(
            opened, settings, Settings(), holder=context.run.run_id,
            tell=teller(Settings().alert_urls),
        )  # fmt: skip
    return dg.MaterializeResult(
        metadata={
            "session_id": dg.MetadataValue.text(done.session_id),
            "account": dg.MetadataValue.text(done.account),
            "epoch": done.epoch,
            "ended": dg.MetadataValue.text(done.why),
            "events": done.events,
            "decisions": done.decisions,
            "dropped_looks": done.dropped_looks,
            "open_positions": done.open_positions,
            "cash_usd": done.cash_usd,
            "slowest_batch_ms": done.slowest_batch_ms,
            "findings": dg.MetadataValue.md(
                records_table(
                    [
                        {"kind": one.kind, "explained": one.explained,
                         "instrument": one.instrument or "", "facts": str(dict(one.facts))}
                        for one in done.findings
                    ]
                )
            ),
        },
    )  # fmt: skip


live_job = dg.define_asset_job(
    "live_job",
    # Whether it is fresh, nobody asks of a session that has just ended.
    selection=dg.AssetSelection.assets(live_session).without_checks(),
    description="One session of an account. The sensor starts it; two at once do no harm.",
    tags=TRADING,
    executor_def=dg.in_process_executor,
)


@dg.sensor(
    job=live_job,
    minimum_interval_seconds=5,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Keeps one session running for each account that is wanted, and ends ghosts.",
)
def live_session_sensor(context: dg.SensorEvaluationContext, store: TradeStore) -> dg.SensorResult:
    """By lease and lock, not by what runs say of themselves."""
    from trade_pipeline.core.live.lease import holder_is_active, holder_is_connected, read_lease
    from trade_pipeline.core.live.requests import requests
    from trade_pipeline.core.live.supervision import judge
    from trade_pipeline.core.store.room import refuses_writes

    if dev_is_gone(owners()):
        end_orphans()
        return dg.SensorResult(skip_reason=dg.SkipReason("dagster dev is gone: start it again"))
    told, wanted = [], []
    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        if (why := refuses_writes(connection)) is not None:
            # Nobody can take a lease, and whoever holds one goes on.
            return dg.SensorResult(skip_reason=dg.SkipReason(why))
        for request in requests(connection):
            account = request.account
            lease = read_lease(connection, account)
            connected, active = holder_is_connected(connection, account), False
            if lease is not None and connected and not lease.alive:
                with opened.database.connect() as writer:
                    # As the login, which the sessions have, too: a role sees nothing of others.
                    writer.execute("SET ROLE NONE")
                    active = holder_is_active(writer, account)
            runs = seen_runs(context.instance, account)
            verdict = judge(request.wanted, lease, connected, runs, active=active)
            for run_id in verdict.ghosts:
                run = context.instance.get_run_by_id(run_id)
                if run is not None:
                    context.instance.report_run_failed(
                        run, f"it does not hold the lease of {account}: {verdict.why}"
                    )
            told.append(f"{account}: {verdict.why}")
            if verdict.start:
                # Without a run key: a run that failed before it held the lease is asked for again.
                wanted.append(
                    dg.RunRequest(
                        run_config={"ops": {"live_session": {"config": {"account": account}}}},
                        tags={ACCOUNT: account},
                    )
                )
    skipped = None if wanted else dg.SkipReason("; ".join(told) or "no account is traded")
    return dg.SensorResult(run_requests=wanted, skip_reason=skipped)


def seen_runs(instance: dg.DagsterInstance, account: str) -> list[Any]:
    """The runs of an account that have not ended."""
    from trade_pipeline.core.live.supervision import SeenRun

    records = instance.get_run_records(
        dg.RunsFilter(job_name="live_job", statuses=[*_WAITING, *_RUNNING], tags={ACCOUNT: account})
    )
    now = time.time()
    return [
        SeenRun(
            record.dagster_run.run_id,
            record.dagster_run.status in _WAITING,
            now - (record.start_time or record.create_timestamp.timestamp()),
        )
        for record in records
    ]


@dg.op
def order_halt_op(context: dg.OpExecutionContext, config: HaltConfig, store: TradeStore) -> None:
    """Store the halt, flatten or resume that the job is named after."""
    from trade_pipeline.core.live.halts import order_halt

    action: Any = context.job_name.removesuffix("_job")
    with store.open() as opened, opened.database.connect(autocommit=True) as connection:
        order_halt(
            connection, config.account, action, reason=config.reason, by=f"run {context.run.run_id}"
        )


def _halt_job(action: str, description: str) -> dg.JobDefinition:
    @dg.job(
        name=f"{action}_job",
        description=description,
        tags=TRADING,
        executor_def=dg.in_process_executor,
    )
    def job() -> None:
        order_halt_op()

    return job


halt_job = _halt_job("halt", "Stops all entries of an account; exits go on.")
flatten_job = _halt_job("flatten", "Stops all entries of an account and sells what is open.")
resume_job = _halt_job("resume", "Allows entries of an account again.")
