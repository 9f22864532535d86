"""The gates: a good model passes all, and each kind of fault is refused by the gate made for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.training import gates
from trade_pipeline.core.training.evidence import Evidence, Fold
from trade_pipeline.core.training.gate_config import GateConfig
from trade_pipeline.core.training.gates import GATES, evaluate_gates
from trade_pipeline.core.training.overfitting import deflated_sharpe, overfitting_probability
from trade_pipeline.core.training.verdict import GateResult
from trade_pipeline_tests.core.training.evidence import ROWS, good, scored

CONFIG = GateConfig()
HOLDOUT, VALIDATION = good().holdout, good().validation


def refused(evidence: Evidence) -> dict[str, GateResult]:
    return {one.name: one for one in evaluate_gates(evidence, CONFIG) if not one.passed}


def test_a_good_model_passes_every_gate() -> None:
    assert {name: one.reasons for name, one in refused(good()).items()} == {}
    assert [one.name for one in evaluate_gates(good(), CONFIG)] == list(GATES)


def holdout(**changes: Any) -> dict[str, Any]:
    return {"holdout": replace(HOLDOUT, **changes)}


def one_token(token: int) -> np.ndarray[Any, Any]:
    """Returns of the holdout that are poor but for one token, which multiplies."""
    base = np.random.default_rng(0).normal(0, 0.05, ROWS)
    return np.where(HOLDOUT.token == token, base + 2.0 * (HOLDOUT.stake > 0), base)


def surely_worse() -> np.ndarray[Any, Any]:
    """Returns by which the model loses half a point against the heuristic, and always does."""
    alone = HOLDOUT.stake > 0
    return np.where(alone & ~(HOLDOUT.heuristic_stake > 0), 0.0, np.where(alone, 0.003, 0.007))


def promising(more: float) -> dict[str, Any]:
    """A model that promises more profits than there are."""
    parts = {"validation": VALIDATION, "holdout": HOLDOUT}
    level = np.mean([np.mean(part.confidence - (part.returns > 0)) for part in parts.values()])
    return {
        name: replace(part, confidence=np.clip(part.confidence + more - level, 0, 1))
        for name, part in parts.items()
    }


@pytest.mark.parametrize(
    ("gate", "spoiled", "told"),
    [
        ("enough_data", {"executed": 10, "shadow": 989}, "999 trades, needs 1000"),
        ("enough_data", {"days": 29}, "29 days, needs 30"),
        ("predictive_power", {"validation": scored(1, skill=0)}, "rank correlation"),
        (
            "predictive_power",
            {"validation": replace(VALIDATION, predicted=VALIDATION.predicted * 8)},
            "R2 -",
        ),
        (
            "predictive_power",
            {"validation": replace(VALIDATION, predicted=VALIDATION.predicted - 0.3)},
            "unadjusted R2 -",
        ),
        ("fold_stability", {"folds": [Fold(s, 0.1, 0.1, 9) for s in (0.2, -0.1, -0.1)]}, "33% of"),
        (
            "fold_stability",
            {"folds": [Fold(s, 0.1, 0.1, 9) for s in (0.9, 0.01, 0.01)]},
            "mean 0.30",
        ),
        ("fold_stability", {"folds": [Fold(0.2, 0.1, 0.1, 9)] * 2}, "2 folds, needs 3"),
        ("improvement", holdout(heuristic_stake=HOLDOUT.stake), "against the heuristic: +0.0000"),
        ("improvement", holdout(incumbent_stake=HOLDOUT.stake), "against the incumbent"),
        ("improvement", holdout(linear_stake=(HOLDOUT.returns > 0.1) * 1.0), "linear model"),
        (
            "improvement",
            holdout(heuristic_stake=np.zeros(ROWS), returns=HOLDOUT.returns - 0.2),
            "where the heuristic enters nothing",
        ),
        ("improvement", holdout(stake=HOLDOUT.stake * (np.arange(ROWS) < 30)), "enters"),
        ("fresh_holdout", {"holdout_used_by": ["first-1234"]}, "first-1234"),
        ("no_harm", holdout(returns=-HOLDOUT.returns), "return per stake against the heuristic"),
        ("no_harm", holdout(returns=-HOLDOUT.returns), "drawdown"),
        ("no_harm", holdout(returns=surely_worse()), "-0.0041, up to -0.0039"),
        ("calibration", holdout(confidence=HOLDOUT.confidence**4), "calibration error"),
        ("calibration", holdout(confidence=1 - HOLDOUT.confidence), "wins no more often"),
        ("calibration", holdout(confidence=1 - HOLDOUT.confidence), "no better than the 0.2"),
        ("calibration", promising(0.25), "more profits than there are"),
        ("calibration", promising(-0.25), "more profits than there are"),
        ("overfitting", {"earlier_trials": 10**9}, "after 1000000006 trials"),
        ("overfitting", {"trial_days": np.ones((90, 1)), "chosen_trial": 0}, "overfitting nan"),
        ("leak_guards", {"guards": None}, "never asked: compare_vectors"),
        ("leak_guards", {"guards": dict.fromkeys(GUARDS, True) | {GUARDS[3]: False}}, GUARDS[3]),
        ("sanity", {"importance": {"one": 0.7, "two": 0.3}}, "one makes 70%"),
        ("sanity", {"train_range": (-0.1, 0.1)}, "was seen"),
        ("sanity", holdout(stake=HOLDOUT.stake * (HOLDOUT.token < 9)), "enters 9 tokens, needs 10"),
        ("sanity", holdout(returns=one_token(3)), "without its best token"),
        ("sanity", holdout(confidence=HOLDOUT.confidence + 1), "outside 0..1"),
    ],
)
def test_each_fault_is_refused_by_its_gate(gate: str, spoiled: dict[str, Any], told: str) -> None:
    found = refused(good(**spoiled))
    assert gate in found
    assert told in "; ".join(found[gate].reasons)


def test_a_rival_that_enters_nothing_is_beaten_by_earning_something() -> None:
    earning = {"returns": HOLDOUT.returns + 0.1, "heuristic_stake": np.zeros(ROWS)}
    found = refused(good(**holdout(**earning)))
    assert "improvement" not in found
    assert "no_harm" not in found


def test_a_linear_model_may_be_as_good_but_not_surely_better() -> None:
    alike = gates.improvement(good(**holdout(linear_stake=HOLDOUT.stake)), CONFIG)
    assert alike.passed
    assert alike.numbers["against_linear"]["value"] == 0


def test_a_threshold_can_only_be_made_stricter() -> None:
    assert GateConfig.parse({"min_trades": 5_000}).min_trades == 5_000
    for weaker in (
        {"min_trades": 999}, {"min_days": 29}, {"min_r2": -0.1}, {"min_deflated_sharpe": 0.9},
        {"max_overfitting": 0.6}, {"max_calibration_error": 0.2}, {"harm_margin": 0.02},
    ):  # fmt: skip
        with pytest.raises(BadConfig, match=next(iter(weaker))):
            GateConfig.parse(weaker)


@pytest.mark.parametrize(
    ("split", "column"),
    [("validation", "returns"), ("validation", "predicted"), ("validation", "confidence"),
     ("holdout", "returns"), ("holdout", "predicted"), ("holdout", "confidence"),
     ("holdout", "stake")],
)  # fmt: skip
def test_what_is_not_a_number_never_passes(split: str, column: str) -> None:
    part = getattr(good(), split)
    spoiled = np.array(getattr(part, column), np.float64)
    spoiled[5] = np.nan
    assert refused(good(**{split: replace(part, **{column: spoiled})}))


def test_a_model_of_noise_seldom_seems_an_improvement() -> None:
    passed = sum(
        gates.improvement(good(holdout=scored(seed, skill=0)), CONFIG).passed
        for seed in range(10, 110)
    )
    assert passed <= 8


def test_the_choice_among_noise_is_overfit_and_that_of_a_better_one_is_not() -> None:
    series = [np.random.default_rng(seed).normal(size=(120, 10)) for seed in range(30)]
    assert np.mean([overfitting_probability(noise).strict for noise in series]) > 0.35
    better = series[0] + np.arange(10) * 0.15
    assert overfitting_probability(better).strict < 0.1
    assert overfitting_probability(better).harmful <= overfitting_probability(better).strict


@pytest.mark.parametrize(
    ("gate", "spoiled"),
    [
        ("sanity", {"importance": {"one": 0.4, "two": float("nan")}}),
        ("leak_guards", {"guards": dict.fromkeys(GUARDS, True) | {GUARDS[0]: None}}),
        ("overfitting", {"trial_days": np.where(np.arange(6) == 2, np.nan, good().trial_days)}),
        ("improvement", holdout(linear_stake=np.full(ROWS, np.nan))),
    ],
)
def test_what_is_unknown_is_refused_by_its_gate(gate: str, spoiled: dict[str, Any]) -> None:
    assert gate in refused(good(**spoiled))


@pytest.mark.parametrize("smoothed", [1, 3])
def test_noise_has_no_deflated_sharpe_however_alike_trials_and_days_are(smoothed: int) -> None:
    passed = 0
    for seed in range(200):
        draw = np.random.default_rng(seed)
        kernel = np.ones(smoothed) / smoothed
        one = np.convolve(draw.normal(size=150), kernel, "valid")
        days = one[:, None] + draw.normal(0, 0.01, (len(one), 10))
        passed += deflated_sharpe(days[:, 0], days, 10) >= CONFIG.min_deflated_sharpe
    assert passed <= 4


def test_more_trials_deflate_the_same_result() -> None:
    days = np.random.default_rng(2).normal(0.15, 1, (200, 5))
    few, many = (deflated_sharpe(days[:, 0], days, trials) for trials in (5, 5_000))
    assert few > many
    assert np.isnan(deflated_sharpe(np.ones(50), days[:50], 5))
