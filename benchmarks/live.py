"""How fast a live session is: one command, compared in one run.

    python benchmarks/live.py [--days 1] [--tokens 10000] [--candidates 100] [--sustained MINUTES]

Prints the median from an event's arrival to its order's durable intent beside the floor of this
machine (one durable commit of one row, made beside each intent: a disk is not always as fast), and
how long a scan of all tokens takes.  With ``--sustained`` it prints instead how late a session is
and what memory it keeps under 1,000 events a second of the wall's time.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from itertools import chain
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from report.record import measured
from sustained import sustained

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.config import LiveConfig, LiveLimits
from trade_pipeline.core.live.engine import LiveEngine
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.limits import Limits
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.live.run import run_live
from trade_pipeline.core.market.event import (
    DAY,
    HOUR,
    Instrument,
    Ints,
    MarketBatch,
)
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.records import Record, Session
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings

START = 1_640_995_200_000_000  # 2022-01-01
ROUNDS = 3
EAGER = {
    "strategy": {
        "universe": {"min_volume_24h_usd": 2_000, "min_liquidity_usd": 5_000},
        "signal": {"min_confidence": 0.2, "max_rug_risk": 0.95, "min_move_24h": 0},
        "protections": {"daily_loss_limit": 1, "max_drawdown": 1},
    },
    "simulator": {"pools_per_day": 30, "burn_in_days": 2, "trades_max": 800},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=float, default=3.0)
    parser.add_argument("--tokens", type=int, default=10_000)
    parser.add_argument("--candidates", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be measured")
    parser.add_argument("--sustained", type=float, default=None, help="minutes of steady load")
    options = parser.parse_args()
    if options.sustained is not None:
        with (
            tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder,
            Store.in_folder(Path(folder)) as store,
        ):
            sustained(store, EAGER, START, options.sustained)
        return
    rounds = []
    for _ in range(ROUNDS):
        with (
            tempfile.TemporaryDirectory(dir=options.folder, ignore_cleanup_errors=True) as folder,
            Store.in_folder(Path(folder)) as store,
        ):
            rounds.append(intents(store, options.days))
    record(rounds, options.days)
    entries, exits, floors = (
        list(chain.from_iterable(found)) for found in zip(*rounds, strict=True)
    )
    floor, slow = np.quantile(floors, [0.5, 0.99])
    print(
        f"one durable commit of one row      {1e3 * floor:8.2f} ms median, {1e3 * slow:.2f} ms p99"
    )
    bound, bound_99 = bounds(floor, slow)
    for name, seconds in (("entry", entries), ("exit", exits)):
        middle, worst = np.quantile(seconds, [0.5, 0.99])
        print(
            f"event to durable intent, {name:<9} {1e3 * middle:8.2f} ms median, "
            f"{1e3 * worst:.2f} ms p99, {len(seconds)} orders, bounds {1e3 * bound:.2f} and "
            f"{1e3 * bound_99:.2f} ms"
        )
    taken = asyncio.run(scan(options.tokens, options.candidates))
    size = f"{options.tokens:,} tokens, {options.candidates} candidates"
    measured("live.scan_ms", [1e3 * one for one in taken], size=size)
    print(
        f"{options.tokens:,} tokens, {options.candidates} candidates: "
        f"{1e3 * np.median(taken):8.2f} ms median, {1e3 * max(taken):.2f} ms worst"
    )


def bounds(floor: float, slow: float) -> tuple[float, float]:
    """What median and 99th percentile may be, by those of a commit; all in seconds."""
    return max(1.5 * floor, floor + 0.003), max(3 * slow, slow + 0.01)


def record(rounds: list[tuple[list[float], list[float], list[float]]], days: float) -> None:
    """Each round's percentiles, and against the bounds by the commits of the same round."""
    size = f"{days:g} days of market, {len(rounds)} times"
    quantiles = np.array([[np.quantile(one, [0.5, 0.99]) for one in found] for found in rounds])
    limits = np.array([bounds(*commit) for commit in quantiles[:, 2]])
    for column, percent in enumerate((50, 99)):
        for row, what in enumerate(("entry", "exit", "commit")):
            found = quantiles[:, row, column]
            measured(f"live.{what}_p{percent}_ms", 1e3 * found, size=size)
        for row, leg in enumerate(("entry", "exit")):
            share = quantiles[:, row, column] / limits[:, column]
            measured(f"live.{leg}_p{percent}_of_bound", share, size=size)


