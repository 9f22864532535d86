"""Commands about the local exchange."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Annotated

import typer

from trade_pipeline.cli.console import print_json

app = typer.Typer(
    help="An exchange on this machine, for tests and paper trading.", no_args_is_help=True
)


@app.callback()
def exchange() -> None:
    """An exchange on this machine, for tests and paper trading."""


@app.command()
def serve(
    data: Annotated[Path, typer.Option(help="Folder of its accounts, orders and trades.")],
    port: Annotated[int, typer.Option(help="On 127.0.0.1; 0 takes a free one.")] = 8090,
) -> None:
    """Serve until Ctrl-C; prints its address as JSON when it listens.

    It speaks Binance spot's REST dialect under /api/v3.  Listings, accounts, prices and faults come
    by POST /control/listing, /control/account, /control/price and /control/faults.
    """
    # Only who serves loads a web server.
    from trade_pipeline.local_exchange.server import serve as run

    with suppress(KeyboardInterrupt):
        asyncio.run(run(data, port, lambda at: print_json({"url": f"http://127.0.0.1:{at}"})))
