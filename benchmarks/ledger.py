"""How long a verification of the ledger takes, beside a plain COPY of the same rows, and a head.

    python benchmarks/ledger.py [--records 1000000]

The records are those of sessions: of each decision its candidate, its research with 40 facts and
its vector of 40 features, of two in three decisions also two fills and an outcome.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import psycopg
from report.record import measured

from trade_pipeline.core.features.vector import vector_hash
from trade_pipeline.core.ids import client_order_id, micros, trade_uuid
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.heads import write_heads
from trade_pipeline.core.ledger.tables import record_tables
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.records import (
    ExecutionRecord,
    FeatureRow,
    Record,
    ResearchDocument,
    Session,
    TerminationReason,
    TradeCandidate,
    TradeOutcome,
)
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.head_files import HeadFiles

PER_SESSION = 50_000
START = datetime(2026, 1, 1, tzinfo=UTC)
FEATURES = 40
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    wanted = parser.parse_args().records
    with (
        tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder,
        Database.embedded(Path(folder, "postgres")) as database,
        database.connect(autocommit=True) as connection,
    ):
        files = HeadFiles(str(Path(folder, "heads")))
        _fill(connection, files, wanted)
        _one_head(connection, files)
        copies, verifications = [], []
        for _ in range(ROUNDS):
            copies.append(_copy(database.url("trade_reader")))
            report = verify_url(database.url("trade_reader"), files)
            assert report.intact, report.verdict
            verifications.append(report.seconds)
        floor, took = statistics.median(copies), statistics.median(verifications)
        size = f"{report.records:,} records"
        measured("ledger.verify_s", verifications, size=size)
        measured("ledger.verify_rows_per_s", [report.records / one for one in verifications],
                 size=size)  # fmt: skip
        ratios = [one / copied for one, copied in zip(verifications, copies, strict=True)]
        measured("ledger.verify_copies_x", ratios, size=size)
        print(f"{report.verdict}")
        print(f"plain COPY out of the same rows   {floor:6.1f} s")
        print(f"verification                      {took:6.1f} s, {took / floor:.1f} x the COPY")
        print(f"records per second                {report.records / took:,.0f}")


def _fill(connection: psycopg.Connection, files: HeadFiles, wanted: int) -> None:
    stored, appending, covering = 0, 0.0, 0.0
    number = 0
    while stored < wanted:
        records = list(_records(number, min(PER_SESSION, wanted - stored)))
        started = time.perf_counter()
        stored += append_bulk(connection, f"session-{number}", records)
        appending += time.perf_counter() - started
        started = time.perf_counter()
        write_heads(connection, files)
        covering += time.perf_counter() - started
        number += 1
    print(f"{stored:,} records appended in {appending:.1f} s, {number} heads in {covering:.1f} s")


def _one_head(connection: psycopg.Connection, files: HeadFiles) -> None:
    """What a live session's head costs: 60 records among all the others."""
    times = []
    for number in range(20):
        chain = read_chain(connection, "session-0")
        records = list(_records(10_000 + number, 61))[1:]
        for record in records:
            append_now(connection, chain, record)
        started = time.perf_counter()
        write_heads(connection, files)
        times.append(1_000 * (time.perf_counter() - started))
    measured("ledger.head_ms", times)
    print(f"a head over 60 new records        p50 {statistics.median(times):.1f} ms, "
          f"worst {max(times):.1f} ms")  # fmt: skip


def _copy(url: str) -> float:
    started = time.perf_counter()
    with psycopg.connect(url) as connection:
        for table in record_tables(connection):
            query = f"COPY (SELECT * FROM trade.{table.name}) TO STDOUT (FORMAT binary)"
            with connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
                for _ in copy:
                    pass
    return time.perf_counter() - started


def _records(number: int, count: int) -> Iterator[Record]:
    rng = np.random.default_rng(number)
    session = f"session-{number}"
    yield Session(session, "backtest", "simulated", "1", seed=number)
    made, decision = 1, 0
    while made < count:
        for record in _trade(session, decision, rng):
            if made < count:
                yield record
                made += 1
        decision += 1


def _trade(session: str, decision: int, rng: np.random.Generator) -> Iterator[Record]:
    decided = START + timedelta(seconds=137 * decision)
    uuid = trade_uuid(session, "TOKEN", decision, micros(decided))
    values = rng.random(FEATURES)
    address = "sha256:" + "a" * 64
    digest = vector_hash(values)
    entered = decision % 3 != 2
    yield TradeCandidate(
        uuid, session if not session.startswith("session-100") else "session-0", decision,
        f"0x{decision:040x}", decided, "heuristic-1", float(values[0]), address, "benchmark",
        "enter" if entered else "skip", "confidence", 100.0 * float(values[1]),
        feature_hash=digest,
    )  # fmt: skip
    facts = {f"fact_{n:02}": float(value) for n, value in enumerate(values)}
    yield ResearchDocument(
        uuid, f"0x{decision:040x}", 1e6 * float(values[2]),
        {name: float(values[n]) for n, name in enumerate(("owner", "liquidity", "tax"))},
        {"votes": float(values[3])}, "benchmark", float(values[4]) + 1e-9, 1e5 * float(values[5]),
        1e4, 250, decided, float(values[6]), float(values[7]), facts=facts,
        market={"return_1h": float(values[8]), "volatility_24h": float(values[9])},
    )  # fmt: skip
    yield FeatureRow(uuid, "features-1", decided, values.tolist(), digest)
    if not entered:
        return
    for minutes, leg in ((0, "entry"), (90, "exit")):
        price = {f"{leg}_price": 0.001 * (1 + float(values[10]))}
        yield ExecutionRecord(
            uuid, client_order_id(uuid, leg), size=1e5, leg=leg, slippage=0.002,
            occurred_at=decided + timedelta(minutes=minutes), value_usd=100.0,
            latency_metrics={"sent_ms": 12.5}, costs_usd={"gas": 0.5, "fee": 0.3}, **price,
        )  # fmt: skip
    yield TradeOutcome(
        uuid,
        100 * (float(values[11]) - 0.5),
        5400.0,
        TerminationReason.PROFIT_TARGET,
        closed_at=decided + timedelta(minutes=90),
        pnl_usd=float(values[12]),
        fees_usd=1.6,
    )


if __name__ == "__main__":
    main()
