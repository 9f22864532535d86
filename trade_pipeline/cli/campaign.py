"""The whole cycle as one command, told as it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trade_pipeline.cli.console import err, out, print_json, print_table
from trade_pipeline.cli.inputs import Json, Seed, read_settings
from trade_pipeline.core.errors import BadConfig

if TYPE_CHECKING:
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.defs.campaign import CampaignPlan, Stage

_COLORS = {"training": "cyan", "canary": "yellow", "look": "yellow", "rollback": "red"}
Data = Annotated[
    Path | None, typer.Option(help="Folder of a recording; unset, the simulated market.")
]
_Day = Annotated[str | None, typer.Option(help="A day of the market (UTC), such as 2021-04-05.")]


def campaign(
    data: Data = None,
    first: _Day = None,
    last: _Day = None,
    seed: Seed = 7,
    as_json: Json = False,
) -> None:
    """Trade weeks of a market as they would have come: heuristic, first model, canary, promotion,
    monitoring, rollback.

    On the simulated market the story has a regime change that breaks the model; on a recording it
    is whatever happens there.
    """
    facts = run_campaign(data, first, last, seed, quiet=as_json)
    if as_json:
        print_json(facts)


def demo(
    data: Data = None,
    ui: Annotated[bool, typer.Option(help="Serve the Dagster UI afterwards.")] = True,
    seed: Seed = 7,
    as_json: Json = False,
) -> None:
    """A campaign, and its result in the terminal and in the UI."""
    from trade_pipeline.defs.serve import serve

    facts = run_campaign(data, None, None, seed, quiet=as_json)
    if as_json:
        print_json(facts)
    else:
        out.print(
            f"Trace one trade: [bold]trade-pipeline trace {facts['example_uuid']}[/]",
            soft_wrap=True,
        )
    if ui:
        serve(read_settings())


def plan_of(
    store: Store, data: Path | None, first: str | None, last: str | None, seed: int
) -> CampaignPlan:
    """What is traded: a recording from a day to another, or the simulated story.

    Raises:
        BadConfig: a day that is none, or lies outside of the market.
        BadMarketData: no recording is in the folder.
    """
    from trade_pipeline.core.canary.paired import newest_decision
    from trade_pipeline.core.canary.record import Scope
    from trade_pipeline.defs.campaign import recorded_plan, simulated_plan

    days = [None if text is None else _day(name, text) for name, text in
            (("first", first), ("last", last))]  # fmt: skip
    if data is None:
        if any(days):
            raise BadConfig(f"first={first!r}, last={last!r}: the simulated story has its own days")
        with store.database.connect("trade_reader") as connection:
            return simulated_plan(seed, newest_decision(connection, Scope("simulated")))
    return recorded_plan(data, *days, seed=seed)


def run_campaign(
    data: Path | None, first: str | None, last: str | None, seed: int, *, quiet: bool
) -> dict[str, Any]:
    """Run a campaign (see `plan_of`) and tell each stage as it happens.

    Returns:
        The stages, the history of deployments, and one trade to look at.
    """
    from trade_pipeline.core.canary.deployments import history
    from trade_pipeline.core.store.store import Store
    from trade_pipeline.defs.campaign import Campaign
    from trade_pipeline.defs.instance import dagster_instance, dagster_server

    settings, started = read_settings(), time.monotonic()
    stages: list[Stage] = []
    with (
        Store.open(settings) as store,
        dagster_server(settings) as server,
        dagster_instance(settings, server) as instance,
        _bar(plan := plan_of(store, data, first, last, seed)) as advance,
    ):
        told = Campaign(store, instance, plan)
        for stage in told.run():
            stages.append(stage)
            advance(stage)
            if not quiet:
                color = _COLORS.get(stage.what, "default")
                err.print(f"[dim]{stage.day}[/]  [{color}]{stage.told}[/]", soft_wrap=True)
        with store.database.connect("trade_reader") as connection:
            events = history(connection)
            example = connection.execute(
                "SELECT uuid FROM trade.outcomes WHERE kind = 'realised' "
                "AND chain_id = ANY(%s) ORDER BY realized_pnl_percent DESC LIMIT 1",
                (told.sessions,),
            ).fetchone()
    deployments = [
        {"model": event.short_name, "stage": event.deployment.stage,
         "slot": event.deployment.slot, "reason": event.deployment.reason}
        for event in events
    ]  # fmt: skip
    if not quiet:
        print_table("Deployments", deployments)
    return {
        "stages": [asdict(stage) for stage in stages],
        "deployments": deployments,
        "example_uuid": None if example is None else str(example[0]),
        "seconds": round(time.monotonic() - started, 1),
    }


@contextmanager
def _bar(plan: CampaignPlan) -> Iterator[Any]:
    from trade_pipeline.cli.console import rows_progress

    days = (plan.last - plan.first + timedelta(days=1)).days
    with rows_progress("days of the market") as progress:
        yield lambda stage: progress((stage.day - plan.first).days + 1, days)


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadConfig(f"{name}={text!r}: expected a day such as 2021-09-03") from None