def intents(store: Store, days: float) -> tuple[list[float], list[float], list[float]]:
    """Seconds from a batch's arrival to each intent in it, entries and exits, and of commits."""
    config = LiveConfig.parse(
        {
            "trading": EAGER,
            "replay": {
                "start": moment_of(START), "end": moment_of(START + int(days * DAY)),
                "seed": 3, "speed": 0,
            },
        }
    )  # fmt: skip
    arrived = 0.0
    taken: dict[str, list[float]] = {"entry": [], "exit": []}
    floors: list[float] = []
    on_batch, commit = LiveEngine.on_batch, LiveJournal.commit

    async def timed_batch(self: LiveEngine, batch: LiveBatch, *, scan: bool) -> None:
        nonlocal arrived
        arrived = time.perf_counter()
        await on_batch(self, batch, scan=scan)

    def timed_commit(self: LiveJournal, *given: Any) -> Any:
        made = commit(self, *given)
        for intent in made:
            taken[intent.leg].append(time.perf_counter() - arrived)
            began = time.perf_counter()
            connection.execute(
                "INSERT INTO trade.artifacts (address, uri, size_bytes, media_type) "
                "VALUES (%s, '', 0, '')",
                (f"sha256:{len(floors):064x}",),
            )
            floors.append(time.perf_counter() - began)
        return made

    with (
        store.database.connect(autocommit=True) as connection,
        mock.patch.object(LiveEngine, "on_batch", timed_batch),
        mock.patch.object(LiveJournal, "commit", timed_commit),
    ):
        run_live(store, config, Settings(), holder="benchmark")
    return taken["entry"], taken["exit"], floors


class ManyTokens(EventsOnly):
    """A market of pools of which nothing but their trades is known."""

    kind = "simulated"

    def __init__(self, tokens: int) -> None:
        self.instruments = [Instrument(f"token-{number}") for number in range(tokens)]


class Discarded:
    """Where records go that nobody reads."""

    def append(self, record: Record) -> None:
        pass


async def scan(tokens: int, candidates: int, scans: int = 10) -> list[float]:
    """Seconds of each scan over a market in which every token has moved."""
    config, feed = TradingConfig.parse(EAGER), ManyTokens(tokens)
    session = Session("scan", "paper", "simulated", "1", None, moment_of(START), params_ptr="p")

    async def settle(at: int) -> None:
        pass

    engine = LiveEngine(
        session, config, account="a", epoch=1, feed=feed, looks_from=START,
        limits=Limits(LiveLimits()), halted=lambda: "halted", settle=settle,
        venue=config.venue("simulated"), clock=MarketClock(START), journal=Discarded(),
    )  # fmt: skip
    random = np.random.default_rng(0)
    for hour in range(24):
        # Not every token trades in every hour.
        traded = np.flatnonzero(random.random(tokens) < 0.7)
        engine.pass_over(events(tokens, candidates, START - (24 - hour) * HOUR, traded))
    taken = []
    for number in range(scans):
        at = START + number * HOUR
        batch = LiveBatch(at + 1_000_000, events(tokens, candidates, at))
        began = time.perf_counter()
        await engine.on_batch(batch, scan=True)
        taken.append(time.perf_counter() - began)
    assert engine.decisions == scans * candidates
    return taken


def events(tokens: int, candidates: int, at: int, traded: Ints | None = None) -> MarketBatch:
    """A trade of every token, or of some; the last ones are too large for the strategy."""
    random = np.random.default_rng(at // HOUR)
    price = 0.01 * np.exp(random.normal(0, 0.1, tokens))
    cap = np.where(np.arange(tokens) < candidates, 1e6, 1e9)
    ones, nan = np.ones(tokens), np.full(tokens, np.nan)
    moments = np.full(tokens, at)
    batch = MarketBatch(
        np.arange(tokens, dtype=np.int32), moments, moments, price, nan, nan, nan, 20_000 * ones,
        10 * ones, 100_000 * ones, 0 * ones, cap, 25 * ones, 50_000 / price, 2_000 * ones,
    )  # fmt: skip
    return batch if traded is None else batch.take(traded)


if __name__ == "__main__":
    main()
