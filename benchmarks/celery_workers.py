"""How much faster is an experiment on two Celery workers than on one, or in one process: one run.

    python benchmarks/celery_workers.py [--days 28] [--seeds 10] [--rounds 3] [--json]

Each measurement is the same experiment on a cluster of its own (PostgreSQL, Valkey, S3, workers
with homes of their own), whose workers have executed a session before.  Without a broker it is
`--workers 1`: the command's one process for sessions, which it starts anew.  Prints the wall time
of `trade-pipeline experiment run` and of its runs alone, beside what two processes that only
compute gain over one on this machine at the same time, and how busy it was.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psutil
import psycopg
from cluster import Cluster
from report.record import measured

_PATIENCE = 3600.0
_NO_BROKER = 0
_NAMES = {_NO_BROKER: "one_process", 1: "one_worker", 2: "two_workers"}
_LOOP = "sum(i * i for i in range(30_000_000))"
_FILE = """
name: {name}
market: simulated
start: {start}
end: {end}
seeds: {seeds}
set: {{simulator.burn_in_days: 3}}
grid: {{strategy.exits.stop_loss: [0.15, 0.3]}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--days", type=int, default=28)
    parser.add_argument("--seeds", type=int, default=10, help="markets; two sessions on each")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    psutil.cpu_percent()
    found: dict[int, list[dict[str, float]]] = {workers: [] for workers in _NAMES}
    floors = []
    for number in range(options.rounds):
        # None is always first: what else runs on the machine changes.
        for workers in _NAMES if number % 2 == 0 else reversed(_NAMES):
            with tempfile.TemporaryDirectory(
                prefix="benchmark", ignore_cleanup_errors=True
            ) as folder:
                found[workers].append(one_round(Path(folder), workers, options.days, options.seeds))
        floors.append(_gain_of_computing())
    facts = _facts(found, floors, 2 * options.seeds)
    for figure, workers in (("process", _NO_BROKER), ("worker", 1)):
        measured(
            f"operations.workers_against_a_{figure}_x",
            [
                one["command"] / two["command"]
                for one, two in zip(found[workers], found[2], strict=True)
            ],
            size=f"{2 * options.seeds} sessions of {options.days} days",
        )
    if options.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name.replace('_', ' '):>34}  {value}")


def one_round(folder: Path, workers: int, days: int, seeds: int) -> dict[str, float]:
    """One experiment on so many workers; seconds of the command and of its runs."""
    with Cluster(folder) as cluster:
        if workers == _NO_BROKER:
            del cluster.shared["TRADE_PIPELINE_BROKER_URL"]
        for number in range(workers):
            cluster.worker(f"machine{number}")
        # As many sessions at once as there are workers: each has imported what a session needs.
        _run(cluster, "warm", days=2, seeds=[1000 + n for n in range(workers or 1)])
        began = time.perf_counter()
        _run(cluster, "measured", days=days, seeds=list(range(1, seeds + 1)))
        seconds = time.perf_counter() - began
        url = cluster.shared["TRADE_PIPELINE_DAGSTER_URL"].replace("+psycopg2", "")
        with psycopg.connect(url) as connection:
            row = connection.execute(
                "SELECT max(r.end_time) - min(r.start_time), sum(r.end_time - r.start_time) "
                "FROM runs r JOIN run_tags t USING (run_id) "
                "WHERE t.key = 'trade_pipeline/experiment' AND t.value = 'measured'"
            ).fetchone()
    assert row is not None
    return {"command": seconds, "runs": row[0], "busy": row[1]}


def _run(cluster: Cluster, name: str, days: int, seeds: list[int]) -> None:
    start = date(2026, 1, 5)
    file = cluster.folder / f"{name}.yaml"
    file.write_text(
        _FILE.format(name=name, start=start, end=start + timedelta(days=days), seeds=seeds)
    )
    alone = () if "TRADE_PIPELINE_BROKER_URL" in cluster.shared else ("--workers", "1")
    asked = cluster.command(
        "asker", "experiment", "run", "--json", *alone, str(file), stdout=subprocess.PIPE
    )
    out, _ = asked.communicate(timeout=_PATIENCE)
    if asked.returncode or json.loads(out)["failed"]:
        sys.exit(f"the experiment {name} failed: {out.decode()}")


def _gain_of_computing() -> float:
    """How much more two processes compute than one, now."""

    def seconds(processes: int) -> float:
        began = time.perf_counter()
        running = [subprocess.Popen([sys.executable, "-c", _LOOP]) for _ in range(processes)]
        for one in running:
            one.wait()
        return time.perf_counter() - began

    return 2 * seconds(1) / seconds(2)


def _facts(
    found: dict[int, list[dict[str, float]]], floors: list[float], sessions: int
) -> dict[str, Any]:
    def median(workers: int, what: str) -> float:
        return statistics.median(one[what] for one in found[workers])

    facts: dict[str, Any] = {"sessions": sessions, "measurements_of_each": len(floors)}
    for what in ("command", "runs"):
        seconds = {workers: median(workers, what) for workers in found}
        for workers, name in _NAMES.items():
            facts[f"{what}_seconds_{name}"] = round(seconds[workers], 2)
        facts[f"{what}_ratio_to_one_process"] = round(seconds[_NO_BROKER] / seconds[2], 3)
        facts[f"{what}_ratio_to_one_worker"] = round(seconds[1] / seconds[2], 3)
    return facts | {
        "ratio_of_computing_alone": round(statistics.median(floors), 3),
        "seconds_of_each": {
            _NAMES[workers]: [round(one["command"], 1) for one in rounds]
            for workers, rounds in found.items()
        },
        "processors": os.cpu_count(),
        "processors_busy_percent": psutil.cpu_percent(),
        "load_average": [round(one, 1) for one in os.getloadavg()],
    }


if __name__ == "__main__":
    main()
