"""The search for hyper-parameters, inside purged cross-validation of the training rows alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.dataset.split import cross_validation_splits
from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.features.calibration import Bools
from trade_pipeline.core.features.preparation import selection_scores
from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.training.clustered import market_adjusted
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.evidence import Fold

if TYPE_CHECKING:
    import optuna
    import pandas as pd
    from sklearn.pipeline import Pipeline

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class TrainingRows:
    """The rows that a model learns from, in order of time.

    Attributes:
        frame: labelled decisions (see `labels.labelled_decisions`).
        inputs: the features that may be read.
        weights: of the rows, by overlap and recency.
    """

    frame: pd.DataFrame
    inputs: Sequence[str]
    weights: Floats

    @cached_property
    def returns(self) -> Floats:
        values: Floats = self.frame["target_return"].to_numpy(np.float64)
        return values

    @cached_property
    def days(self) -> Ints:
        """UTC day number of each decision."""
        return utc_days(self.frame)

    @cached_property
    def adjusted(self) -> Floats:
        """Returns less the mean of their day's rows."""
        return market_adjusted(self.returns, self.days)

    @cached_property
    def scores(self) -> Floats:
        """Of the inputs, for their selection: how far each ranks the adjusted returns."""
        return selection_scores(self.frame, self.inputs, self.adjusted)

    def take(self, rows: Ints) -> TrainingRows:
        """Some of them."""
        return TrainingRows(self.frame.iloc[rows], self.inputs, self.weights[rows])


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting of the hyper-parameters.

    Attributes:
        score: mean rank correlation of both models over the folds.
        margin: log odds of a profit of every training row, beside those of its day, by a classifier
            that did not see its fold.
    """

    params: Mapping[str, Any]
    score: float
    folds: Sequence[Fold]
    margin: Floats


@dataclass(frozen=True, slots=True)
class Search:
    """The trials in their order, and the folds that judged them.

    Attributes:
        folds: the rows that each learned from, and the positions of those that it held out.
    """

    trials: Sequence[Trial]
    folds: Sequence[tuple[TrainingRows, Ints]]

    @property
    def chosen(self) -> int:
        """Number of the trial with the highest score."""
        return int(np.argmax([trial.score for trial in self.trials]))


def search(rows: TrainingRows, config: TrainingConfig, progress: Progress | None = None) -> Search:
    """Try ``config.trials`` settings (tree-structured Parzen estimator, Bergstra et al. 2011).

    The first is a cautious one.  Selection, imputation and scaling are fitted anew in each fold.

    Args:
        progress: called with (trials so far, all trials).
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    folds = [
        (rows.take(learn), held_out)
        for learn, held_out in cross_validation_splits(
            rows.frame, config.folds, embargo_hours=config.embargo_hours
        )
    ]
    trials: list[Trial] = []

    def objective(trial: optuna.Trial) -> float:
        trials.append(_try(rows, folds, _suggest(trial), config.seed))
        if progress is not None:
            progress(len(trials), config.trials)
        return trials[-1].score

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=config.seed)
    )
    study.enqueue_trial(_CAUTIOUS)
    study.optimize(objective, n_trials=config.trials)
    return Search(trials, folds)


def pipeline(kind: str, params: Mapping[str, Any], seed: int, rows: int) -> Pipeline:
    """Selection, imputation, scaling and trees.

    Args:
        kind: ``regressor`` or ``classifier``.
        params: ``max_features`` for the selection, the rest for the trees.
        rows: that they learn from.
    """
    import xgboost as xgb
    from sklearn.pipeline import Pipeline

    from trade_pipeline.core.training.steps import Prepare

    trees = dict(params)
    prepare = Prepare(trees.pop("max_features"))
    trees["min_child_weight"] = trees.pop("min_leaf_share") * rows
    # One thread: sums of several may come in another order, and another model of it.
    fixed = {"tree_method": "hist", "n_jobs": 1, "random_state": seed}
    # What the trees add to is theirs to know: zero, in returns and in log odds.
    fixed["base_score"] = 0.0 if kind == "regressor" else 0.5
    model = xgb.XGBRegressor if kind == "regressor" else xgb.XGBClassifier
    if kind == "classifier":
        # A row counts at most a quarter in a logistic leaf, and one in a leaf of squared errors.
        trees["min_child_weight"] /= 4
    return Pipeline([("prepare", prepare), ("trees", model(**fixed | trees))])


