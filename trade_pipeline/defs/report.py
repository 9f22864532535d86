"""The reports of a session: its figures, and where they came from; tables and pictures."""

import base64
import math
from collections.abc import Mapping
from typing import Any

import dagster as dg
import psycopg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.report.performance import session_report
from trade_pipeline.core.report.pictures import equity_png, returns_png
from trade_pipeline.defs.markdown import markdown_table, records_table
from trade_pipeline.defs.resources import TradeStore
from trade_pipeline.defs.trades import KINDS, OWNERS

_FIGURES = (
    "trades", "win_rate", "mean_return_pct", "median_return_pct", "total_pnl_usd",
    "max_drawdown_usd",
)  # fmt: skip
# Of a table; the command line tells all.
_MOST_ROWS = 50
_TABLES = ("by_reason", "by_liquidity", "stop_by_liquidity", "by_gas", "candidates")


@dg.asset(
    group_name="outcome",
    deps=["trade_executions", "trade_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "report"},
    code_version="1",
)
def performance_report(
    context: dg.AssetExecutionContext, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """How the session of this run did (on its own: the newest session), read from the records."""
    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        report = session_report(connection, session_of_run(connection, context.run.run_id))
    return dg.MaterializeResult(metadata=report_metadata(report))


@dg.asset(
    group_name="outcome",
    deps=["trade_executions", "trade_outcomes"],
    owners=OWNERS,
    kinds=KINDS,
    tags={"layer": "report"},
    code_version="1",
    metadata={"dagster/table_name": "trade.attribution"},
)
def performance_attribution(
    context: dg.AssetExecutionContext, store: TradeStore
) -> dg.MaterializeResult[Any]:
    """Where the results of this run's session (on its own: the newest) came from, part by part."""
    from trade_pipeline.core.attribution.report import attribution_report
    from trade_pipeline.core.attribution.settings import keep_settings

    with store.open() as opened:
        with opened.database.connect("trade_writer") as connection:
            keep_settings(connection, opened.artifacts)
        with opened.database.connect("trade_reader") as connection:
            session = session_of_run(connection, context.run.run_id)
            report = attribution_report(connection, session)
    return dg.MaterializeResult(metadata=attribution_metadata(report))


@dg.asset_check(
    asset=performance_attribution,
    blocking=True,
    description="The parts of every closed trade sum to its result; nothing is unexplained of what "
    "sessions traded by themselves.",
)
def parts_sum_to_results(store: TradeStore) -> dg.AssetCheckResult:
    """Ask every session: a later run cannot hide what is wrong with an earlier one."""
    from trade_pipeline.core.attribution.sums import wrong_sums

    with store.open() as opened, opened.database.connect("trade_reader") as connection:
        sums = wrong_sums(connection)
    return dg.AssetCheckResult(
        passed=not sums.wrong,
        severity=dg.AssetCheckSeverity.ERROR,
        description=sums.text,
        metadata={
            "closed_trades": sums.trades,
            "without_result": sums.without_result,
            "unexplained_usd": sums.unexplained_usd,
            "wrong": dg.MetadataValue.md(records_table(sums.wrong)),
        },
    )


def session_of_run(connection: psycopg.Connection, run_id: str) -> str:
    """The session that a Dagster run made or replayed, or else the newest of all backtests.

    Raises:
        BadConfig: no session is stored.
    """
    row = connection.execute(
        """
        SELECT s.session_id
        FROM trade.sessions s LEFT JOIN trade.session_runs r USING (session_id)
        WHERE s.mode = 'backtest'
        ORDER BY (r.dagster_run_id = %s) IS TRUE DESC,
                 coalesce(r.recorded_at, s.recorded_at) DESC
        LIMIT 1
        """,
        (run_id,),
    ).fetchone()
    if row is None:
        raise BadConfig("no session is stored: materialise trade_outcomes for some days first")
    return str(row[0])


def report_metadata(report: Mapping[str, Any]) -> dict[str, dg.MetadataValue[Any]]:
    """A report as the UI shows it."""
    figures = {name: report.get(name) for name in _FIGURES}
    return {
        "session_id": dg.MetadataValue.text(report["session_id"]),
        "market": dg.MetadataValue.text(report["market"]),
        "range": dg.MetadataValue.text(" to ".join(map(str, report["range"]))),
        **{
            name: dg.MetadataValue.int(value)
            if isinstance(value, int)
            else dg.MetadataValue.float(float(value))
            for name, value in figures.items()
            if value is not None and math.isfinite(value)
        },
        "equity": picture("equity curve", equity_png(report)),
        "returns": picture("histogram of returns", returns_png(report)),
        **{name: dg.MetadataValue.md(records_table(report[name])) for name in _TABLES},
        "costs": dg.MetadataValue.md(markdown_table(["cost", "USD"], report["costs"].items())),
    }


def attribution_metadata(report: Mapping[str, Any]) -> dict[str, dg.MetadataValue[Any]]:
    """An attribution as the UI shows it."""
    from trade_pipeline.core.attribution.experiment import EFFECT
    from trade_pipeline.core.attribution.groups import ASSOCIATION
    from trade_pipeline.core.attribution.pictures import experiment_png, group_png, waterfall_png

    found: dict[str, dg.MetadataValue[Any]] = {
        "session_id": dg.MetadataValue.text(report["session_id"]),
        "trades": dg.MetadataValue.int(report["trades"]),
        "result_usd": dg.MetadataValue.float(report["result_usd"]),
        "unfilled_entries_usd": dg.MetadataValue.float(report["unfilled_entries_usd"]),
        "without_settings": dg.MetadataValue.int(report["without_settings"]),
        "waterfall": picture("parts of the result", waterfall_png(report)),
        "parts": dg.MetadataValue.md(records_table(report["parts"])),
    }
    for name, rows in report["by"].items():
        # A picture compares: with less than two intervals it would tell less than the table.
        if sum(math.isfinite(row["low_usd"]) for row in rows) > 1:
            found[f"by_{name}_picture"] = picture(f"result by {name}", group_png(name, rows))
        table = records_table(rows[:_MOST_ROWS])
        found[f"by_{name}"] = dg.MetadataValue.md(f"{ASSOCIATION}\n\n{table}")
    if report["experiment"]:
        found["canary_picture"] = picture("canary's arm", experiment_png(report["experiment"]))
        table = records_table(report["experiment"])
        found["canary"] = dg.MetadataValue.md(f"{EFFECT}\n\n{table}")
    return found


def picture(name: str, png: bytes) -> dg.MarkdownMetadataValue:
    data = base64.b64encode(png).decode()
    return dg.MetadataValue.md(f"![{name}](data:image/png;base64,{data})")
