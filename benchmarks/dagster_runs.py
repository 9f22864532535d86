"""What Dagster itself costs: storing what was made, and a run as a process of its own.

    python benchmarks/dagster_runs.py [--materialisations 2000] [--runs 5]

Prints how many materialisations one process stores in a second, through the pooled storage of the
product and through Dagster's own, which opens a connection for each statement, and the seconds of a
run that does next to nothing, from the start of its process to its end.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import dagster as dg
from dagster._core.events import StepMaterializationData
from dagster_postgres.event_log import PostgresEventLogStorage
from report.record import measured

from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.requests import order_session
from trade_pipeline.core.store.database import Database
from trade_pipeline.defs.instance import dagster_instance, dagster_server
from trade_pipeline.settings import Settings

_ROUNDS = 3
_RUN = """
import sys
import dagster as dg
from trade_pipeline.definitions import defs
from trade_pipeline.defs.instance import run_job
with dg.DagsterInstance.get() as instance:
    ran = run_job(instance, "halt_job", {"order_halt_op": {"account": "paper", "reason": "test"}})
sys.exit(str(ran.failures) if ran.failures else 0)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--materialisations", type=int, default=2_000)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder:
        settings = Settings(_env_file=None, home=Path(folder))  # type: ignore[call-arg]
        with dagster_server(settings) as server, dagster_instance(settings, server) as instance:
            assert server is not None
            _materialisations(instance, options.materialisations)
            with Database.embedded(server.folder) as database:
                _somebody_trades(database)
            # In the environment of the instance.
            spent = [_run() for _ in range(options.runs)]
    measured("operations.run_s", spent, size="halt_job")
    print(f"a run in a process of its own   {min(spent):.2f} to {max(spent):.2f} s")


def _materialisations(instance: dg.DagsterInstance, number: int) -> None:
    pooled = instance.event_log_storage
    assert isinstance(pooled, PostgresEventLogStorage)
    plain = PostgresEventLogStorage(pooled.postgres_url, should_autocreate_tables=False)
    plain.register_instance(instance)
    found: dict[str, list[float]] = {"pooled": [], "Dagster's own": []}
    for _ in range(_ROUNDS):
        found["pooled"].append(_rate(pooled, number))
        found["Dagster's own"].append(_rate(plain, number // 10))
    size = f"{number:,} of one asset, a tenth of them by Dagster's own"
    measured("operations.materialisations_per_s", found["pooled"], size=size)
    kept, opened = found.values()
    measured(
        "operations.materialisations_x",
        [one / other for one, other in zip(kept, opened, strict=True)], size=size,
    )  # fmt: skip
    for name, rates in found.items():
        print(f"materialisations, {name:<14}{min(rates):,.0f} to {max(rates):,.0f} a second")


def _rate(storage: PostgresEventLogStorage, number: int) -> float:
    """Materialisations that a storage stores in a second, one after the other."""
    made = dg.AssetMaterialization("benchmark", metadata={"rows": 1})
    event = dg.DagsterEvent(
        dg.DagsterEventType.ASSET_MATERIALIZATION.value, "benchmark",
        event_specific_data=StepMaterializationData(made),
    )  # fmt: skip
    run_id = str(uuid.uuid4())
    began = time.perf_counter()
    for _ in range(number):
        storage.store_event(
            dg.EventLogEntry(
                error_info=None, level=logging.INFO, user_message="", run_id=run_id,
                timestamp=time.time(), job_name="benchmark", dagster_event=event,
            )
        )  # fmt: skip
    return number / (time.perf_counter() - began)


def _somebody_trades(database: Database) -> None:
    """So that it can be halted."""
    with database.connect(autocommit=True) as connection:
        order_session(connection, LiveConfig(account="paper"), by="a benchmark", wanted=False)


def _run() -> float:
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", _RUN], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