def fit(kind: str, rows: TrainingRows, params: Mapping[str, Any], seed: int) -> Pipeline:
    """A fitted `pipeline`: of the return, or of the profit.  Both select for the return.

    The trees learn what sets the candidates of a day apart: the regressor from returns less the
    day's mean, the classifier beside the day's own odds of a profit.  A few hundred days are too
    few to learn which days are good, and would drown the rest.
    """
    trees = {"sample_weight": rows.weights}
    if kind == "classifier":
        trees["base_margin"] = day_odds(rows.returns > 0, rows.days)
    model = pipeline(kind, params, seed, len(rows.frame))
    model.fit(
        rows.frame[list(rows.inputs)],
        rows.adjusted if kind == "regressor" else rows.returns > 0,
        prepare__scores=rows.scores,
        **{f"trees__{name}": value for name, value in trees.items()},
    )
    return model


def day_odds(won: Bools, day: Ints) -> Floats:
    """The log odds of a profit on each row's day, with one winner and one loser added."""
    _, group = np.unique(day, return_inverse=True)
    winners = np.bincount(group, won) + 1.0
    losers = np.bincount(group, ~won) + 1.0
    odds: Floats = np.log(winners / losers)[group]
    return odds


def utc_days(frame: pd.DataFrame) -> Ints:
    """UTC day number of each row's decision."""
    days: Ints = micros_of(frame["decided_at"]) // DAY
    return days


def rank_correlation(predicted: Floats, returns: Floats) -> float:
    """Spearman's; 0 where one of them is constant: it ranks nothing."""
    from scipy.stats import spearmanr

    if np.ptp(predicted) == 0 or np.ptp(returns) == 0:
        return 0.0
    return float(spearmanr(predicted, returns).statistic)


# Single returns are nearly all noise: shallow trees with large leaves over many features.
_CAUTIOUS = {
    "max_features": 50, "n_estimators": 60, "max_depth": 3, "learning_rate": 0.05,
    "min_leaf_share": 0.04, "subsample": 0.7, "colsample_bytree": 0.4, "reg_lambda": 10.0,
}  # fmt: skip


def _suggest(trial: optuna.Trial) -> dict[str, Any]:
    return {
        "max_features": trial.suggest_categorical("max_features", [10, 20, 35, 50]),
        "n_estimators": trial.suggest_int("n_estimators", 40, 300, step=20),
        "max_depth": trial.suggest_int("max_depth", 1, 5),
        "learning_rate": trial.suggest_float("learning_rate", 0.02, 0.12, log=True),
        "min_leaf_share": trial.suggest_float("min_leaf_share", 0.002, 0.1, log=True),
        "subsample": trial.suggest_float("subsample", 0.5, 0.9),
        "colsample_bytree": trial.suggest_float("colsample_bytree", 0.2, 0.8),
        "reg_lambda": trial.suggest_float("reg_lambda", 1, 100, log=True),
    }


def _try(
    rows: TrainingRows,
    folds: Sequence[tuple[TrainingRows, Ints]],
    params: dict[str, Any],
    seed: int,
) -> Trial:
    margin = np.empty(len(rows.frame))
    judged = []
    for known, held_out in folds:
        frame, truth = rows.frame.iloc[held_out][list(rows.inputs)], rows.adjusted[held_out]
        expected = fit("regressor", known, params, seed).predict(frame).astype(np.float64)
        classifier = fit("classifier", known, params, seed)
        prepared = classifier["prepare"].transform(frame)
        margin[held_out] = odds = classifier["trees"].predict(prepared, output_margin=True)
        judged.append(
            Fold(
                rank_correlation=rank_correlation(odds, truth),
                return_rank_correlation=rank_correlation(expected, truth),
                r2=1.0 - float(np.sum((truth - expected) ** 2) / np.sum(truth**2)),
                rows=len(held_out),
            )
        )
    score = float(
        np.mean([(fold.rank_correlation + fold.return_rank_correlation) / 2 for fold in judged])
    )
    return Trial(params, score, judged, margin)
