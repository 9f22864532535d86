"""Learning with an estimator of the user's own, inside the product's purged cross-validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.dataset.split import cross_validation_splits
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.extensions.estimator import Estimator
from trade_pipeline.core.extensions.load import class_of, error_line
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.strategy.scorers import ESTIMATOR, OwnScorer
from trade_pipeline.core.training.config import TrainingConfig
from trade_pipeline.core.training.evidence import Fold
from trade_pipeline.core.training.search import (
    Progress,
    Search,
    TrainingRows,
    Trial,
    rank_correlation,
)

if TYPE_CHECKING:
    import pandas as pd

MAX_FEATURES = "max_features"
_USUAL = 20


@dataclass(frozen=True, slots=True)
class OwnModel:
    """A fitted preparation and what the estimator learned behind it."""

    preparation: Preparation
    scorer: OwnScorer

    def scores(self, frame: pd.DataFrame) -> Floats:
        """The expected market-adjusted return of a frame's rows."""
        values = np.ascontiguousarray(frame[list(self.preparation.features)].to_numpy(np.float64))
        return self.scorer.scores(self.preparation.matrix(values))[0]


class OwnFit:
    """Fits an estimator by its settings.

    Args:
        reference: ``module:Class``.

    Raises:
        BadConfig: no such class in a named module, or it names fewer than two settings.
    """

    def __init__(self, reference: str) -> None:
        kind = class_of(reference, Estimator, ESTIMATOR)
        self._reference, self._own = reference, kind()
        self._settings = [dict(one) for one in kind.settings]
        if len(self._settings) < 2:
            raise BadConfig(
                f"estimator={reference!r}: settings has {len(self._settings)} entries, expected at "
                "least 2: how far a choice among settings overfits is one of the gates"
            )

    def fit(self, rows: TrainingRows, params: Mapping[str, Any]) -> OwnModel:
        """Learn from all of some rows.

        Args:
            params: one of the class's settings.

        Raises:
            BadConfig: `Estimator.fit` fails or gives what JSON cannot hold.
        """
        given = dict(params)
        most = given.pop(MAX_FEATURES, _USUAL)
        inputs = list(rows.inputs)
        preparation = Preparation.fit(rows.frame[inputs], inputs, rows.scores, most)
        values = rows.frame[list(preparation.features)].to_numpy(np.float64)
        prepared = preparation.matrix(np.ascontiguousarray(values))
        try:
            found = self._own.fit(prepared, rows.adjusted.copy(), rows.weights.copy(), **given)
        except Exception as error:
            raise BadConfig(f"estimator {self._reference}: fit(): {error_line(error)}") from error
        return OwnModel(preparation, OwnScorer.fitted(self._reference, found))

    def search(
        self, rows: TrainingRows, config: TrainingConfig, progress: Progress | None = None
    ) -> Search:
        """Try every setting in each fold.

        Args:
            progress: called with (trials so far, all trials).
        """
        folds = [
            (rows.take(learn), held_out)
            for learn, held_out in cross_validation_splits(
                rows.frame, config.folds, embargo_hours=config.embargo_hours
            )
        ]
        trials = []
        for params in self._settings:
            trials.append(self._try(rows, folds, params))
            if progress is not None:
                progress(len(trials), len(self._settings))
        return Search(trials, folds)

    def _try(
        self,
        rows: TrainingRows,
        folds: list[tuple[TrainingRows, Ints]],
        params: dict[str, Any],
    ) -> Trial:
        margin = np.empty(len(rows.frame))
        judged = []
        for known, held_out in folds:
            truth = rows.adjusted[held_out]
            score = self.fit(known, params).scores(rows.frame.iloc[held_out])
            margin[held_out] = score
            ranks = rank_correlation(score, truth)
            r2 = 1.0 - float(np.sum((truth - score) ** 2) / np.sum(truth**2))
            judged.append(Fold(ranks, ranks, r2, len(held_out)))
        found = float(np.mean([fold.rank_correlation for fold in judged]))
        return Trial(params, found, judged, margin)
