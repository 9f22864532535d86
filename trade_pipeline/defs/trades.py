"""The main path: research -> candidate -> execution -> outcome, one session a run.

The days picked in the launchpad are the session's range.  Dagster gets one materialisation an asset
and day, never one a trade: the trades are in the database.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.canary.serving import with_deployed
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.records import (
    ExecutionRecord,
    Record,
    ResearchDocument,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.report.days import DayRecords, session_days
from trade_pipeline.core.session.backtest import BacktestRun, run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import Progress
from trade_pipeline.core.session.version import code_version
from trade_pipeline.defs.columns import column_schema
from trade_pipeline.defs.markdown import markdown_table
from trade_pipeline.defs.resources import TradeStore

DAYS = dg.DailyPartitionsDefinition(start_date="2020-09-01", timezone="UTC")


def days_apart(environment: Mapping[str, str]) -> dg.BackfillPolicy:
    """How a range of days runs whose days do not depend on each other.

    Where runs are executed elsewhere, a day is a run, which any worker or node takes.  Here the
    starts of the runs would take longer than the days, so that the range is one run.
    """
    elsewhere = ("TRADE_PIPELINE_BROKER_URL", "TRADE_PIPELINE_DAGSTER_YAML")
    if any(environment.get(name) for name in elsewhere):
        return dg.BackfillPolicy.multi_run(1)
    return dg.BackfillPolicy.single_run()


DAYS_APART = days_apart(os.environ)
OWNERS = ["team:trading"]
KINDS = {"postgres", "python"}

market_events = dg.AssetSpec(
    "market_events",
    group_name="market",
    description="What happened on a market: recorded trades of pools, hourly bars of spot markets, "
    "or the simulator. Chosen in the launchpad; read, never written.",
    owners=OWNERS,
    kinds={"parquet"},
)


def _spec(name: str, group: str, record: type[Record], dep: str, description: str) -> dg.AssetSpec:
    return dg.AssetSpec(
        name,
        group_name=group,
        deps=[dep],
        description=description,
        owners=OWNERS,
        kinds=KINDS,
        tags={"layer": "record"},
        code_version=code_version(),
        partitions_def=DAYS,
        metadata={
            "dagster/table_name": f"trade.{record.TABLE}",
            "dagster/column_schema": column_schema(record),
        },
    )


SPECS = [
    _spec(
        "research_documents", "research", ResearchDocument, "market_events",
        "The immutable snapshot behind each decision: price, liquidity, rug heuristics, sentiment.",
    ),
    _spec(
        "trade_candidates", "candidate", TradeCandidate, "research_documents",
        "One row per decision, entered or skipped, with the reason. Its UUID is the trade's.",
    ),
    _spec(
        "trade_executions", "execution", ExecutionRecord, "trade_candidates",
        "Every order event with its executable price, size, slippage and costs.",
    ),
    _spec(
        "trade_outcomes", "outcome", TradeOutcome, "trade_executions",
        "What came of each closed trade after all costs, and why it ended.",
    ),
]  # fmt: skip


class MarketConfig(dg.Config):
    """A market."""

    market: Literal["uniswap-v2", "spot-1h", "simulated"] = Field(
        "simulated", description="The kind of market."
    )
    data: str | None = Field(
        None, description="Folder of the recording; for the simulated market: none."
    )
    mentions: str | None = Field(
        None, description="Folder with hourly mention counts; for spot-1h only."
    )


class SessionsConfig(MarketConfig):
    """Stored sessions on a market."""

    session: str | None = Field(
        None, description="Only this session; unset: each that decided on the picked days."
    )


class BacktestConfig(MarketConfig):
    """A session's market and settings; its range is the days that are picked."""

    seed: int = Field(7, description="Seed of the simulated market.")
    experiment: str | None = Field(None, description="Name of a batch of sessions to put this in.")
    config: dict[str, Any] = Field(
        {},
        description="Settings that differ from the defaults, such as "
        "{strategy: {exits: {stop_loss: 0.2}}}; parts: strategy, amm, bars, simulator.",
    )
    deployed: bool = Field(
        False, description="Decide with the production model and the canary of the market."
    )


@dg.multi_asset(
    name="backtest_session", specs=SPECS, backfill_policy=dg.BackfillPolicy.single_run()
)
def backtest_session(
    context: dg.AssetExecutionContext,
    config: BacktestConfig,
    store: TradeStore,
    progress: dg.ResourceParam[Progress],
) -> Iterator[dg.MaterializeResult[Any]]:
    """Run the strategy over the picked days; a session that is stored already is compared."""
    start, end = context.partition_time_window
    with store.open() as opened:
        settings = TradingConfig.parse(config.config)
        if config.deployed:
            with opened.database.connect("trade_reader") as connection:
                settings = with_deployed(connection, Scope(config.market), settings)
        feed = open_market(
            config.market,
            data=None if config.data is None else Path(config.data),
            seed=config.seed,
            start=micros(start),
            end=micros(end),
            simulator=settings.simulator,
            mentions=None if config.mentions is None else Path(config.mentions),
        )
        run = run_backtest(
            opened.database,
            opened.artifacts,
            feed,
            start=start,
            end=end,
            seed=config.seed,
            config=settings,
            experiment=config.experiment,
            dagster_run_id=context.run.run_id,
            progress=progress,
        )
        with opened.database.connect("trade_reader") as connection:
            days = session_days(connection, run.session.session_id)
    for spec, columns in zip(SPECS, _COLUMNS, strict=True):
        yield dg.MaterializeResult(asset_key=spec.key, metadata=_metadata(run, days, columns))


# What is shown of each asset by day; the first column counts its rows.
_COLUMNS = (
    ("research",),
    ("candidates", "entered"),
    ("executions", "fills"),
    ("outcomes", "pnl_usd"),
)


def _metadata(
    run: BacktestRun, days: list[DayRecords], columns: tuple[str, ...]
) -> dict[str, dg.MetadataValue[Any]]:
    rows = [[day.day.isoformat(), *(getattr(day, name) for name in columns)] for day in days]
    total = ["all", *(sum(getattr(day, name) for day in days) for name in columns)]
    return {
        "dagster/row_count": dg.MetadataValue.int(total[1]),
        "session_id": dg.MetadataValue.text(run.session.session_id),
        "market": dg.MetadataValue.text(run.session.market),
        "range": dg.MetadataValue.text(f"{run.session.range_start} to {run.session.range_end}"),
        "params_ptr": dg.MetadataValue.text(str(run.session.params_ptr)),
        "new_rows_of_session": dg.MetadataValue.int(run.new_rows),
        "events_per_second": dg.MetadataValue.float(run.events_per_second),
        "days": dg.MetadataValue.md(markdown_table(["UTC day", *columns], [*rows, total])),
    }
