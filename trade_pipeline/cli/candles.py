"""The command that makes a recording of one's own candles."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from trade_pipeline.cli.console import err, out, print_json, print_table
from trade_pipeline.cli.inputs import Json
from trade_pipeline.core.errors import BadConfig


def import_candles(
    files: Annotated[list[Path], typer.Argument(help="CSV files, or folders of them.")],
    out_: Annotated[Path, typer.Option("--out", help="New folder for the recording.")],
    map_: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="FIELD=COLUMN; fields: time, open, high, low, close, volume, symbol, market_cap.",
        ),
    ] = None,
    header: Annotated[
        str | None,
        typer.Option(help="Names of the columns, by commas, of files that do not begin with them."),
    ] = None,
    delimiter: Annotated[str, typer.Option(help="Between two values.")] = ",",
    time_unit: Annotated[
        str | None, typer.Option(help="s, ms, us or iso; unset, the values tell.")
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Of times without one, such as UTC or Europe/Berlin.")
    ] = None,
    stamped: Annotated[
        str, typer.Option(help="open or close: what of a candle its time is.")
    ] = "open",
    quote: Annotated[
        str | None, typer.Option(help="Currency of the prices, a dollar; unset, the symbol tells.")
    ] = None,
    volume_in: Annotated[str, typer.Option(help="base or quote currency.")] = "base",
    supply: Annotated[
        list[str] | None,
        typer.Option(help="SYMBOL=TOKENS in circulation, for a market cap: price times this."),
    ] = None,
    allow_gaps: Annotated[
        bool, typer.Option("--allow-gaps", help="Take candles as they are where some are missing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a recording (spot-1h) of candles in CSV files, for `--data`.

    Candles of a minute up to an hour become hourly bars.  Nothing is written where a row is wrong.
    """
    from trade_pipeline.core.imports.values import zone_of
    from trade_pipeline.core.market.candle_recording import import_candles
    from trade_pipeline.core.market.candles import CandleFormat

    form = CandleFormat(
        columns=dict(_pair("map", one) for one in map_ or []),
        header=None if header is None else [name.strip() for name in header.split(",")],
        delimiter=delimiter,
        time_unit=time_unit,
        zone=zone_of(timezone),
        stamped=stamped,
        quote=quote,
        volume_in=volume_in,
        supply=dict(_tokens(one) for one in supply or []),
        allow_gaps=allow_gaps,
    )
    with err.status("reading candles"):
        found = import_candles(files, form, out_)
    if as_json:
        print_json({"market": "spot-1h", "data": str(out_), "instruments": found})
        return
    print_table(str(out_), found)
    first = min(str(one["first"])[:10] for one in found)
    last = max(str(one["last"])[:10] for one in found)
    folder = shlex.quote(str(out_))
    following = f"trade-pipeline backtest --data {folder} --start {first} --end {last}"
    out.print(f"next: {following}", markup=False, soft_wrap=True)
    unknown = sum(one["market_cap"] == "unknown" for one in found)
    if unknown:
        out.print(
            f"{unknown} without a market cap: the strategy skips them (market_cap_unknown). Give "
            "--supply SYMBOL=TOKENS or a column (--map market_cap=COLUMN).",
            markup=False,
        )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise BadConfig(f"--{option} {text!r}: expected NAME=VALUE")
    return name, value


def _tokens(given: str) -> tuple[str, float]:
    symbol, text = _pair("supply", given)
    try:
        return symbol.upper(), float(text)
    except ValueError:
        raise BadConfig(f"--supply {given!r}: expected a number of tokens") from None
