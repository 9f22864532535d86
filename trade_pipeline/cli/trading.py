"""Commands that trade, and that show what came of it."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from trade_pipeline.cli.console import market_progress, out, print_json, print_table, text_of
from trade_pipeline.cli.inputs import (
    ConfigFile,
    End,
    Json,
    Mentions,
    Seed,
    Start,
    plain_settings,
    read_moment,
    read_settings,
)
from trade_pipeline.core.errors import BadConfig


def backtest(
    start: Start,
    end: End,
    market: Annotated[
        str | None,
        typer.Option(help="uniswap-v2, spot-1h or simulated; unset: that of the recording."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the recording.")] = None,
    mentions: Mentions = None,
    seed: Seed = 7,
    experiment: Annotated[
        str | None, typer.Option(help="Put the session into this experiment.")
    ] = None,
    config: ConfigFile = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as amm.gas_usd=15.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Own rules, module:Class, such as my_strategy:Mine.")
    ] = None,
    deployed: Annotated[
        bool, typer.Option(help="Decide with the production model and the canary of this market.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run the strategy over a recorded or simulated market, into the store.

    The same inputs are the same session: run again, it adds nothing and must find no difference.
    """
    from trade_pipeline.core.extensions.load import name_module

    pairs = list(set_ or [])
    if strategy is not None:
        # Before anything reads the features, which the same module may add to.
        name_module(strategy)
        pairs.append(f"strategy.rules={strategy}")

    from trade_pipeline.core.canary.record import Scope
    from trade_pipeline.core.canary.serving import with_deployed
    from trade_pipeline.core.ids import micros
    from trade_pipeline.core.market.source import market_in, open_market
    from trade_pipeline.core.session.backtest import run_backtest
    from trade_pipeline.core.session.config import TradingConfig
    from trade_pipeline.core.store.store import Store

    first, last = read_moment("start", start), read_moment("end", end)
    if last <= first:
        raise BadConfig(f"end={end}: must be after start={start}")
    trading = TradingConfig.parse(plain_settings(config, pairs))
    if market is None:
        if data is None:
            raise BadConfig("market=None: give --market, or --data with a recording")
        market = market_in(data)
    feed = open_market(
        market,
        data=data,
        seed=seed,
        start=micros(first),
        end=micros(last),
        simulator=trading.simulator,
        mentions=mentions,
    )
    with Store.open(read_settings()) as store:
        if deployed:
            with store.database.connect("trade_reader") as connection:
                trading = with_deployed(connection, Scope(market), trading)
        with market_progress(micros(first), micros(last)) as progress:
            run = run_backtest(
                store.database,
                store.artifacts,
                feed,
                start=first,
                end=last,
                seed=seed,
                config=trading,
                experiment=experiment,
                progress=progress,
            )
        facts = _facts(store, run)
    if as_json:
        print_json(facts)
    else:
        _print_report(facts)
        failed = sorted(facts["failed_filter"].items(), key=lambda one: -one[1])
        print_table(
            "Why tokens were not considered", [{"filter": k, "looks": n} for k, n in failed]
        )
        again = f"--session {facts['session_id']}"
        if data is not None:
            again += f" --data {shlex.quote(str(data))}"
        out.print("next: trade-pipeline trades list")
        out.print(f"      trade-pipeline replay {again}", markup=False, soft_wrap=True)


def metrics(
    session: Annotated[str | None, typer.Option(help="One session; unset, all of them.")] = None,
    include_imported: Annotated[
        bool, typer.Option("--include-imported", help="With the trades of older bots.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Performance figures, read from the records."""
    from trade_pipeline.core.report.performance import performance_metrics, session_report
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        if session is not None:
            facts = session_report(connection, session)
            facts.pop("returns")
        else:
            facts = performance_metrics(connection, include_imported=include_imported)
    if as_json:
        print_json(facts)
    elif session is not None:
        _print_report(facts)
    else:
        by_reason = facts.pop("by_reason")
        for name, value in facts.items():
            out.print(f"{name.replace('_', ' '):>22}  {text_of(value)}", markup=False)
        print_table("By termination reason", by_reason)


def up() -> None:
    """Serve the Dagster UI with its daemon until stopped; everything started here ends with it."""
    # Modules of the user's own that do not import would stop every process that is started.
    import trade_pipeline.core.features.registry  # noqa: F401
    from trade_pipeline.defs.serve import serve

    serve(read_settings())


def env() -> None:
    """Print what `dagster dev` needs in its environment, for a shell's eval; a password is inside.

    The embedded server has to be kept running beside it: `db start`.
    """
    from trade_pipeline.defs.instance import dagster_environment, dagster_server

    settings = read_settings()
    with dagster_server(settings) as server:
        for name, value in dagster_environment(settings, server).items():
            print(f"export {name}={shlex.quote(value)}")


def exec_(
    command: Annotated[list[str], typer.Argument(help="A command of Dagster or Celery.")],
) -> None:
    """Become a command of Dagster or Celery, with what it needs in its environment.

    Starts no server.  Secrets come from the settings, whose values no command line shows.
    """
    from trade_pipeline.defs.instance import command_environment

    environment = os.environ | command_environment(read_settings())
    # Programs beside this one, also where its folder is not on the path.
    beside = str(Path(sys.executable).parent)
    program = shutil.which(command[0]) or shutil.which(command[0], path=beside)
    if program is None:
        raise BadConfig(f"command={command[0]!r}: no such program")
    sys.stdout.flush()
    os.execve(program, command, environment)


def _facts(store: Any, run: Any) -> dict[str, Any]:
    """What a backtest prints: its own counts, and the figures read back from the records."""
    from trade_pipeline.core.report.performance import session_report

    with store.database.connect("trade_reader") as connection:
        report = session_report(connection, run.session.session_id)
    for name in ("equity", "returns"):
        report.pop(name)
    return report | {
        "events": run.counts.events,
        "evaluated": run.counts.evaluated,
        "failed_filter": dict(run.counts.failed),
        "seconds": round(run.seconds, 3),
        "database_seconds": round(run.database_seconds, 3),
        "events_per_second": round(run.events_per_second),
        "new_rows": run.new_rows,
        "peak_memory_mb": round(run.peak_memory_mb, 1),
    }


def _print_report(facts: dict[str, Any]) -> None:
    out.print(f"[bold]session {facts['session_id']}[/] on {facts['market']}")
    for name in (
        "events",
        "trades",
        "win_rate",
        "mean_return_pct",
        "median_return_pct",
        "total_pnl_usd",
        "max_drawdown_usd",
        "seconds",
        "events_per_second",
        "new_rows",
        "peak_memory_mb",
    ):
        if name in facts:
            out.print(f"{name.replace('_', ' '):>20}  {text_of(facts[name])}", markup=False)
    print_table("Candidates", facts["candidates"])
    print_table("Trades by termination reason", facts["by_reason"])
    print_table(
        "Stops by liquidity (the barrier stands at the configured loss)", facts["stop_by_liquidity"]
    )
    print_table("All trades by liquidity", facts["by_liquidity"])
    print_table("The same trades at other gas prices", facts["by_gas"])
    print_table("Costs", [{"kind": k, "usd": v} for k, v in facts["costs"].items()])
