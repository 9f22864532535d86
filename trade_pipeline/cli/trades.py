"""Commands about trades: which there are."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from trade_pipeline.cli.console import out, print_json
from trade_pipeline.cli.inputs import Json, read_settings

if TYPE_CHECKING:
    from trade_pipeline.core.report.trade_list import ListedTrade

app = typer.Typer(help="Trades and their UUIDs.", no_args_is_help=True)


@app.callback()
def trades() -> None:
    """Trades and their UUIDs."""


@app.command(name="list")
def list_(
    last: Annotated[int, typer.Option(min=1, help="So many, the newest.")] = 10,
    session: Annotated[str | None, typer.Option(help="Of one session.")] = None,
    account: Annotated[str | None, typer.Option(help="Of one live account.")] = None,
    instrument: Annotated[str | None, typer.Option(help="In one token or pair.")] = None,
    as_json: Json = False,
) -> None:
    """The newest trades: bought and sold when, why, with which result.  `trace UUID` tells all."""
    from trade_pipeline.core.report.trade_list import newest_trades
    from trade_pipeline.core.store.store import Store

    with Store.open(read_settings()) as store, store.database.connect("trade_reader") as connection:
        found = newest_trades(
            connection, last, session=session, account=account, instrument=instrument
        )
    if as_json:
        print_json([asdict(one) for one in found])
    elif found:
        for one in found:
            # A line each, whole however narrow the screen is.
            out.print(_line(one), markup=False, highlight=False, soft_wrap=True)
        out.print("why: trade-pipeline trace UUID")
    else:
        out.print("no such trade is stored")


def _line(one: ListedTrade) -> str:
    result = ""
    if one.result_percent is not None:
        usd = "" if one.result_usd is None else f" {one.result_usd:+,.2f} USD"
        result = f"{one.result_percent:+.1f} %{usd}"
    why = one.reason.replace("_", " ")
    return (
        f"{one.uuid}  {one.instrument}  {_time(one.bought_at)} to {_time(one.sold_at)}  {why}  "
        f"{result}"
    ).rstrip()


def _time(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"
