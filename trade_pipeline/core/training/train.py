"""Training: search, fit and calibrate on the training rows alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.dataset.weights import label_uniqueness, micros_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.calibration import fit_platt_beside
from trade_pipeline.core.features.registry import FEATURES
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.strategy.scorers import Trees
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.own import OwnFit
from trade_pipeline.core.training.policy import break_even_confidence
from trade_pipeline.core.training.search import (
    Progress,
    Search,
    TrainingRows,
    day_odds,
    fit,
    search,
)

if TYPE_CHECKING:
    import pandas as pd

# Winners and losers for each fold, to learn a probability from.
MIN_OF_EACH = 20


@dataclass(frozen=True, slots=True)
class Training:
    """A fitted model, what it learned from, and every setting that was tried."""

    model: TradeModel
    rows: TrainingRows
    search: Search


def train(
    frame: pd.DataFrame,
    features: Sequence[str],
    market: str,
    config: TrainingConfig,
    progress: Progress | None = None,
) -> Training:
    """Train a model.

    The same rows, settings, libraries and kind of CPU give the same model, bit for bit.

    Args:
        frame: labelled decisions of the training split alone, in order of time.
        features: that may be inputs, but for those of the strategy's own records.
        market: the kind of market that they come from.
        progress: called with (trials so far, all trials).

    Raises:
        BadConfig: too few winners or losers to learn from, or an own estimator that fails.
    """
    rows = training_rows(frame, features, config)
    won = rows.returns > 0
    winners = int(won.sum())
    if min(winners, len(won) - winners) < MIN_OF_EACH * config.folds:
        raise BadConfig(
            f"training: {winners} winners among {len(rows.returns)} rows, expected at least "
            f"{MIN_OF_EACH * config.folds} winners and as many losers for {config.folds} folds"
        )
    own = None if config.estimator is None else OwnFit(config.estimator)
    found = search(rows, config, progress) if own is None else own.search(rows, config, progress)
    chosen = found.trials[found.chosen]
    slope, offset = fit_platt_beside(chosen.margin, won, rows.weights, day_odds(won, rows.days))
    common: dict[str, Any] = {
        "market": market,
        "base_return": float(np.average(rows.returns, weights=rows.weights)),
        "slope": slope,
        "offset": offset,
        "entry_confidence": break_even_confidence(rows.returns, rows.weights),
    }
    if own is not None:
        fitted = own.fit(rows, chosen.params)
        return Training(
            TradeModel(preparation=fitted.preparation, scorer=fitted.scorer, **common), rows, found
        )
    regressor = fit("regressor", rows, chosen.params, config.seed)
    classifier = fit("classifier", rows, chosen.params, config.seed)
    return Training(
        model=TradeModel(
            # That of the classifier is the same.
            preparation=regressor["prepare"].preparation_,
            scorer=Trees(regressor["trees"].get_booster(), classifier["trees"].get_booster()),
            **common,
        ),
        rows=rows,
        search=found,
    )


def training_rows(
    frame: pd.DataFrame, features: Sequence[str], config: TrainingConfig
) -> TrainingRows:
    """The rows with their inputs, weighed by overlap and by recency.

    The strategy's own records are no inputs: they change with the model that decides, so what was
    learned from them need not hold any more.
    """
    own = {feature.name for feature in FEATURES if feature.source == "own records"}
    inputs = [name for name in features if name not in own]
    decided = micros_of(frame["decided_at"])
    age_days = (decided.max() - decided) / DAY
    weights = label_uniqueness(frame) * 0.5 ** (age_days / config.recency_half_life_days)
    # Of mean 1, so that regularisation means the same on every dataset.
    return TrainingRows(frame, inputs, weights / weights.mean())
