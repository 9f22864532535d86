"""Commands about markets."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from trade_pipeline.cli.candles import import_candles
from trade_pipeline.cli.console import err, out, print_json, print_table
from trade_pipeline.cli.inputs import (
    ConfigFile,
    End,
    Json,
    Seed,
    Start,
    plain_settings,
    read_moment,
    read_settings,
)

if TYPE_CHECKING:
    from trade_pipeline.core.market.providers.merge import LiveToken
    from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider

app = typer.Typer(
    help="Tokens as providers know them now; recorded and simulated markets.",
    no_args_is_help=True,
)
app.command("import")(import_candles)

Chain = Annotated[str, typer.Argument(help="Such as ethereum, base or solana.")]
T = TypeVar("T")


@app.command()
def token(
    chain: Chain,
    contract: Annotated[str, typer.Argument(help="Address of the token's contract.")],
    as_json: Json = False,
) -> None:
    """Ask all providers about a token: market, facts, where they disagree, who failed."""
    _print(_asked(lambda market: market.token(chain, contract)), as_json)


@app.command()
def pair(
    symbol: Annotated[str, typer.Argument(help="A pair, such as PEPE/USDT.")],
    as_json: Json = False,
) -> None:
    """Ask the exchange of TRADE_PIPELINE_EXCHANGE about a pair."""
    _print(_asked(lambda market: market.pair(symbol)), as_json)


@app.command()
def scan(
    chain: Chain,
    most: Annotated[int, typer.Option(min=1, help="So many tokens are asked about.")] = 20,
    min_market_cap: Annotated[float, typer.Option(help="USD.")] = 100_000,
    max_market_cap: Annotated[float, typer.Option(help="USD.")] = 50_000_000,
    min_volume: Annotated[float, typer.Option(help="Of 24 hours, USD.")] = 100_000,
    as_json: Json = False,
) -> None:
    """Find tokens of low market cap and high volume, the largest volume first."""
    from trade_pipeline.core.market.providers.observation import Bounds

    within = Bounds(min_market_cap, max_market_cap, min_volume)
    with err.status(f"asking about tokens of {chain}"):
        found = _asked(lambda market: market.scan_low_caps(chain, within, most))
    if as_json:
        print_json({"tokens": [_facts(one) for one in found.tokens], "failures": found.failures})
        return
    rows = [
        {
            "symbol": one.symbol,
            "contract": one.contract,
            "price_usd": one.price_usd,
            "market_cap_usd": one.market_cap_usd,
            "volume_24h_usd": one.volume_24h_usd,
            "liquidity_usd": one.liquidity_usd,
            "disagreements": len(one.disagreements),
            "warnings": "; ".join(one.warnings),
        }
        for one in found.tokens
    ]
    if rows:
        print_table(f"{chain}: low caps", rows)
    else:
        out.print(f"{chain}: no token within the bounds")
    _print_failures(found.failures)


def _asked(question: Callable[[UnifiedMarketProvider], Awaitable[T]]) -> T:
    """The answer to one question; the raw answers behind it are kept nowhere."""
    from trade_pipeline.core.clock import SystemClock
    from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider

    async def ask() -> T:
        async with UnifiedMarketProvider.open(read_settings(), SystemClock()) as market:
            return await question(market)

    return asyncio.run(ask())


def _facts(token: LiveToken) -> dict[str, Any]:
    """What providers say together; their single answers are left out."""
    return {name: value for name, value in asdict(token).items() if name != "observations"}


def _print(token: LiveToken, as_json: bool) -> None:
    if as_json:
        print_json(_facts(token))
        return
    known = {
        name: getattr(token, name)
        for name in ("symbol", "contract", "pool", "price_usd", "market_cap_usd", "volume_24h_usd",
                     "liquidity_usd")
    } | token.facts.as_dict()  # fmt: skip
    print_table(
        token.symbol or token.contract or "token",
        [
            {"fact": name, "value": value, "source": token.sources.get(name, "-")}
            for name, value in known.items()
            if value is not None
        ],
    )
    print_table(
        "Providers disagree",
        [
            {"fact": one.field} | {name: str(value) for name, value in one.values.items()}
            for one in token.disagreements
        ],
    )
    for warning in token.warnings:
        out.print(f"warning: {warning}", style="yellow", markup=False)
    _print_failures(token.failures)


def _print_failures(failures: Mapping[str, str]) -> None:
    for why in failures.values():
        err.print(f"no answer: {why}", style="yellow", markup=False)


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
