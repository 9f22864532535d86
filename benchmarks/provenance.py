"""Trace, lineage and ingest beside many stored trades, in a server of its own.

    python benchmarks/provenance.py [--folder DIR] [--trades 10_000_000] [--floor-gb 8] [--keep]

Loads chained trades over several months, stops where the disk has less than the floor left, makes
datasets, models and deployments on them through the normal tables, and measures: the full trace of
a trade (its dossier without pictures, and with it the lineage up and down), the lineage of a
dataset, and the append path beside a plain COPY of the same rows.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path
from uuid import UUID

import numpy as np
import psutil
import psycopg
from provenance_ingest import INGEST_ROUNDS, MONTHS, ingest_rates
from provenance_rows import FIRST, LASTS, MARKET, SessionSpec, load_session
from report.record import measured, of_rounds

from trade_pipeline.core.canary.deployments import begin_canary, promote, record_look
from trade_pipeline.core.canary.record import CanaryEvaluation, Scope
from trade_pipeline.core.dataset.guards import GUARDS, GuardVerdict
from trade_pipeline.core.dataset.record import DatasetRecord, dataset_version
from trade_pipeline.core.dossier.gather import gather
from trade_pipeline.core.features.registry import feature_set
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.lineage.graph import Direction, Kind
from trade_pipeline.core.lineage.walk import lineage
from trade_pipeline.core.report.integrity import unfinished_sessions
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.training.registry import (
    read_model,
    record_eligible,
    record_evaluation,
    record_model,
    use_holdout,
)
from trade_pipeline.core.training.verdict import GateResult
from trade_pipeline.defs.checks import CHECKS

_GB = 1 << 30
_SESSION = 50_000
_DATASET = 100_000
# Of both lineages, what is asked for.
_TRACE_MS, _LINEAGE_S = 10.0, 1.0
SCOPE = Scope(MARKET)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stands in the store.

    Attributes:
        dataset: version of the one with the most trades.
        promoted: number of the deployment that rests on a canary.
    """

    specs: Sequence[SessionSpec]
    trades: int
    dataset: str
    members: int
    promoted: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, help="on the disk to be measured; not there yet")
    parser.add_argument("--trades", type=int, default=10_000_000)
    parser.add_argument("--floor-gb", type=float, default=8.0)
    parser.add_argument("--traces", type=int, default=2_000)
    parser.add_argument("--ingest", type=int, default=20_000, help="trades of the ingest rate")
    parser.add_argument("--keep", action="store_true", help="leave the data in the folder")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="benchmark"))
    run(
        folder, options.trades, floor=round(options.floor_gb * _GB),
        traces=options.traces, ingest=options.ingest, keep=options.keep,
    )  # fmt: skip


def run(
    folder: Path, trades: int, *, floor: int, traces: int, ingest: int, keep: bool = False
) -> dict[str, float]:
    """Load, measure, print; returns the figures by name."""
    if folder.exists() and any(folder.iterdir()):
        raise SystemExit(f"--folder {folder}: is not empty")
    folder.mkdir(parents=True, exist_ok=True)
    server = EmbeddedPostgres(folder / "postgres")
    try:
        with server, Store.in_folder(folder) as store:
            loaded = load(server, store, trades, floor)
            told = measure(server, store, loaded, traces, ingest)
        server.stop()
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)
    return told


