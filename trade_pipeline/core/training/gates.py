"""The gates: pure functions from evidence to a verdict with reasons and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from trade_pipeline.core.dataset.guards import GUARDS
from trade_pipeline.core.training.calibration_error import calibration_error
from trade_pipeline.core.training.clustered import (
    market_adjusted,
    mean_interval,
    r2_interval,
    rank_interval,
)
from trade_pipeline.core.training.evidence import Evidence
from trade_pipeline.core.training.gate_config import GateConfig
from trade_pipeline.core.training.holdout_gates import improvement, no_harm
from trade_pipeline.core.training.overfitting import deflated_sharpe, overfitting_probability
from trade_pipeline.core.training.verdict import GateResult, Verdict

# Of the range seen in training, by which a prediction may lie outside.
_SLACK = 0.05


def enough_data(evidence: Evidence, config: GateConfig) -> GateResult:
    """Members of the dataset and days of their decisions."""
    verdict = Verdict("enough_data")
    members = evidence.executed + evidence.shadow
    verdict.number(executed=evidence.executed, shadow=evidence.shadow, days=evidence.days)
    verdict.require(members >= config.min_trades, f"{members} trades, needs {config.min_trades}")
    verdict.require(
        evidence.days >= config.min_days, f"{evidence.days} days, needs {config.min_days}"
    )
    return verdict.result()


def predictive_power(evidence: Evidence, config: GateConfig) -> GateResult:
    """On validation: what sets the candidates of a day apart is told beyond doubt.

    A model chooses among candidates of a day, so returns and predictions are market-adjusted.
    Unadjusted, where the luck of few days weighs most, it must not be surely wrong.
    """
    verdict, rows = Verdict("predictive_power"), evidence.validation
    returns = market_adjusted(rows.returns, rows.day)
    predicted = market_adjusted(rows.predicted, rows.day)
    r2 = r2_interval(predicted, 0.0, returns, rows.day, rows.token)
    ranks = rank_interval(predicted, returns, rows.day, rows.token)
    raw_r2 = r2_interval(rows.predicted, evidence.train_mean, rows.returns, rows.day, rows.token)
    raw_ranks = rank_interval(rows.predicted, rows.returns, rows.day, rows.token)
    verdict.number(
        r2=r2, rank_correlation=ranks, r2_unadjusted=raw_r2, rank_correlation_unadjusted=raw_ranks,
        rows=len(rows.returns),
    )  # fmt: skip
    verdict.require(
        r2.value > config.min_r2, f"R2 {r2.value:.4f}, needs more than {config.min_r2:g}"
    )
    verdict.require(
        ranks.value >= config.min_rank_correlation,
        f"rank correlation {ranks.value:.3f}, needs {config.min_rank_correlation:g}",
    )
    verdict.require(
        ranks.low > 0,
        f"rank correlation {ranks.value:.3f} may be chance: its interval begins at {ranks.low:.3f}",
    )
    for name, raw in (("R2", raw_r2), ("rank correlation", raw_ranks)):
        verdict.require(
            raw.high >= 0, f"unadjusted {name} {raw.value:.4f} is below zero up to {raw.high:.4f}"
        )
    return verdict.result()


def fold_stability(evidence: Evidence, config: GateConfig) -> GateResult:
    """Positive in nearly every fold, and one standard deviation below the mean still is."""
    verdict = Verdict("fold_stability")
    scores = np.array([fold.rank_correlation for fold in evidence.folds])
    if len(scores) < 3:
        verdict.require(False, f"{len(scores)} folds, needs 3")
        return verdict.result()
    positive, mean, spread = (
        float((scores > 0).mean()),
        float(scores.mean()),
        float(scores.std(ddof=1)),
    )
    verdict.number(rank_correlations=scores.tolist(), mean=mean, standard_deviation=spread)
    verdict.require(
        positive >= config.min_positive_folds,
        f"{positive:.0%} of the folds are above zero, needs {config.min_positive_folds:.0%}",
    )
    verdict.require(
        mean > spread, f"mean {mean:.3f} is not above its standard deviation {spread:.3f}"
    )
    return verdict.result()


def fresh_holdout(evidence: Evidence, config: GateConfig) -> GateResult:
    """No other model was judged on this time of this market."""
    verdict = Verdict("fresh_holdout")
    verdict.number(used_by=list(evidence.holdout_used_by))
    verdict.require(
        not evidence.holdout_used_by,
        f"the holdout window was used by {', '.join(evidence.holdout_used_by)}: later ones count",
    )
    return verdict.result()


def calibration(evidence: Evidence, config: GateConfig) -> GateResult:
    """On validation and holdout: what is promised happens as often, within what regimes allow.

    How many profits there are changes with the market; that level is judged by its interval, and
    the error by tenths of the confidence after it is taken off.
    """
    verdict = Verdict("calibration")
    parts = (evidence.validation, evidence.holdout)
    confidence = np.concatenate([part.confidence for part in parts])
    won = np.concatenate([part.returns > 0 for part in parts]).astype(np.float64)
    day = np.concatenate([part.day for part in parts])
    token = np.concatenate([part.token for part in parts])
    found = calibration_error(confidence, won)
    error, level = found.error, found.level
    offset = mean_interval(confidence - won, np.ones(len(won)), day, token)
    ranks = rank_interval(confidence, won, day, token)
    brier = float(np.mean((confidence - level - won) ** 2))
    alike = float(np.var(won))
    verdict.number(
        expected_calibration_error=error,
        mean_offset=offset,
        rank_correlation_with_profit=ranks,
        brier=float(np.mean((confidence - won) ** 2)),
        brier_without_offset=brier,
        brier_of_the_base_rate=alike,
    )
    verdict.require(
        error <= config.max_calibration_error,
        f"expected calibration error {error:.3f}, allowed {config.max_calibration_error:g}",
    )
    verdict.require(
        offset.low <= config.max_calibration_error and offset.high >= -config.max_calibration_error,
        f"promises {offset.value:+.3f} more profits than there are",
    )
    verdict.require(
        brier < alike,
        f"Brier score {brier:.4f} is no better than the {alike:.4f} of one probability for all",
    )
    verdict.require(ranks.value > 0, f"higher confidence wins no more often ({ranks.value:.3f})")
    return verdict.result()


def overfitting(evidence: Evidence, config: GateConfig) -> GateResult:
    """Backtest overfitting is improbable, and the Sharpe ratio is above that of lucky trials."""
    verdict = Verdict("overfitting")
    days = evidence.trial_days
    found = overfitting_probability(days)
    trials = days.shape[1] + evidence.earlier_trials
    deflated = deflated_sharpe(days[:, evidence.chosen_trial], days, trials)
    verdict.number(
        probability=found.harmful, strict_probability=found.strict, trials=trials,
        deflated_sharpe=deflated,
    )  # fmt: skip
    verdict.require(
        found.harmful <= config.max_overfitting,
        f"probability of backtest overfitting {found.harmful:.2f}, allowed "
        f"{config.max_overfitting:g} ({days.shape[1]} trials, {days.shape[0]} days)",
    )
    verdict.require(
        deflated >= config.min_deflated_sharpe,
        f"deflated Sharpe ratio {deflated:.3f}, needs {config.min_deflated_sharpe:g} after "
        f"{trials} trials",
    )
    return verdict.result()


def leak_guards(evidence: Evidence, config: GateConfig) -> GateResult:
    """Every leak guard passed on this very dataset."""
    verdict, guards = Verdict("leak_guards"), evidence.guards or {}
    verdict.number(guards=dict(guards))
    missing = [name for name in GUARDS if name not in guards]
    failed = [name for name in GUARDS if name in guards and guards[name] is not True]
    verdict.require(not missing, f"never asked: {', '.join(missing)} (run: features check)")
    verdict.require(not failed, f"failed: {', '.join(failed)}")
    return verdict.result()


def sanity(evidence: Evidence, config: GateConfig) -> GateResult:
    """Predictions within what was seen; no single feature or token carries the result."""
    verdict, rows = Verdict("sanity"), evidence.holdout
    low, high = evidence.train_range
    slack = _SLACK * (high - low)
    predicted = np.concatenate([evidence.validation.predicted, rows.predicted])
    feature, share = max(
        evidence.importance.items(), key=lambda one: one[1], default=("none", math.nan)
    )
    adjusted = rows.stake * market_adjusted(rows.returns, rows.day)
    gains = np.bincount(rows.token, adjusted)
    tokens = len(np.unique(rows.token[rows.stake > 0]))
    without = float(adjusted.sum() - gains.max(initial=0.0))
    verdict.number(
        lowest=float(predicted.min()), highest=float(predicted.max()), range_seen=[low, high],
        largest_share=share, feature=feature, gain=float(adjusted.sum()), gain_without_best=without,
        tokens=tokens,
    )  # fmt: skip
    verdict.require(
        bool((predicted >= low - slack).all() and (predicted <= high + slack).all()),
        f"predicts {predicted.min():.3f} to {predicted.max():.3f}, but {low:.3f} to {high:.3f} was "
        "seen",
    )
    verdict.require(np.ptp(predicted) > 0, "predicts the same for every candidate")
    confidence = np.concatenate([evidence.validation.confidence, rows.confidence])
    verdict.require(
        bool((confidence >= 0).all() and (confidence <= 1).all()), "a confidence is outside 0..1"
    )
    verdict.require(
        bool(np.isfinite(list(evidence.importance.values())).all()), "an importance is unknown"
    )
    verdict.require(
        share <= config.max_feature_share,
        f"{feature} makes {share:.0%} of the contributions, allowed {config.max_feature_share:.0%}",
    )
    verdict.require(
        tokens >= config.min_tokens, f"enters {tokens} tokens, needs {config.min_tokens}"
    )
    verdict.require(
        without > 0, f"without its best token the holdout's market-adjusted gain is {without:.3f}"
    )
    return verdict.result()


_GATES: tuple[Callable[[Evidence, GateConfig], GateResult], ...] = (
    enough_data, predictive_power, fold_stability, improvement, fresh_holdout, no_harm,
    calibration, overfitting, leak_guards, sanity,
)  # fmt: skip
GATES = tuple(gate.__name__ for gate in _GATES)


def evaluate_gates(evidence: Evidence, config: GateConfig) -> list[GateResult]:
    """Every gate's verdict, in the order of `GATES`."""
    return [gate(evidence, config) for gate in _GATES]
