"""Commands about trades: which there are."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from trade_pipeline.cli.console import out, print_json, print_table
from trade_pipeline.cli.inputs import Json, read_settings

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
        rows = [
            {
                "uuid": one.uuid,
                "instrument": one.instrument,
                "bought": _text(one.bought_at),
                "sold": _text(one.sold_at),
                "reason": one.reason.replace("_", " "),
                "result_percent": one.result_percent,
                "result_usd": one.result_usd,
            }
            for one in found
        ]
        print_table("Trades, the newest first", rows)
        out.print("why: trade-pipeline trace UUID")
    else:
        out.print("no such trade is stored")


def _text(at: datetime | None) -> str:
    return "-" if at is None else f"{at:%Y-%m-%d %H:%M}"
