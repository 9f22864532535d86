"""The command line `trade-pipeline`, thin over core.  A mistake of the user's ends with code 2."""

from __future__ import annotations

import sys
import warnings
from importlib.metadata import version
from typing import Annotated

import typer

from trade_pipeline.cli import (
    alerts,
    attribution,
    backup,
    campaign,
    database,
    datasets,
    deployments,
    dossier,
    exchange,
    experiments,
    features,
    imports,
    ingest,
    ledger,
    lineage,
    live,
    market,
    replay,
    retention,
    trades,
    trading,
    watch,
)
from trade_pipeline.cli.console import err, out
from trade_pipeline.core.errors import TradePipelineError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)
app.add_typer(database.app, name="db")
app.add_typer(ingest.app, name="ingest")
app.add_typer(market.app, name="market")
app.add_typer(features.app, name="features")
app.add_typer(datasets.app, name="datasets")
app.add_typer(deployments.app, name="models")
app.add_typer(exchange.app, name="exchange")
app.add_typer(experiments.app, name="experiment")
app.add_typer(live.app, name="live")
app.add_typer(trades.app, name="trades")
app.add_typer(retention.app, name="retention")
app.add_typer(ledger.app, name="ledger")
app.add_typer(alerts.app, name="alerts")
for command in (
    campaign.demo,
    campaign.campaign,
    trading.backtest,
    trading.metrics,
    dossier.trace,
    lineage.lineage,
    attribution.attribution,
    replay.replay,
    trading.up,
    trading.env,
    ledger.verify,
    backup.backup,
    backup.backups,
    backup.restore,
    live.halt,
    live.flatten,
    live.resume,
    watch.watch,
    watch.status,
):
    app.command()(command)
app.command("import")(imports.import_)
# What follows the command's name is the command's own.
app.command(
    "exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)(trading.exec_)


def _print_version(asked: bool) -> None:
    if asked:
        # Read when it is asked for: a command's first word should not wait for it.
        from trade_pipeline.core.session.version import code_version

        out.print(
            f"trade-pipeline {version('trade-pipeline')}, code {code_version()}", highlight=False
        )
        raise typer.Exit


@app.callback()
def trade_pipeline(
    asked: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=_print_version,
            is_eager=True,
            help="Print the version, and that of the code, which each session records.",
        ),
    ] = False,
) -> None:
    """Trade volatile low-cap tokens with every trade under one UUID."""


def main() -> None:
    """Run the command line."""
    # Of Dagster, to those who write definitions; a user of them can do nothing about it.
    warnings.filterwarnings("ignore", message=".* is currently in beta")
    try:
        app()
    except TradePipelineError as error:
        err.print(f"[bold red]error:[/] {type(error).__name__}: ", end="")
        err.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)
