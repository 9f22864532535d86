"""How fast a session runs, and what of it the database takes: one command, compared in one run.

    python benchmarks/session.py [--market uniswap-v2 --data DIR --start DAY --end DAY] [--runs 3]

Prints events per second (median of the runs, every record durable), the share of the time spent
waiting for the database, peak memory, and beside it a plain COPY of the same rows into a table
without hashes, keys or triggers, and the time of one durable commit on this disk.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
from report.record import measured

from trade_pipeline.core.ids import micros
from trade_pipeline.core.ledger.journal import TABLES
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.source import MARKETS, open_market
from trade_pipeline.core.session.backtest import BacktestRun, run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", choices=MARKETS, default="simulated")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--start", default="2021-09-03")
    parser.add_argument("--end", default="2021-10-08")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    start = datetime.fromisoformat(options.start).replace(tzinfo=UTC)
    end = datetime.fromisoformat(options.end).replace(tzinfo=UTC)
    config = TradingConfig()

    def feed() -> MarketFeed:
        return open_market(
            options.market,
            data=options.data,
            seed=7,
            start=micros(start),
            end=micros(end),
            simulator=config.simulator,
        )

    # The server's watchdog leaves its folder a moment after the last user.
    with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        with server, Store.in_folder(Path(folder)) as store:
            runs = [
                # Another seed is another session: nothing is replayed.
                run_backtest(
                    store.database,
                    store.artifacts,
                    feed(),
                    start=start,
                    end=end,
                    seed=seed,
                    config=config,
                )
                for seed in range(options.runs)
            ]
            again = [
                run_backtest(
                    store.database,
                    store.artifacts,
                    feed(),
                    start=start,
                    end=end,
                    seed=seed,
                    config=config,
                )
                for seed in range(options.runs)
            ]
            plain = [_plain_copy(server.url("postgres"), run) for run in runs]
            commit = _commit_seconds(server.url("postgres"))
        server.stop()
    seconds = statistics.median(run.seconds for run in runs)
    waiting = [run.database_seconds / run.seconds for run in runs]
    copying = [copied / run.seconds for copied, run in zip(plain, runs, strict=True)]
    last = runs[-1]
    print(f"market                     {options.market}, {last.counts.events:,} events")
    print(f"events per second          {last.counts.events / seconds:,.0f} (median of {len(runs)})")
    print(
        f"events per second, replay  "
        f"{statistics.median(run.events_per_second for run in again):,.0f} "
        f"({sum(run.new_rows for run in again)} new rows)"
    )
    print(f"records                    {last.new_rows:,} in {seconds:.2f} s")
    told = f"{statistics.median(waiting):.0%} of the time, beside the session's own work"
    print(f"writer busy                {told}")
    told = f"{statistics.median(plain):.2f} s = {statistics.median(copying):.0%} of the session"
    print(f"plain COPY of the same     {told}")
    print(f"one durable commit         {commit * 1000:.2f} ms")
    print(f"peak memory                {last.peak_memory_mb:,.0f} MiB")
    size, name = f"{last.counts.events:,} events", f"session.{options.market}"
    measured(f"{name}.events_per_s", [run.counts.events / run.seconds for run in runs], size=size)
    measured(f"{name}.again_per_s", [run.events_per_second for run in again], size=size)
    measured(f"{name}.writer_share", [100 * share for share in waiting], size=size)
    measured(f"{name}.copy_share", [100 * share for share in copying], size=size)
    measured(f"{name}.peak_mib", [last.peak_memory_mb], size=size)


def _plain_copy(url: str, run: BacktestRun) -> float:
    """Seconds to COPY the session's rows as they are into bare tables."""
    elapsed = 0.0
    with psycopg.connect(url) as connection:
        for kind in TABLES:
            name = kind.TABLE
            rows = connection.execute(
                f"SELECT * FROM trade.{name} WHERE chain_id = %s",
                (run.session.session_id,),
            ).fetchall()
            connection.execute(f"CREATE TABLE IF NOT EXISTS bare_{name} (LIKE trade.{name})")
            connection.commit()
            started = time.perf_counter()
            with (
                connection.cursor() as cursor,
                cursor.copy(f"COPY bare_{name} FROM STDIN") as copy,
            ):
                for row in rows:
                    copy.write_row(row)
            connection.commit()
            elapsed += time.perf_counter() - started
    return elapsed


def _commit_seconds(url: str) -> float:
    """The median of 50 durable single-row commits: the floor that the disk sets."""
    found = []
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE one_row (n integer)")
        for number in range(50):
            started = time.perf_counter()
            connection.execute("INSERT INTO one_row VALUES (%s)", (number,))
            found.append(time.perf_counter() - started)
    return statistics.median(found)


if __name__ == "__main__":
    main()
