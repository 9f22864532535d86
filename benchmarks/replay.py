"""Is every decision of a session made again, bit for bit, and how fast: one command, one run.

    python benchmarks/replay.py [--market uniswap-v2 --data DIR --start DAY --end DAY] [--runs 3]

Runs a session into a fresh store, replays every trade of it from what is stored, and prints how
many are identical and the speed of the replay beside that of the run.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from report.record import counted, measured

from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.source import MARKETS, open_market
from trade_pipeline.core.replay import replay_session
from trade_pipeline.core.session.backtest import BacktestRun, run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", choices=MARKETS, default="simulated")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--start", default="2021-05-01")
    parser.add_argument("--end", default="2021-06-05")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    start = datetime.fromisoformat(options.start).replace(tzinfo=UTC)
    end = datetime.fromisoformat(options.end).replace(tzinfo=UTC)
    config = TradingConfig()

    def run(store: Store, seed: int) -> BacktestRun:
        feed = open_market(
            options.market, data=options.data, seed=seed, start=micros(start), end=micros(end),
            simulator=config.simulator,
        )  # fmt: skip
        return run_backtest(
            store.database, store.artifacts, feed, start=start, end=end, seed=seed, config=config
        )

    data = () if options.data is None else (options.data,)
    # The server's watchdog leaves its folder a moment after the last user.
    with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        with server, Store.in_folder(Path(folder)) as store:
            pairs = []
            for seed in range(options.runs):
                made, run_seconds = _timed(lambda seed=seed: run(store, seed))  # type: ignore[misc]
                name = made.session.session_id
                again, replay_seconds = _timed(
                    lambda name=name: replay_session(store, name, data=data)
                )  # type: ignore[misc]
                pairs.append((made, again, run_seconds, replay_seconds))
        server.stop()
    made, again, *_ = pairs[-1]
    (session,) = again.sessions
    ratio = statistics.median(mine / theirs for *_, mine, theirs in pairs)
    print(f"market                {options.market}, {made.counts.events:,} events")
    print(f"records               {session.records:,} compared of {made.new_rows:,} stored")
    print(f"trades                {session.trades:,}, skipped candidates included")
    print(f"identical             {session.identical:,} = {session.identical / session.trades:.2%}")
    print(f"run, market and all   {statistics.median(p[2] for p in pairs):.2f} s")
    print(f"replay, likewise      {statistics.median(p[3] for p in pairs):.2f} s")
    print(f"speed of the replay   {ratio:.2f} times the run's (median of {len(pairs)})")
    size, key = f"{made.counts.events:,} events", f"replay.{options.market}"
    replayed = [found.sessions[0] for _, found, *_ in pairs]
    same, of = (sum(getattr(one, name) for one in replayed) for name in ("identical", "trades"))
    counted(f"{key}.identical", same, of, size=size)
    measured(f"{key}.speed_x", [mine / theirs for *_, mine, theirs in pairs], size=size)
    if any(found.differs for _, found, *_ in pairs):
        sys.exit("a replay differs")


def _timed(action: Callable[[], Any]) -> tuple[Any, float]:
    began = time.perf_counter()
    return action(), time.perf_counter() - began


if __name__ == "__main__":
    main()
