"""How long a model takes to be stored, loaded and asked: one command, compared in one run.

    python benchmarks/models.py [--models 20] [--mlflow]

Trains a model on the candidates of a simulated market and prints

- log, store and register: everything beyond the training, from its result to the committed record
  with its evidence and the file under its hash, in the durable embedded PostgreSQL; with --mlflow
  beside MLflow's log_model with a registered name, in an environment of its own under the system's
  temporary folder, of the regressor's trees alone: no classifier, no evidence;
- load and first prediction: the file read, its hash checked, one candidate asked;
- predictions of one candidate and of 10,000, and one candidate's contributions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import numpy as np
from report.record import measured, of_rounds

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.engineer import FeatureEngineer
from trade_pipeline.core.dataset.rows import DatasetRows, read_rows
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.register import load_model, register_model
from trade_pipeline.core.training.train import Training, train

MLFLOW = "mlflow==3.17.2"
# About 10,000 rows to learn from.
START, END = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 4, 13, tzinfo=UTC)
CANDIDATES = 10_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", type=int, default=20, help="that are stored")
    parser.add_argument("--mlflow", action="store_true", help="install MLflow and compare with it")
    options = parser.parse_args()
    # The server's watchdog leaves its folder a moment after the last user.
    with tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder:
        server = EmbeddedPostgres(Path(folder) / "postgres")
        with server, Store.in_folder(Path(folder)) as store:
            dataset = _dataset(store)
            config, features = TrainingConfig(trials=2), dataset.rows.attrs["features"]
            rows = dataset.split("train")
            training = train(rows, features, dataset.record.market, config)
            size = len(training.model.to_bytes()) / 1024
            print(f"{len(rows):,} training rows, model file {size:,.0f} KiB")
            registered = _register(store, dataset, training, config, options.models)
            if options.mlflow:
                _print_mlflow(_mlflow(Path(folder), training), registered)
            _ask(store, dataset, training, config)
        server.stop()


def _dataset(store: Store) -> DatasetRows:
    settings = TradingConfig()
    feed = open_market(
        "simulated", data=None, seed=7, start=micros(START), end=micros(END),
        simulator=settings.simulator,
    )  # fmt: skip
    run = run_backtest(
        store.database, store.artifacts, feed, start=START, end=END, seed=7, config=settings
    )
    label_session(store.database, store.artifacts, feed, run.session.session_id)
    engineer = FeatureEngineer(store=store)
    made = engineer.prepare_ml_dataset(engineer.extract_all_features(), DatasetConfig())
    engineer.store_dataset(made)
    with store.database.connect("trade_reader") as connection:
        return read_rows(connection, made.version)


def _register(
    store: Store, dataset: DatasetRows, training: Training, config: TrainingConfig, models: int
) -> float:
    """The median time of registering models that differ in their curve, seconds."""
    taken, found = [], set()
    for number in range(models + 2):
        other = replace(training.model, slope=training.model.slope + number / 1000)
        started = time.perf_counter()
        record = register_model(store, dataset, replace(training, model=other), config)
        taken.append(time.perf_counter() - started)
        found.add(record.model_version)
    assert len(found) == len(taken)
    # The first ones import and connect.
    _print("log, store and register", np.array(taken[2:]))
    measured("models.register_ms", [1_000 * one for one in taken[2:]])
    return float(np.median(taken[2:]))


def _ask(store: Store, dataset: DatasetRows, training: Training, config: TrainingConfig) -> None:
    record = register_model(store, dataset, training, config)
    inputs = training.model.inputs_of(dataset.rows)
    many: Floats = np.resize(inputs, (CANDIDATES, inputs.shape[1]))
    model = training.model
    one = many[:1]
    for name, times, act, key, percent in (
        ("load and first prediction", 50, lambda: load_model(store, record).predict(one),
         "models.load_ms", 50),
        ("predict one candidate", 2_000, lambda: model.predict(one), "models.predict_p99_ms", 99),
        (f"predict {CANDIDATES:,} candidates", 20, lambda: model.predict(many),
         "models.predict_10k_ms", 50),
        ("contributions of one candidate", 500, lambda: model.contributions(one),
         "models.explain_ms", 50),
    ):  # fmt: skip
        taken = _measure(name, times, act)
        measured(key, of_rounds(1_000 * taken, percent), size=f"{times:,} times")


def _measure(name: str, times: int, act: Callable[[], object]) -> Floats:
    taken = np.empty(times)
    act()
    for number in range(times):
        started = time.perf_counter()
        act()
        taken[number] = time.perf_counter() - started
    _print(name, taken)
    return taken


def _print(name: str, seconds: Floats) -> None:
    middle, slow, worst = np.percentile(seconds, [50, 99, 100]) * 1000
    told = f"{name:<32}{middle:>8.2f} ms p50{slow:>8.2f} ms p99{worst:>8.2f} ms worst"
    print(told, flush=True)


def _print_mlflow(seconds: float | None, registered: float) -> None:
    if seconds is None:
        told = f"{MLFLOW} does not install or run here"
    else:
        measured("models.mlflow_x", [seconds / registered])
        told = f"{1000 * seconds:>8,.0f} ms p50, {seconds / registered:,.0f} x"
    print(f"{'MLflow: log and register':<32}{told}", flush=True)


def _mlflow(folder: Path, training: Training) -> float | None:
    home = Path(tempfile.gettempdir()) / "mlflow-environment"
    python = home / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    made = [*uv, "venv", "--quiet", "--python", sys.executable, str(home)]
    if not python.exists() and subprocess.run(made, check=False).returncode:
        return None
    # An environment that lies there may be half made; what it has already is not fetched again.
    wanted = [MLFLOW, f"xgboost=={version('xgboost')}"]
    install = [*uv, "pip", "install", "--quiet", "--python", str(python), *wanted]
    if subprocess.run(install, check=False).returncode:
        return None
    training.model.scorer.regressor.save_model(folder / "model.json")
    script = Path(__file__).with_name("mlflow_register.py")
    done = subprocess.run([python, script, folder], capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr[-2_000:], file=sys.stderr)
        return None
    return float(json.loads(done.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
