"""Opens a market by its kind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.recorded import MANIFEST, RecordedMarket, read_manifest
from trade_pipeline.core.market.simulator import SimulatedMarket, SimulatorConfig
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape

RECORDED: dict[str, Callable[[Path], MarketFeed]] = {
    "uniswap-v2": UniswapV2Tape,
    "spot-1h": HourlyBars,
}
MARKETS = (*RECORDED, "simulated")


def market_in(folder: Path) -> str:
    """The kind of recording that a folder holds.

    Raises:
        BadMarketData: none that is known.
    """
    if (folder / MANIFEST).is_file():
        return read_manifest(folder).market
    if (folder / "tape.parquet").is_file():
        return "uniswap-v2"
    if (folder / "ohlcv_1h").is_dir():
        return "spot-1h"
    raise BadMarketData(
        f"{folder}: no recording; expected tape.parquet (uniswap-v2), ohlcv_1h/ (spot-1h) or "
        f"{MANIFEST} (of a live market)"
    )


def open_market(
    kind: str,
    *,
    data: Path | None,
    seed: int,
    start: int,
    end: int,
    simulator: SimulatorConfig,
    mentions: Path | None = None,
) -> MarketFeed:
    """The market of a kind: a recording's folder, or a simulation.

    Args:
        start, end: the session's range, microseconds since 1970-01-01 UTC.  The simulation lives
            as long, unless its settings say from when to when.
        mentions: for spot-1h, a folder with hourly counts of mentions.

    Raises:
        BadConfig: the kind does not exist, or lacks (or cannot use) a folder; the range is not
            inside the simulation's.
        BadMarketData: the recording is missing or wrong.
    """
    if data is not None and (data / MANIFEST).is_file():
        return _recorded(kind, data, mentions)
    if mentions is not None and kind != "spot-1h":
        raise BadConfig(f"mentions={str(mentions)!r}: market {kind} uses none, only spot-1h does")
    if kind == "simulated":
        if data is not None:
            raise BadConfig(f"data={str(data)!r}: the simulated market reads no recording")
        return SimulatedMarket(simulator, seed, *simulator.range_for(start, end))
    if kind not in RECORDED:
        raise BadConfig(f"market={kind!r}: expected one of {', '.join(MARKETS)}")
    if data is None:
        raise BadConfig(f"data=None: market {kind} needs the folder of its recording")
    if kind == "spot-1h":
        return HourlyBars(data, mentions)
    return RECORDED[kind](data)


def _recorded(kind: str, data: Path, mentions: Path | None) -> RecordedMarket:
    """The recording of a live market, whatever its kind."""
    market = RecordedMarket(data)
    if market.kind != kind:
        raise BadConfig(f"market={kind!r}: {data} is a recording of {market.kind!r}")
    if mentions is not None:
        raise BadConfig(
            f"mentions={str(mentions)!r}: the recording of a live market holds those it knew"
        )
    return market
