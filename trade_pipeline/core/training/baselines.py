"""The linear baseline: what a model of many trees must not be worse than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.training.search import TrainingRows, day_odds

if TYPE_CHECKING:
    import pandas as pd

MAX_FEATURES = 50
# Standard deviations beyond which a value counts as this many: a line has no leaves to stop it.
_BOUND = 5.0
_PENALTY = 100.0


@dataclass(frozen=True, slots=True)
class LinearBaseline:
    """Logistic regression of the profit, beside the odds of a profit on each row's own day."""

    preparation: Preparation
    coefficients: Floats

    @classmethod
    def fit(cls, rows: TrainingRows) -> LinearBaseline:
        """Learn from the rows that the model learns from."""
        from sklearn.linear_model import LogisticRegression

        preparation = Preparation.fit(
            rows.frame, list(rows.inputs), rows.scores, min(MAX_FEATURES, len(rows.inputs))
        )
        won = rows.returns > 0
        x = np.column_stack((_bounded(preparation, rows.frame), day_odds(won, rows.days)))
        fitted = LogisticRegression(C=1.0 / _PENALTY, max_iter=1000).fit(
            x, won, sample_weight=rows.weights
        )
        return cls(preparation, fitted.coef_[0, :-1])

    def score(self, frame: pd.DataFrame) -> Floats:
        """Log odds of a profit, but for what all candidates of a day share."""
        found: Floats = _bounded(self.preparation, frame) @ self.coefficients
        return found


def _bounded(preparation: Preparation, frame: pd.DataFrame) -> Floats:
    found: Floats = preparation.transform(frame).to_numpy(np.float64)
    return found.clip(-_BOUND, _BOUND)
