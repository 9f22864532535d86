"""The linear baseline: what a model of many trees must not be worse than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.training.policy import break_even_confidence
from trade_pipeline.core.training.search import TrainingRows, day_odds

if TYPE_CHECKING:
    import pandas as pd

MAX_FEATURES = 50
# Standard deviations beyond which a value counts as this many: a line has no leaves to stop it.
_BOUND = 5.0
_PENALTY = 100.0


@dataclass(frozen=True, slots=True)
class LinearBaseline:
    """Logistic regression of the profit.

    Like the model's trees it learns beside the odds of a profit on the row's own day, which nobody
    knows beforehand: a prediction is made at the training days' mean odds.
    """

    preparation: Preparation
    entry_confidence: float
    _odds: float
    _profit: Any

    @classmethod
    def fit(cls, rows: TrainingRows) -> LinearBaseline:
        """Learn from the rows that the model learns from."""
        from sklearn.linear_model import LogisticRegression

        preparation = Preparation.fit(
            rows.frame, list(rows.inputs), rows.scores, min(MAX_FEATURES, len(rows.inputs))
        )
        x = _bounded(preparation, rows.frame)
        won = rows.returns > 0
        odds = day_odds(won, rows.days)
        return cls(
            preparation=preparation,
            entry_confidence=break_even_confidence(rows.returns, rows.weights),
            _odds=float(np.average(odds, weights=rows.weights)),
            _profit=LogisticRegression(C=1.0 / _PENALTY, max_iter=1000).fit(
                np.column_stack((x, odds)), won, sample_weight=rows.weights
            ),
        )

    def confidence(self, frame: pd.DataFrame) -> Floats:
        """Probability of a profit."""
        x = _bounded(self.preparation, frame)
        odds = np.full(len(x), self._odds)
        found: Floats = self._profit.predict_proba(np.column_stack((x, odds)))[:, 1]
        return found


def _bounded(preparation: Preparation, frame: pd.DataFrame) -> Floats:
    found: Floats = preparation.transform(frame).to_numpy(np.float64)
    return found.clip(-_BOUND, _BOUND)
