"""Commands that record markets."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from pydantic import SecretStr

from trade_pipeline.cli.console import err, print_json, print_table, rows_progress
from trade_pipeline.cli.inputs import Json, read_moment, read_settings
from trade_pipeline.core.errors import BadConfig

app = typer.Typer(help="Record markets into tapes.", no_args_is_help=True)


@app.callback()
def ingest() -> None:
    """Record markets into tapes."""


@app.command("uniswap-v2")
def uniswap_v2(
    from_block: Annotated[int, typer.Option(help="First block of the pools that are recorded.")],
    to_block: Annotated[int, typer.Option(help="Last block; it must be final.")],
    out: Annotated[Path, typer.Option(help="Folder of the tape.")],
    rpc: Annotated[
        str | None, typer.Option(help="The node's URL; unset: TRADE_PIPELINE_RPC_URL.")
    ] = None,
    eth_usd: Annotated[
        Path | None, typer.Option(help="ETH prices (Parquet) instead of the WETH/USDC pool's.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Record the WETH pools that are created in a range of blocks.

    Run it again after it was stopped: it goes on where it stood.
    """
    from trade_pipeline.core.clock import SystemClock
    from trade_pipeline.core.market.recorder.node import EthereumNode
    from trade_pipeline.core.market.recorder.uniswap_v2 import Recording, UniswapV2Recorder

    url = SecretStr(rpc) if rpc is not None else read_settings().rpc_url
    if url is None:
        raise BadConfig("rpc=None: give --rpc or set TRADE_PIPELINE_RPC_URL")

    async def record() -> Recording:
        async with EthereumNode(url, SystemClock()) as node:
            with rows_progress("reading blocks") as progress:
                recorder = UniswapV2Recorder(node, out, eth_usd=eth_usd)
                return await recorder.record(from_block, to_block, progress)

    facts = asdict(asyncio.run(record()))
    if as_json:
        print_json(facts)
    else:
        print_table(str(out), [facts])


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder of the tape; it must not be there.")],
    account: Annotated[str, typer.Option(help="Whose live sessions recorded it.")] = "paper",
    market: Annotated[
        str | None, typer.Option(help="Kind of market; unset: the only one that was recorded.")
    ] = None,
    begin: Annotated[
        str | None,
        typer.Option("--from", help="First decision, a day (UTC) or time with a zone; unset: all."),
    ] = None,
    to: Annotated[str | None, typer.Option(help="Day or time before which decisions end.")] = None,
    as_json: Json = False,
) -> None:
    """Make a tape of the market that an account's live sessions read; `backtest` trades it."""
    from trade_pipeline.core.ids import micros, moment_of
    from trade_pipeline.core.market.export import export_recording
    from trade_pipeline.core.store.store import Store

    start = None if begin is None else micros(read_moment("from", begin))
    end = None if to is None else micros(read_moment("to", to))
    with (
        Store.open(read_settings()) as store,
        store.database.connect("trade_reader", autocommit=True) as connection,
        rows_progress("reading events") as progress,
    ):
        done = export_recording(
            connection, account, folder, market=market, start=start, end=end,
            artifacts=store.artifacts, progress=progress,
        )  # fmt: skip
    first, last = moment_of(done.start).isoformat(), moment_of(done.end).isoformat()
    holes = [[moment_of(at).isoformat() for at in hole] for hole in done.holes]
    if as_json:
        print_json(asdict(done) | {"start": first, "end": last, "holes": holes})
        return
    print_table(str(folder), [{"file": name, "rows": rows} for name, rows in done.rows.items()])
    for since, until in holes:
        err.print(f"not recorded: {since} to {until}")
    print(f"trade-pipeline backtest --data {folder} --start {first} --end {last}")


@app.command()
def archive(
    before: Annotated[
        str, typer.Option(help="Months that were over at this day (UTC) or time with a zone.")
    ],
    dry_run: Annotated[bool, typer.Option(help="Only tell what would be moved.")] = False,
    as_json: Json = False,
) -> None:
    """Move old months of recorded markets from the database into the artifact store.

    `export` reads them there.  Months that an account's next session still reads stay.
    """
    from trade_pipeline.core.market.archive import archive_series
    from trade_pipeline.core.store.store import Store

    moment = read_moment("before", before)
    with Store.open(read_settings()) as store, rows_progress("archiving") as progress:
        done = archive_series(
            store.database, store.artifacts, moment, dry_run=dry_run, progress=progress
        )
    rows = [asdict(one) | {"month": f"{one.month:%Y-%m}"} for one in done]
    if as_json:
        print_json(rows)
    elif rows:
        print_table("recorded markets", rows)
    else:
        print(f"no month of a recorded market was over at {moment.isoformat()}")
