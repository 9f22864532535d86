"""Train a model on a stored dataset, and register it with everything that it depends on."""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version as installed
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.dataset.rows import DatasetRows, read_rows
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.session.version import learning_version
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.clustered import market_adjusted
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.evaluate import SearchSummary
from trade_pipeline.core.training.own import OwnFit
from trade_pipeline.core.training.record import ModelRecord
from trade_pipeline.core.training.registry import active_model, record_model
from trade_pipeline.core.training.search import (
    Progress,
    TrainingRows,
    fit,
    rank_correlation,
    utc_days,
)
from trade_pipeline.core.training.train import Training, train, training_rows

if TYPE_CHECKING:
    import pandas as pd

_LIBRARIES = ("numpy", "optuna", "pandas", "scikit-learn", "scipy", "xgboost")


@dataclass(frozen=True, slots=True)
class ModelMetrics:
    """How a model does on the validation split.

    Attributes:
        r2_score: against the mean return in training.
        rank_correlation: Spearman's, of expected and true return.
        auc: of the confidence for profit; None where all rows are alike.
        brier: mean squared error of the confidence.
        rows: candidates.
    """

    r2_score: float
    rank_correlation: float
    auc: float | None
    brier: float
    rows: int


def train_model(
    store: Store,
    dataset: str,
    config: TrainingConfig,
    progress: Progress | None = None,
) -> ModelRecord:
    """Train on a stored dataset and register the model; it may not decide yet.

    Training the same again finds the same model, which is registered already.

    Args:
        dataset: its version or its short name.

    Raises:
        BadConfig: no such dataset, it mixes markets, or there is too little to learn from.
    """
    with store.database.connect("trade_reader") as connection:
        stored = read_rows(connection, dataset)
    market = stored.record.market
    if "+" in market:
        raise BadConfig(f"dataset={dataset!r}: mixes markets ({market}); train on one")
    training = train(stored.split("train"), stored.rows.attrs["features"], market, config, progress)
    return register_model(store, stored, training, config)


def register_model(
    store: Store, dataset: DatasetRows, training: Training, config: TrainingConfig
) -> ModelRecord:
    """Store what a training gave: the file under its hash, and the record with its evidence."""
    record, search = dataset.record, training.search
    summary = SearchSummary.of(search, training.rows)
    trials = [{"params": dict(trial.params), "score": trial.score} for trial in search.trials]
    validation = metrics_of(training.model, dataset.split("validation"), training.rows.returns)
    environment = library_versions()
    with store.database.connect() as connection:
        incumbent = active_model(connection, record.market)
        registered = record_model(
            connection,
            store.artifacts,
            name=config.name,
            market=record.market,
            kind=record.kind,
            dataset_version=record.dataset_version,
            feature_set=record.feature_set,
            code_version=learning_version(),
            environment=address_of(canonical_bytes(environment)),
            seed=config.seed,
            params=dict(search.trials[search.chosen].params),
            config={"training": config.model_dump(mode="json"), "environment": environment},
            metrics={
                "cross_validation": summary.to_dict() | {"trials": trials},
                "validation": asdict(validation),
            },
            inputs=list(training.model.inputs),
            trials=len(trials),
            parent=None if incumbent is None else incumbent.model_version,
            model_bytes=training.model.to_bytes(),
        )
        connection.commit()
    return registered


def load_model(store: Store, record: ModelRecord) -> TradeModel:
    """The model of a record.

    Raises:
        ArtifactDamaged: its file was changed.
    """
    return TradeModel.from_bytes(store.artifacts.get(record.artifact))


@cache
def library_versions() -> dict[str, str]:
    """What a model's bytes depend on besides data, settings and our code."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        **{name: installed(name) for name in _LIBRARIES},
    }


def metrics_of(model: TradeModel, frame: pd.DataFrame, known: Floats) -> ModelMetrics:
    """How a model does on labelled rows.

    Args:
        known: the returns that it learned from.
    """
    from sklearn.metrics import brier_score_loss, roc_auc_score

    returns = frame["target_return"].to_numpy(np.float64)
    found = model.predict(model.inputs_of(frame))
    won = returns > 0
    error = np.sum((returns - found.expected_return) ** 2)
    return ModelMetrics(
        r2_score=1.0 - float(error / np.sum((returns - known.mean()) ** 2)),
        rank_correlation=rank_correlation(found.expected_return, returns),
        auc=float(roc_auc_score(won, found.confidence)) if 0 < won.sum() < len(won) else None,
        brier=float(brier_score_loss(won, found.confidence)),
        rows=len(frame),
    )


def learned_rows(record: ModelRecord, dataset: DatasetRows) -> TrainingRows:
    """What a registered model learned from, weighed as it was then.

    Args:
        dataset: the one that the record names.
    """
    config = TrainingConfig.parse(dict(record.config["training"]))
    return training_rows(dataset.split("train"), dataset.rows.attrs["features"], config)


def learning_curve(record: ModelRecord, dataset: DatasetRows) -> tuple[list[int], list[float]]:
    """Rank correlation with market-adjusted returns of the validation split, of models that learned
    from the newest rows only.

    Returns:
        Numbers of rows, an eighth to all of them, and the scores.
    """
    rows = learned_rows(record, dataset)
    validation = dataset.split("validation")
    returns = validation["target_return"].to_numpy(np.float64)
    truth = market_adjusted(returns, utc_days(validation))
    estimator = record.config["training"].get("estimator")
    own = None if estimator is None else OwnFit(estimator)
    sizes, scores = [], []
    for share in (0.125, 0.25, 0.5, 0.75, 1.0):
        newest = np.arange(round(len(rows.frame) * (1 - share)), len(rows.frame))
        if own is not None:
            predicted = own.fit(rows.take(newest), record.params).scores(validation)
        else:
            model = fit("regressor", rows.take(newest), record.params, record.seed)
            predicted = model.predict(validation[list(rows.inputs)]).astype(np.float64)
        sizes.append(len(newest))
        scores.append(rank_correlation(predicted, truth))
    return sizes, scores
