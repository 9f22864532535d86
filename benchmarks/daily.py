"""What do days cost that are built apart, beside one build of the whole: one command, one run.

    python benchmarks/daily.py [--market uniswap-v2 --data DIR --start DAY --days N] [--json]

Runs a session into two fresh stores.  In the one its feature table and its labels are made at once;
in the other day by day, in a shuffled order, each day with its market opened anew as a run on
another machine does.  Prints wall time and processor time of both and their ratio, and fails unless
both stores hold the same rows.  The start of a run (loading the code, Dagster's events) is not
in it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from report.record import measured

from trade_pipeline.core.dataset.feature_build import build_features
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.source import MARKETS, open_market
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store


@dataclass
class Cost:
    """Seconds of the clock and of the processor."""

    wall: float = 0.0
    processor: float = 0.0

    @contextmanager
    def measured(self) -> Iterator[None]:
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self.wall += time.perf_counter() - wall
        self.processor += time.process_time() - processor


Between = tuple[int, int] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--market", choices=MARKETS, default="simulated")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--start", default="2021-05-01")
    parser.add_argument("--days", type=int, default=14)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    start = datetime.fromisoformat(options.start).replace(tzinfo=UTC)
    end = start + timedelta(days=options.days)
    config = TradingConfig()

    def market() -> MarketFeed:
        return open_market(
            options.market, data=options.data, seed=options.seed, start=micros(start),
            end=micros(end), simulator=config.simulator,
        )  # fmt: skip

    def run(store: Store) -> str:
        return run_backtest(
            store.database, store.artifacts, market(), start=start, end=end, seed=options.seed,
            config=config,
        ).session.session_id  # fmt: skip

    days: list[Between] = [(day, day + DAY) for day in range(micros(start), micros(end), DAY)]
    random.Random(options.seed).shuffle(days)
    whole = build(run, market, [None])
    apart = build(run, market, days)
    facts = {
        "market": options.market,
        "days": options.days,
        "decisions": whole.decisions,
        "same_rows": whole.rows == apart.rows,
    }
    for name in ("open", "features", "labels"):
        for kind in ("wall", "processor"):
            one, many = (getattr(made.costs[name], kind) for made in (whole, apart))
            facts[f"{name}_{kind}_seconds"] = {"one": one, "days": many, "ratio": many / one}
    for kind in ("wall", "processor"):
        one, many = (
            sum(getattr(cost, kind) for cost in made.costs.values()) for made in (whole, apart)
        )
        facts[f"all_{kind}_seconds"] = {"one": one, "days": many, "ratio": many / one}
    measured(
        "operations.days_apart_x",
        [facts["all_processor_seconds"]["ratio"]],
        size=f"{options.days} days, {options.market}",
    )
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            if isinstance(value, dict):
                value = (
                    f"one build {value['one']:.2f}, days {value['days']:.2f}, "
                    f"ratio {value['ratio']:.2f}"
                )
            print(f"{name.replace('_', ' '):<28}  {value}")
    if not facts["same_rows"]:
        sys.exit("days that are built apart give other rows than one build")


@dataclass
class Built:
    """What a way of building cost, and the hash of all rows that it made."""

    costs: dict[str, Cost]
    rows: str
    decisions: int


def build(
    run: Callable[[Store], str], market: Callable[[], MarketFeed], parts: Sequence[Between]
) -> Built:
    costs = {name: Cost() for name in ("open", "features", "labels")}
    decisions = 0
    # The server's watchdog leaves its folder a moment after the last user.
    with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        with server, Store.in_folder(Path(folder)) as store:
            session = run(store)
            for between in parts:
                with costs["open"].measured():
                    feed = market()
                    # Its content is asked for before anything is done with it.
                    feed.content_address()
                with costs["features"].measured():
                    made = build_features(
                        store.database, store.artifacts, feed, session, between=between
                    )
                decisions += made.rows
                with costs["labels"].measured():
                    label_session(store.database, store.artifacts, feed, session, between=between)
            rows = hashlib.sha256()
            with store.database.connect("trade_reader") as connection:
                for query in (
                    "SELECT uuid, content FROM trade.feature_rows ORDER BY uuid",
                    "SELECT uuid, revision, content FROM trade.outcomes WHERE kind = 'shadow' "
                    "ORDER BY uuid, revision",
                ):
                    for row in connection.execute(query):
                        rows.update(repr(row).encode())
        server.stop()
    return Built(costs, rows.hexdigest(), decisions)


if __name__ == "__main__":
    main()
