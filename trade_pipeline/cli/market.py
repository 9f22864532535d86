"""Commands about markets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from trade_pipeline.cli.console import err, print_json, print_table
from trade_pipeline.cli.inputs import (
    ConfigFile,
    End,
    Json,
    Seed,
    Start,
    plain_settings,
    read_moment,
)

app = typer.Typer(help="Recorded and simulated markets.", no_args_is_help=True)


@app.command()
def calibrate(
    data: Annotated[Path, typer.Option(help="Folder of a Uniswap V2 tape.")],
    start: Start = "2021-09-03",
    end: End = "2021-10-08",
    seed: Seed = 7,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Print statistics of a tape and of the simulated market side by side."""
    from trade_pipeline.core.ids import micros
    from trade_pipeline.core.market.calibration import calibrate as compare
    from trade_pipeline.core.market.source import open_market
    from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
    from trade_pipeline.core.session.config import TradingConfig

    first, last = micros(read_moment("start", start)), micros(read_moment("end", end))
    trading = TradingConfig.parse(plain_settings(config, []))
    simulated = open_market(
        "simulated", data=None, seed=seed, start=first, end=last, simulator=trading.simulator
    )
    with err.status("measuring both markets"):
        rows = compare(UniswapV2Tape(data), simulated, first, last)
    if as_json:
        print_json([asdict(row) for row in rows])
    else:
        print_table(
            f"{data} and the simulator (seed {seed})",
            [{k: v for k, v in asdict(row).items() if k != "meaning"} for row in rows],
        )
