"""Commands about which model decides where: canary, promotion, rollback and their history."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from trade_pipeline.cli.console import err, out, print_json, print_table
from trade_pipeline.cli.inputs import Json, plain_settings, read_settings
from trade_pipeline.cli.models import Model, app
from trade_pipeline.core.canary.record import Scope

if TYPE_CHECKING:
    from trade_pipeline.core.canary.cycle import Look

# The commands join those about models.
__all__ = ["app"]

Account = Annotated[
    str, typer.Option(help="Whose decisions: backtest, paper or live.", show_default=True)
]
Market = Annotated[str, typer.Option(help="Kind of market, such as spot-1h.")]
Venue = Annotated[str, typer.Option(help="Venue of the account.")]
Reason = Annotated[str, typer.Option(help="Why; it stays in the history.")]
Override = Annotated[
    str | None,
    typer.Option(help="Your reason to go past what the rules ask; never past the gates."),
]


@app.command()
def canary(
    model: Model,
    reason: Reason = "to be measured",
    venue: Venue = "default",
    account: Account = "backtest",
    override: Override = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One setting, such as share=0.25.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Put an eligible model beside what is in production on its market, and measure it."""
    from trade_pipeline.core.canary.config import CanaryConfig
    from trade_pipeline.core.canary.cycle import deploy_canary, report_power
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.registry import read_model

    config = CanaryConfig.parse(plain_settings(None, set_ or []))
    with Store.open(read_settings()) as store, err.status("asking the gates and the power"):
        with store.database.connect("trade_reader") as connection:
            record = read_model(connection, model)
        scope = Scope(record.market, venue, account)
        report = report_power(store, model, scope, config)
        deploy_canary(
            store, model, scope, by="command line", reason=reason, override=override,
            config=config,
        )  # fmt: skip
    facts = {"model": record.short_name, "scope": asdict(scope), "power": asdict(report)}
    if as_json:
        print_json(facts)
        return
    out.print(f"[bold]{record.short_name}[/] is the canary of {scope}: trade-pipeline models look")
    print_table(
        f"Within 56 days, from {report.blocks} blocks before (spread {report.spread:.4f})",
        [asdict(one) for one in report.expected],
    )


@app.command()
def look(
    market: Market, venue: Venue = "default", account: Account = "backtest", as_json: Json = False
) -> None:
    """Look at the canary and tell what would become of it now; nothing is stored or changed."""
    from trade_pipeline.core.canary.cycle import look_at_canary
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, err.status("looking at the canary"):
        scope = Scope(market, venue, account)
        found = look_at_canary(store, scope, by="command line", act="none")
    _print_look(found, as_json)


@app.command()
def promote(
    model: Model,
    venue: Venue = "default",
    account: Account = "backtest",
    override: Override = None,
    as_json: Json = False,
) -> None:
    """Look at the canary, and promote it, roll it back or go on as its evidence says.

    With --override any eligible model comes into production without a canary.
    """
    from trade_pipeline.core.canary import deployments
    from trade_pipeline.core.canary.cycle import look_at_canary
    from trade_pipeline.core.ledger.guard import require_intact
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.core.training.judgement import make_eligible
    from trade_pipeline.core.training.registry import read_model

    with Store.open(read_settings()) as store, err.status("asking the evidence"):
        with store.database.connect("trade_reader") as connection:
            record = read_model(connection, model)
            scope = Scope(record.market, venue, account)
            canary = deployments.deployed(connection, scope).canary
        if override is None:
            if canary is None or canary.model_version != record.model_version:
                raise deployments.NotDeployed(
                    f"{scope}: {record.short_name} is not the canary there; start it with: "
                    f"trade-pipeline models canary {record.short_name}"
                )
            _print_look(look_at_canary(store, scope, by="command line"), as_json)
            return
        make_eligible(store, model)
        require_intact(store)
        with store.database.connect() as connection:
            deployments.promote(
                connection, scope, record.model_version, by="command line", reason=override,
                override=override,
            )  # fmt: skip
            connection.commit()
    _told(f"{record.short_name} decides everything on {scope}", scope, as_json)


@app.command()
def rollback(
    market: Market,
    reason: Reason,
    venue: Venue = "default",
    account: Account = "backtest",
    as_json: Json = False,
) -> None:
    """Take back the canary, or else the production model; what was there before decides again."""
    from trade_pipeline.core.canary import deployments
    from trade_pipeline.core.store.store import Store

    scope = Scope(market, venue, account)
    with Store.open(read_settings()) as store, store.database.connect() as connection:
        deployments.rollback(connection, scope, by="command line", reason=reason)
        connection.commit()
        now = deployments.deployed(connection, scope)
    who = "the heuristic" if now.production is None else now.production.model_version
    _told(f"{who} decides on {scope}", scope, as_json)


@app.command()
def monitor(
    market: Market,
    venue: Venue = "default",
    account: Account = "backtest",
    act: Annotated[bool, typer.Option(help="Take the model back where it is broken.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="One limit, stricter, such as tolerance=0.01.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look at the production model and store the report.  Ends with code 1 if a line is broken."""
    from trade_pipeline.core.monitoring.config import MonitoringConfig
    from trade_pipeline.core.monitoring.production import clock_of, monitor_production
    from trade_pipeline.core.monitoring.reports import is_acted_on
    from trade_pipeline.core.store.store import Store

    config = MonitoringConfig.parse(plain_settings(None, set_ or []))
    scope = Scope(market, venue, account)
    with Store.open(read_settings()) as store, err.status("looking at production"):
        report = monitor_production(
            store, scope, clock_of(scope, datetime.now(UTC)), config, act=act, by="command line"
        )
        with store.database.connect("trade_reader") as connection:
            rolled_back = is_acted_on(connection, report)
    if as_json:
        print_json(asdict(report) | {"rolled_back": rolled_back})
    else:
        state = "taken back" if rolled_back else "broken" if report.broken else "as it should be"
        print_table(
            f"{report.model} on {scope}, {report.looked_at:%Y-%m-%d %H:%M}: {state}",
            [{"line": one["name"], "passed": one["passed"], "why": one["reason"] or "-"}
             for one in report.lines],
        )  # fmt: skip
        print_table("Drift", [dict(one) for one in report.drift])
    if report.broken:
        raise typer.Exit(1)


@app.command()
def history(as_json: Json = False) -> None:
    """Every deployment: what, where, when, who or what, and why."""
    from trade_pipeline.core.canary import deployments
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        events = deployments.history(connection)
    if as_json:
        print_json([asdict(event) for event in events])
        return
    for event in events:
        one = event.deployment
        what = f"{one.slot} ends" if one.stage == "retired" else one.stage
        if one.restores is not None:
            what = "production again"
        if one.fund_share is not None:
            what += f", the heuristic with {one.fund_share:.0%} of the fund"
        out.print(
            f"{one.deployed_at:%Y-%m-%d %H:%M}  [bold]{event.short_name}[/]  {what} on {one.market}"
            f"/{one.venue}/{one.account}, by {one.deployed_by}: {one.override or one.reason}",
            soft_wrap=True,
        )
    if not events:
        out.print("no model was deployed: the heuristic decides")


def _print_look(found: Look, as_json: bool) -> None:
    if as_json:
        print_json(asdict(found))
        return
    out.print(f"[bold]{found.model}[/]: {found.decision}")
    for why in found.reasons:
        out.print(f"  {why}")


def _told(sentence: str, scope: Scope, as_json: bool) -> None:
    if as_json:
        print_json({"scope": asdict(scope), "told": sentence})
    else:
        out.print(sentence)
