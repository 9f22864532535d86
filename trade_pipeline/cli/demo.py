"""The demonstration: the main job over some weeks of a market, as a user would launch it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from trade_pipeline.cli.console import market_progress, out
from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.simulator import SimulatorConfig
from trade_pipeline.core.market.source import market_in, open_market
from trade_pipeline.core.report.performance import session_report
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs.instance import run_backtest_job
from trade_pipeline.settings import Settings

# Fixed days, so that a second demonstration replays the first one and must find no difference.
SIMULATED_DAYS = (date(2026, 1, 5), date(2026, 1, 18))
RECORDED_DAYS = 35


class DemoFailed(TradePipelineError):
    """The job did not succeed; its page in the UI says more."""


def run_demo(settings: Settings, *, data: Path | None, seed: int) -> dict[str, Any]:
    """Run the backtest job and report on its session.

    Args:
        data: folder of a recording, whose last weeks are traded; None: the simulated market.

    Raises:
        DemoFailed: the job or one of its checks failed.
    """
    market = "simulated" if data is None else market_in(data)
    first, last = SIMULATED_DAYS
    if data is not None:
        feed = open_market(
            market, data=data, seed=seed, start=0, end=DAY, simulator=SimulatorConfig()
        )
        last = moment_of(feed.span()[1]).date()
        first = last - timedelta(days=RECORDED_DAYS - 1)
    out.print(f"Trading the {market} market from {first} to {last} as a run of Dagster ...")
    with (
        Store.open(settings) as store,
        market_progress(_micros(first), _micros(last + timedelta(days=1))) as progress,
    ):
        run = run_backtest_job(
            settings,
            first=first,
            last=last,
            market=market,
            data=data,
            seed=seed,
            experiment="demo",
            progress=progress,
        )
        if not run.success or run.session_id is None:
            raise DemoFailed("; ".join(run.failures))
        with store.database.connect("trade_reader") as connection:
            report = session_report(connection, run.session_id)
            example = connection.execute(
                "SELECT uuid FROM trade.outcomes WHERE chain_id = %s "
                "ORDER BY realized_pnl_percent DESC LIMIT 1",
                (run.session_id,),
            ).fetchone()
    for name in ("equity", "returns"):
        report.pop(name)
    return report | {
        "dagster_run_id": run.run_id,
        "example_uuid": None if example is None else str(example[0]),
    }


def _micros(day: date) -> int:
    return micros(datetime(day.year, day.month, day.day, tzinfo=UTC))
