"""From rows to verdicts: training and all gates, on noise and on a signal."""

from __future__ import annotations

from typing import cast

import numpy as np
import pytest

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.dataset.record import DatasetRecord
from trade_pipeline.core.dataset.rows import DatasetRows
from trade_pipeline.core.strategy.config import SignalConfig
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.evaluate import (
    SearchSummary,
    Standing,
    daily_values,
    evidence_of,
)
from trade_pipeline.core.training.evidence import Evidence
from trade_pipeline.core.training.gate_config import GateConfig
from trade_pipeline.core.training.gates import evaluate_gates
from trade_pipeline.core.training.train import train
from trade_pipeline_tests.core.training.rows import FEATURES, labelled

ROWS = 5_000


def evidence(signal: float, seed: int = 0) -> Evidence:
    """What a model that was trained on made rows shows; 60, 20 and 20 % with gaps of days."""
    frame = labelled(ROWS, seed, signal)
    # A line sees only half of what there is.
    bend = np.sign(frame["volatility_24h"].abs() - 0.67)
    frame["target_return"] = np.clip(frame["target_return"] + 0.05 * signal * bend, -0.9, 0.9)
    part = np.full(ROWS, "gap", dtype=object)
    part[:3_000], part[3_060:4_000], part[4_060:] = "train", "validation", "test"
    frame = frame.assign(split=part)
    frame.attrs["features"] = list(FEATURES)
    # The evidence asks nothing of the record.
    rows = DatasetRows(cast(DatasetRecord, None), DatasetConfig(), frame)
    training = train(
        rows.split("train"), FEATURES, "spot-1h", TrainingConfig(trials=2, folds=3, seed=seed)
    )
    return evidence_of(
        training.model,
        SearchSummary.from_dict(SearchSummary.of(training.search, training.rows).to_dict()),
        training.rows,
        rows,
        Standing(guards=dict.fromkeys(GUARDS, True)),
        SignalConfig(),
    )


def refusals(found: Evidence) -> dict[str, tuple[str, ...]]:
    gates = evaluate_gates(found, GateConfig())
    return {gate.name: gate.reasons for gate in gates if not gate.passed}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_is_refused(seed: int) -> None:
    assert refusals(evidence(0.0, seed))


def test_a_signal_is_refused_only_because_one_feature_carries_it() -> None:
    assert set(refusals(evidence(1.0))) == {"sanity"}


def test_the_daily_value_of_a_perfect_ranking_is_positive_and_of_none_zero() -> None:
    rows = train(labelled(), FEATURES, "spot-1h", TrainingConfig(trials=2, folds=3)).rows
    assert (daily_values(rows.adjusted, rows) >= 0).all()
    assert daily_values(np.zeros(len(rows.frame)), rows) == pytest.approx(0, abs=1e-12)