def load(server: EmbeddedPostgres, store: Store, trades: int, floor: int) -> Loaded:
    """Fill the store with trades, and with what was made from them."""
    url, size = server.url("postgres"), min(_SESSION, max(500, trades // 16))
    started = time.perf_counter()
    with store.database.connect(autocommit=True) as connection:
        params = record_artifact(
            connection, store.artifacts, b'{"a": 1}', media_type="application/json"
        )
        last = FIRST + timedelta(days=31 * MONTHS) + LASTS
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (FIRST, last))
    number = max(8, -(-trades // size))
    # A quarter of them decided by the heuristic, from which the models learn.
    early = [
        SessionSpec(n, n % 2, size, params, HEURISTIC_VERSION) for n in range(max(4, number // 4))
    ]
    loaded = _load_sessions(url, early, floor, server.folder)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ANALYZE")
    with store.database.connect(autocommit=True) as connection:
        learned, members = _datasets(connection, loaded)
        production = _model(connection, store, "production", learned[0], 1)
        canary = _model(connection, store, "canary", learned[1], 2)
        promote(connection, SCOPE, production, by="ann", reason="first", override="no canary yet")
        begun = begin_canary(
            connection, SCOPE, canary, by="ann", reason="better",
            evidence={"terms": {"starts_at": FIRST.isoformat(), "production": production}},
        )  # fmt: skip
    late = [
        SessionSpec(
            n, 2 + n % (MONTHS - 2), size, params, production,
            # Two sessions saw the canary: 100,000 trades of its evidence.
            canary if n - len(early) < 2 else None,
        )
        for n in range(len(early), number)
    ]  # fmt: skip
    loaded += _load_sessions(url, late, floor, server.folder)
    with store.database.connect(autocommit=True) as connection:
        end = late[1].start + LASTS
        looks = [
            CanaryEvaluation(
                f"look {day}", canary, begun.deployment_id, end + timedelta(days=day),
                datetime.now(UTC), "extend" if day < 30 else "promote", ["a reason"],
                {"means": [0.01] * 30},
            )
            for day in range(31)
        ]  # fmt: skip
        for look in looks[:-1]:
            record_look(connection, SCOPE, look)
        promoted = promote(connection, SCOPE, canary, by="dagster", reason="earned", look=looks[-1])
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")
        connection.execute("CHECKPOINT")
    total = sum(spec.trades for spec in loaded)
    held = _folder_bytes(server.folder)
    print(
        f"loaded                     {total:,} trades in {time.perf_counter() - started:,.0f} s, "
        f"{held / _GB:.1f} GB, {held / total / 1000:.2f} kB a trade",
        flush=True,
    )
    measured("provenance.bytes_per_trade", [held / total], size=f"{total:,} trades")
    return Loaded(loaded, total, learned[0], members, promoted.deployment_id)


def _load_sessions(
    url: str, specs: Sequence[SessionSpec], floor: int, folder: Path
) -> list[SessionSpec]:
    """Load sessions, two at a time, while the disk has room; returns those that are stored."""
    done: list[SessionSpec] = []
    waiting = list(reversed(specs))
    running: dict[Future[int], SessionSpec] = {}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        while waiting or running:
            while waiting and len(running) < 2:
                free = shutil.disk_usage(folder).free
                if free < floor:
                    print(
                        f"the disk has {free / _GB:.1f} GB left, the floor is {floor / _GB:.1f} "
                        f"GB: {len(waiting)} sessions are not loaded",
                        flush=True,
                    )
                    waiting.clear()
                    break
                spec = waiting.pop()
                running[pool.submit(load_session, url, spec)] = spec
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                future.result()
                done.append(running.pop(future))
                if len(done) % 20 == 0:
                    print(f"  {sum(spec.trades for spec in done):,} trades", flush=True)
    if len(done) < min(4, len(specs)):
        raise SystemExit("the disk has no room for this benchmark: give a smaller --floor-gb")
    return sorted(done, key=lambda spec: spec.number)


def _datasets(
    connection: psycopg.Connection, specs: Sequence[SessionSpec]
) -> tuple[list[str], int]:
    """Two large datasets and twenty small ones; the first is over whole sessions of two months."""
    wanted = min(_DATASET, sum(spec.trades for spec in specs) // 2)
    per = max(1, wanted // specs[0].trades)
    # Neighbours are of two months, and a model needs thirty days.
    per = max(2, per)
    chosen = [specs[:per], specs[-per:]]
    versions = []
    for number, part in enumerate(chosen):
        uuids = [str(spec.uuid(place)) for spec in part for place in range(spec.trades)][:wanted]
        versions.append(_dataset(connection, f"large{number}", uuids, part))
    for number in range(20):
        spec = specs[number % len(specs)]
        uuids = [str(spec.uuid(place)) for place in range(number, spec.trades, 20)]
        _dataset(connection, f"small{number}", uuids, [spec])
    return versions, wanted


def _dataset(
    connection: psycopg.Connection, name: str, uuids: Sequence[str], specs: Sequence[SessionSpec]
) -> str:
    splits = ("train", "train", "train", "validation", "validation")
    members = {uuid: splits[place % len(splits)] for place, uuid in enumerate(uuids)}
    counts = {split: list(members.values()).count(split) for split in ("train", "validation")}
    bounds = {split: {"first": FIRST.isoformat(), "last": FIRST.isoformat()} for split in counts}
    content = {
        "name": name, "market": MARKET, "kind": "recorded", "feature_set": feature_set(),
        "feature_versions": {}, "config": {}, "labels": {}, "data_hash": name, "preparation": {},
        "counts": counts, "bounds": bounds, "session_ids": sorted(s.session_id for s in specs),
    }  # fmt: skip
    version = dataset_version(content, members)
    with connection.transaction():
        chain = read_chain(connection, f"dataset:{name}")
        append_now(connection, chain, DatasetRecord(version, **content))
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY trade.dataset_members (dataset_version, uuid, split) FROM STDIN"
            ) as copy,
        ):
            for uuid, split in members.items():
                copy.write_row((version, uuid, split))
    return version


def _model(
    connection: psycopg.Connection, store: Store, name: str, dataset: str, number: int
) -> str:
    """An eligible model on a dataset."""
    guards = [GuardVerdict(dataset, 0, guard, True, [], {}, []) for guard in GUARDS]
    append_bulk(connection, f"guards:{dataset}", guards)
    version = record_model(
        connection, store.artifacts, f'{{"n": {number}}}'.encode(), name=name, market=MARKET,
        kind="recorded", dataset_version=dataset, feature_set=feature_set(), code_version="1",
        environment="e", seed=number, params={}, config={}, metrics={}, inputs=["a"], trials=1,
    ).model_version  # fmt: skip
    held_out = FIRST - timedelta(days=number)
    use_holdout(connection, read_model(connection, version), held_out, held_out)
    required = connection.execute("SELECT name FROM trade.required_verdicts WHERE kind = 'gate'")
    said = [GateResult(gate, True, (), {}) for (gate,) in required]
    record_evaluation(connection, version, said, datetime.now(UTC))
    record_eligible(connection, version, 0)
    return version


def measure(
    server: EmbeddedPostgres, store: Store, loaded: Loaded, traces: int, ingest: int
) -> dict[str, float]:
    """Every figure, printed beside what is asked for.

    Traces: ``cold`` right after a restart, ``warm`` of trades that nobody asked for before,
    ``again`` of the same ones.  What the work took of a processor is told beside, because other
    programs' work makes every wait longer.
    """
    load = " ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"the machine                {os.cpu_count()} processors, load {load}", flush=True)
    told: dict[str, float] = {}
    size = f"{loaded.trades:,} trades"
    drawn = random.Random(1).sample(range(loaded.trades), min(2 * traces, loaded.trades))
    cold, warm = drawn[: len(drawn) // 2], drawn[len(drawn) // 2 :]
    _forget(server)
    with store.database.connect("trade_reader") as connection:
        for state, places in (("cold", cold), ("warm", warm), ("again", warm)):
            cpu = _cpu_seconds(connection)
            spent = _timed(connection, store.artifacts, (_uuid(loaded, place) for place in places))
            cpu = (_cpu_seconds(connection) - cpu) / len(spent)
            for name, share in (("p50", 50), ("p99", 99)):
                told[f"trace_{state}_{name}_ms"] = float(np.percentile(spent, share))
                measured(f"provenance.trace_{state}_{name}_ms", of_rounds(spent, share), size=size)
            print(
                f"full trace, {state:<14} p50 {told[f'trace_{state}_p50_ms']:6.2f} ms, "
                f"p99 {told[f'trace_{state}_p99_ms']:6.2f} ms of {len(spent):,}, "
                f"processor {1_000 * cpu:.2f} ms "
                f"({told[f'trace_{state}_p99_ms'] / _TRACE_MS:.2f} of what is asked for)",
                flush=True,
            )
    for state in ("cold", "warm"):
        if state == "cold":
            _forget(server)
        with store.database.connect("trade_reader") as connection:
            for way in Direction:
                started, cpu = time.perf_counter(), _cpu_seconds(connection)
                found = lineage(connection, Kind.DATASET, loaded.dataset, way)
                told[f"dataset_{way}_{state}_s"] = seconds = time.perf_counter() - started
                measured(f"provenance.dataset_{way}_{state}_s", [seconds], size=size)
                cpu = _cpu_seconds(connection) - cpu
                print(
                    f"dataset {way:<4} {state}          {seconds:.3f} s, "
                    f"{loaded.members:,} trades, {len(found.nodes)} nodes, processor {cpu:.3f} s "
                    f"({seconds / _LINEAGE_S:.2f} of what is asked for)",
                    flush=True,
                )
    with store.database.connect("trade_reader") as connection:
        for kind, name in (
            (Kind.DEPLOYMENT, str(loaded.promoted)),
            (Kind.SESSION, loaded.specs[-1].session_id),
        ):
            for way in Direction:
                started = time.perf_counter()
                lineage(connection, kind, name, way)
                print(f"{kind} {way:<17} {time.perf_counter() - started:.3f} s", flush=True)
    _checks(store, size)
    rounds = [ingest_rates(server, store, ingest, number) for number in range(INGEST_ROUNDS)]
    size = f"{ingest:,} trades"
    measured("provenance.ingest_per_s", [one["journal"] for one in rounds], size=size)
    measured("provenance.ingest_x", [one["journal"] / one["COPY"] for one in rounds], size=size)
    return told | rounds[-1]


def _checks(store: Store, size: str) -> None:
    """What each run of a session asks in the end."""
    with store.database.connect("trade_reader") as connection:
        started = time.perf_counter()
        unfinished = unfinished_sessions(connection)
        found = [check(connection) for *_, check in CHECKS]
        seconds = time.perf_counter() - started
    assert not any(found), found
    measured("provenance.checks_s", [seconds], size=size)
    told = f"{len(unfinished)} sessions without an end"
    print(f"checks of a session's run  {seconds:.3f} s, {told}", flush=True)


def _timed(
    connection: psycopg.Connection, artifacts: ArtifactStore, uuids: Iterator[UUID]
) -> list[float]:
    """Milliseconds of each trade's full trace."""
    spent = []
    for uuid in uuids:
        started = time.perf_counter()
        gather(connection, artifacts, uuid)
        spent.append(1_000 * (time.perf_counter() - started))
    return spent


def _cpu_seconds(connection: psycopg.Connection) -> float:
    """What this process and the connection's server process took of the processors so far."""
    spent = psutil.Process(connection.info.backend_pid).cpu_times()
    return time.process_time() + spent.user + spent.system


def _uuid(loaded: Loaded, place: int) -> UUID:
    size = loaded.specs[0].trades
    return loaded.specs[place // size].uuid(place % size)


def _forget(server: EmbeddedPostgres) -> None:
    """Empty the server's cache, and ask the kernel to drop its own of these files."""
    server.stop()
    for file in server.folder.rglob("*"):
        if file.is_file():
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
    server.ensure_running()


def _folder_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


if __name__ == "__main__":
    main()
