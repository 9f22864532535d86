"""Whether the gates say no to noise, yes to a signal, and no to a leak: one table, one command.

    python benchmarks/gates.py --data FOLDER [--noise 500] [--signal 100] [--leak 20] [--trials 3]

On the candidates of a real recording (``FOLDER/spot_1h``), whose features stay as they are:

- noise: the labels are rotated in time by at least seven days, so that their dependence within days
  and tokens stays, and what the features tell of them goes;
- signal: the rotated labels of each day are dealt out again so that they follow a mixture of three
  features with an AUC of about .65 for a profit;
- leak: the noise, and a feature that was made from the label.

Each run trains anew and asks every gate.  The leak guards are asked about the planted feature; the
recording's own features count as clean there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from report.record import counted

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.dataset import build_dataset
from trade_pipeline.core.dataset.engineer import FeatureEngineer
from trade_pipeline.core.dataset.frame import feature_versions
from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.dataset.leaks.separating import separating_features
from trade_pipeline.core.dataset.rows import DatasetRows
from trade_pipeline.core.features.rug_metrics import auc
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.config import SignalConfig
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.evaluate import SearchSummary, Standing, evidence_of
from trade_pipeline.core.training.gate_config import GateConfig
from trade_pipeline.core.training.gates import GATES, evaluate_gates
from trade_pipeline.core.training.train import train
from trade_pipeline.core.training.verdict import GateResult

if TYPE_CHECKING:
    import pandas as pd

LEAST_DAYS = 7
# What the planted signal is mixed from.
MIXED = ("volatility_72h", "return_24h", "volume_acceleration")
AUC = 0.65
LEAK = "planted_leak"


@dataclass(frozen=True, slots=True)
class Run:
    """What the gates said in one run, and the AUC of the plant."""

    gates: list[GateResult]
    planted_auc: float

    @property
    def passed(self) -> bool:
        return all(gate.passed for gate in self.gates)


def recorded_frame(data: Path, start: datetime, end: datetime) -> pd.DataFrame:
    """The decisions of a session on the recording, with features and shadow labels."""
    settings = TradingConfig()
    feed = open_market(
        "spot-1h",
        data=data / "spot_1h",
        seed=0,
        start=micros(start),
        end=micros(end),
        simulator=settings.simulator,
    )
    with (
        tempfile.TemporaryDirectory(prefix="benchmark", ignore_cleanup_errors=True) as folder,
        Store.in_folder(Path(folder)) as store,
    ):
        run = run_backtest(
            store.database, store.artifacts, feed, start=start, end=end, seed=0, config=settings
        )
        label_session(store.database, store.artifacts, feed, run.session.session_id)
        return FeatureEngineer(store=store).extract_all_features()


def rotated(rows: pd.DataFrame, draw: np.random.Generator) -> pd.DataFrame:
    """The rows with the labels of others, at least seven days away, their order kept."""
    at = rows["decided_at"]
    span = at.iloc[-1] - at.iloc[0]
    least = int((at - at.iloc[0]).dt.days.searchsorted(LEAST_DAYS + 1))
    last = int((at.iloc[-1] - at).dt.days[::-1].searchsorted(LEAST_DAYS + 1))
    assert span.days > 4 * LEAST_DAYS, span
    shift = int(draw.integers(least, len(rows) - last))
    label = np.roll(rows["shadow_return"].to_numpy(), shift)
    life = np.roll((rows["shadow_end"] - at).to_numpy(), shift)
    reason = np.roll(rows["shadow_reason"].to_numpy(), shift)
    return rows.assign(
        shadow_return=label, shadow_end=at + life, shadow_reason=reason, realised_return=np.nan
    )


def with_signal(rows: pd.DataFrame, draw: np.random.Generator) -> tuple[pd.DataFrame, float]:
    """Labels of each day dealt out so that they follow a mixture of features, and its AUC."""
    ranks = rows[list(MIXED)].rank(pct=True).fillna(0.5).to_numpy() - 0.5
    signs = draw.choice([-1.0, 1.0], 2)
    told = signs[0] * ranks[:, 0] + signs[1] * 2 * ranks[:, 1] * np.sign(ranks[:, 2])
    told = (told - told.mean()) / told.std()
    noise = draw.normal(size=len(rows))
    day = rows["decided_at"].dt.floor("D").to_numpy()
    low, high = 0.0, 20.0
    for _ in range(12):
        blur = (low + high) / 2
        dealt = _dealt(rows, day, told + blur * noise)
        found = auc(rows["shadow_return"].to_numpy()[dealt] > 0, told)
        low, high = (blur, high) if found > AUC else (low, blur)
    life = (rows["shadow_end"] - rows["decided_at"]).to_numpy()[dealt]
    return rows.assign(
        shadow_return=rows["shadow_return"].to_numpy()[dealt],
        shadow_end=rows["decided_at"] + life,
        shadow_reason=rows["shadow_reason"].to_numpy()[dealt],
    ), found


def _dealt(rows: pd.DataFrame, day: np.ndarray, score: Floats) -> np.ndarray:
    """By row, the row whose label it gets: within each day, the better the score the higher."""
    by_score = np.lexsort((score, day))
    by_label = np.lexsort((rows["shadow_return"].to_numpy(), day))
    dealt = np.empty(len(rows), np.int64)
    dealt[by_score] = by_label
    return dealt


def ask(frame: pd.DataFrame, features: list[str], trials: int, seed: int) -> list[GateResult]:
    """Train on a frame and ask every gate."""
    frame.attrs["features"] = features
    versions = feature_versions() | {LEAK: "1"}
    made = build_dataset(frame, DatasetConfig(), feature_versions=versions)
    import pandas as pd

    rows = pd.concat([part.rows.assign(split=name) for name, part in made.splits.items()])
    rows.attrs["features"] = features
    stored = DatasetRows(made.record, made.config, rows)
    training = train(
        stored.split("train"), features, "spot-1h", TrainingConfig(trials=trials, seed=seed)
    )
    verdicts = dict.fromkeys(GUARDS, True)
    if LEAK in features:
        verdicts["separating_features"] = LEAK not in separating_features(rows).culprits
    evidence = evidence_of(
        training.model,
        SearchSummary.of(training.search, training.rows),
        training.rows,
        stored,
        Standing(guards=verdicts),
        SignalConfig(),
    )
    return evaluate_gates(evidence, GateConfig())


def one_run(kind: str, frame: pd.DataFrame, trials: int, seed: int) -> Run:
    """A run of one kind: noise, signal or leak."""
    draw = np.random.default_rng([seed, len(kind)])
    features = list(frame.attrs["features"])
    rows, planted = rotated(frame, draw), float("nan")
    if kind == "signal":
        rows, planted = with_signal(rows, draw)
    if kind == "leak":
        returns = rows["shadow_return"].to_numpy()
        rows = rows.assign(**{LEAK: returns + draw.normal(0, 0.02, len(rows))})
        features.append(LEAK)
    return Run(ask(rows, features, trials, seed), planted)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the recordings")
    parser.add_argument("--noise", type=int, default=500)
    parser.add_argument("--signal", type=int, default=100)
    parser.add_argument("--leak", type=int, default=20)
    parser.add_argument("--trials", type=int, default=3, help="hyper-parameter trials a run")
    parser.add_argument("--seed", type=int, default=0, help="of the first run")
    options = parser.parse_args()
    frame = recorded_frame(
        options.data, datetime(2021, 4, 5, tzinfo=UTC), datetime(2022, 1, 1, tzinfo=UTC)
    )
    frame = frame[frame["shadow_return"].notna()]
    print(f"{len(frame):,} candidates, {options.trials} trials a run")
    for kind, runs in (
        ("noise", options.noise),
        ("signal", options.signal),
        ("leak", options.leak),
    ):
        refused: Counter[str] = Counter()
        passed, planted, started = 0, [], time.perf_counter()
        for seed in range(options.seed, options.seed + runs):
            run = one_run(kind, frame, options.trials, seed)
            passed += run.passed
            planted.append(run.planted_auc)
            refused.update(gate.name for gate in run.gates if not gate.passed)
            done = f"{kind}: {len(planted)} of {runs} runs, {passed} passed"
            print(f"\r{done}", end="", file=sys.stderr, flush=True)
        if runs:
            print(file=sys.stderr)
            counted(f"gates.{kind}_passed", passed, runs, size=f"{options.trials} trials a run")
            seconds = (time.perf_counter() - started) / runs
            by_gate = ", ".join(f"{gate} {refused[gate]}" for gate in GATES if refused[gate])
            told = f", AUC of the plant {np.mean(planted):.3f}" if kind == "signal" else ""
            print(f"{kind}: {passed} of {runs} passed{told}; {seconds:.1f} s a run")
            print(f"    refused by: {by_gate or 'none'}", flush=True)


if __name__ == "__main__":
    main()
