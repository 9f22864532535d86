"""How long a scan waits for the features of all its candidates: one command, compared in one run.

    python benchmarks/online.py [--reads 10000] [--tokens 100] [--features 70]

Prints the median and the 99th percentile of one read of all tokens from the embedded cache, beside
a bare PING (the round trip itself), and beside the same read from PostgreSQL, which is what is left
when the cache is down.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import redis
from report.record import measured, of_rounds

from trade_pipeline.core.features.hot import HotFeatures, read_features
from trade_pipeline.core.ids import moment_of, trade_uuid
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.market.event import HOUR, Floats
from trade_pipeline.core.records import FeatureRow, Record, Session, TradeCandidate
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.valkey_server import EmbeddedValkey

MARKET, FEATURE_SET, SESSION = "benchmark", "benchmark-1", "benchmark"
START = 1_640_995_200_000_000  # 2022-01-01
# Every token is a candidate this often within the oldest age that is read.
DECISIONS = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reads", type=int, default=10_000)
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--features", type=int, default=70)
    options = parser.parse_args()
    tokens = [f"0x{number:040x}" for number in range(options.tokens)]
    names = [f"feature_{number}" for number in range(options.features)]
    vectors = np.random.default_rng(7).normal(size=(len(tokens), len(names)))
    at, age = START + DECISIONS * HOUR, DECISIONS * HOUR
    known_at = np.full(len(tokens), at)

    # The servers' watchdogs leave their folders a moment after the last user.
    with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder:
        valkey = EmbeddedValkey(Path(folder) / "valkey")
        # Without a timeout: a slow answer is to be measured, not to be given up.
        client = redis.Redis(unix_socket_path=str(valkey.socket_path))
        with valkey, client, Database.embedded(Path(folder) / "pg") as database:
            _store(database, tokens, vectors)
            hot = HotFeatures(client, FEATURE_SET, names)
            without = HotFeatures(None, FEATURE_SET, names)
            assert hot.put(MARKET, tokens, known_at, vectors)

            def through(features: HotFeatures) -> Callable[[], object]:
                return lambda: read_features(features, database, MARKET, tokens, at, age)

            for features, source in ((hot, "cache"), (without, "database")):
                read = read_features(features, database, MARKET, tokens, at, age)
                assert set(read.source) == {source}
                assert read.vectors.tobytes() == vectors.tobytes()
            few = max(options.reads // 50, 20)
            print(f"{len(tokens)} tokens x {len(names)} features      reads   p50 ms   p99 ms")
            _measure("PING", options.reads, client.ping, "ping")
            _measure("cache, read", options.reads, through(hot), "online")
            _measure(
                "cache, write", options.reads, lambda: hot.put(MARKET, tokens, known_at, vectors)
            )
            _measure("PostgreSQL", few, through(without), "fallback")
        valkey.stop()


def _measure(name: str, times: int, act: Callable[[], object], key: str | None = None) -> None:
    taken = np.empty(times)
    for _ in range(times // 10):
        act()
    for number in range(times):
        started = time.perf_counter()
        act()
        taken[number] = time.perf_counter() - started
    middle, slow = np.percentile(taken, [50, 99]) * 1000
    print(f"{name:<28}{times:>9,}{middle:>9.3f}{slow:>9.3f}")
    if key is not None:
        for share in (50, 99):
            found = of_rounds(1_000 * taken, share)
            measured(f"features.{key}_p{share}_ms", found, size=f"{times:,} reads")


def _store(database: Database, tokens: list[str], vectors: Floats) -> None:
    """A session in which every token is a candidate each hour, with the same vector."""
    candidates: list[Record] = []
    rows: list[Record] = []
    for number in range(DECISIONS * len(tokens)):
        hour, token = divmod(number, len(tokens))
        decided = START + (hour + 1) * HOUR
        uuid = trade_uuid(SESSION, tokens[token], number, decided)
        candidates.append(
            TradeCandidate(
                uuid=uuid,
                session_id=SESSION,
                decision_no=number,
                instrument=tokens[token],
                decided_at=moment_of(decided),
                model_version="none",
                confidence=0.5,
                params_ptr="none",
                created_by="benchmark",
            )
        )
        vector = vectors[token].tolist()
        rows.append(FeatureRow(uuid, FEATURE_SET, moment_of(decided), vector, "0" * 64))
    session = Session(SESSION, mode="backtest", market=MARKET, code_version="1")
    with database.connect() as connection:
        append_bulk(connection, SESSION, [session, *candidates, *rows])


if __name__ == "__main__":
    main()
