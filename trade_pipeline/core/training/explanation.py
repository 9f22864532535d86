"""Why a model decides as it does: which inputs move its confidence, alone and in pairs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.dataset.rows import read_rows
from trade_pipeline.core.dataset.split import cross_validation_splits
from trade_pipeline.core.features.preparation import MISSING_SUFFIX
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.evaluate import importances
from trade_pipeline.core.training.register import learned_rows, load_model
from trade_pipeline.core.training.registry import read_model
from trade_pipeline.core.training.search import TrainingRows, fit, rank_correlation

if TYPE_CHECKING:
    import pandas as pd
    from sklearn.pipeline import Pipeline

# Rows of which each contribution is kept.
SHAPLEY_ROWS = 1_000
# Rows of a fold whose interactions are looked at, and pairs that a fold may name.
_ROWS, _PAIRS = 200, 15


@dataclass(frozen=True, slots=True)
class Influence:
    """One input of a model.

    Attributes:
        share: of the mean absolute contribution to the log odds of a profit.
        direction: rank correlation of the input with its contribution, -1..1: above zero, more of
            it raises the confidence.
    """

    feature: str
    share: float
    direction: float


@dataclass(frozen=True, slots=True)
class Interaction:
    """Two inputs that matter together: a hypothesis, to be tested on later data.

    Attributes:
        strength: mean absolute interaction in log odds, over the folds that name it.
        folds: share of the folds of cross-validation whose models name the pair among their
            strongest.
    """

    first: str
    second: str
    strength: float
    folds: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """What moves a model, the strongest first."""

    model: str
    influences: Sequence[Influence]
    interactions: Sequence[Interaction]


def explain_model(store: Store, model: str) -> Explanation:
    """Contributions on the validation split, and of trees the interactions fold by fold.

    Args:
        model: its version or its short name.

    Raises:
        BadConfig: no such model.
        ArtifactDamaged: the model's file was changed.
    """
    with store.database.connect("trade_reader") as connection:
        record = read_model(connection, model)
        dataset = read_rows(connection, record.dataset_version)
    config = TrainingConfig.parse(dict(record.config["training"]))
    # Interactions are those of trees; what an own estimator does inside nobody knows.
    trees = config.estimator is None
    return Explanation(
        model=record.short_name,
        influences=influences(load_model(store, record), dataset.split("validation")),
        interactions=interactions(learned_rows(record, dataset), record.params, config)
        if trees
        else [],
    )


def interactions(
    rows: TrainingRows, params: Mapping[str, Any], config: TrainingConfig
) -> list[Interaction]:
    """Pairs of inputs that matter together (Lundberg et al. 2020), named by most folds first.

    Args:
        params: of the model that each fold fits anew, as in the search.
    """
    found: dict[tuple[str, str], list[float]] = {}
    folds = cross_validation_splits(rows.frame, config.folds, embargo_hours=config.embargo_hours)
    for learn, held_out in folds:
        fitted = fit("classifier", rows.take(learn), params, config.seed)
        for pair, strength in _interactions(fitted, rows.take(held_out)).items():
            found.setdefault(pair, []).append(strength)
    pairs = [
        Interaction(*pair, strength=float(np.mean(seen)), folds=len(seen) / len(folds))
        for pair, seen in found.items()
    ]
    return sorted(pairs, key=lambda one: (-one.folds, -one.strength))


def influences(model: TradeModel, frame: pd.DataFrame) -> list[Influence]:
    """How much each input moves the confidence over some rows, the strongest first."""
    shares = importances(model, frame)
    return [
        Influence(one.feature, shares[one.feature], _direction(one))
        for one in shapley_values(model, frame)
    ]


@dataclass(frozen=True, slots=True)
class ShapleyValues:
    """An input in some rows, and what it does there.

    Attributes:
        values: NaN where unknown.
        contributions: to the log odds of a profit.
    """

    feature: str
    values: Floats
    contributions: Floats


def shapley_values(model: TradeModel, frame: pd.DataFrame) -> list[ShapleyValues]:
    """Of each input over some rows, the strongest first; of many rows, `SHAPLEY_ROWS` all along."""
    kept = np.linspace(0, len(frame) - 1, min(len(frame), SHAPLEY_ROWS)).astype(np.int64)
    values = model.inputs_of(frame.iloc[kept])
    _, contributions = model.contributions(values)
    return [
        ShapleyValues(name, values[:, column], contributions[:, column])
        for name in importances(model, frame)
        for column in [model.inputs.index(name)]
    ]


def explained_rows(store: Store, model: str) -> tuple[TradeModel, pd.DataFrame]:
    """A model, and the rows of its validation split on which it is explained.

    Raises:
        BadConfig: no such model.
        ArtifactDamaged: the model's file was changed.
    """
    with store.database.connect("trade_reader") as connection:
        record = read_model(connection, model)
        dataset = read_rows(connection, record.dataset_version)
    return load_model(store, record), dataset.split("validation")


def _direction(one: ShapleyValues) -> float:
    known = ~np.isnan(one.values)
    if not known.any():
        return 0.0
    return rank_correlation(one.values[known], one.contributions[known])


def _interactions(fitted: Pipeline, rows: TrainingRows) -> dict[tuple[str, str], float]:
    """The strongest pairs of a fold's model, on rows that it did not learn from."""
    import xgboost as xgb

    preparation = fitted["prepare"].preparation_
    frame = rows.frame.iloc[:: max(1, len(rows.frame) // _ROWS)][list(rows.inputs)]
    matrix = xgb.DMatrix(fitted["prepare"].transform(frame), nthread=1)
    values = fitted["trees"].get_booster().predict(matrix, pred_interactions=True)
    strength = np.abs(values[:, :-1, :-1]).mean(axis=0)
    # An indicator of a missing value counts for its feature.
    names = [name.removesuffix(MISSING_SUFFIX) for name in preparation.columns]
    pairs: Counter[tuple[str, str]] = Counter()
    for one, other in zip(*np.triu_indices(len(names), 1), strict=True):
        first, second = sorted((names[one], names[other]))
        if first != second:
            # Each of the two directions holds half of the interaction.
            pairs[first, second] += 2.0 * float(strength[one, other])  # type: ignore[assignment]
    return {pair: value for pair, value in pairs.most_common(_PAIRS) if value > 0}
