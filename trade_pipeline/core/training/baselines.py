"""The linear baseline: what a model of many trees must not be worse than."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.training.policy import break_even_confidence
from trade_pipeline.core.training.search import TrainingRows

if TYPE_CHECKING:
    import pandas as pd

MAX_FEATURES = 50
# Standard deviations beyond which a value counts as this many: a line has no leaves to stop it.
_BOUND = 5.0
_PENALTY = 100.0


@dataclass(frozen=True, slots=True)
class LinearBaseline:
    """Ridge regression of the return, and logistic regression of the profit."""

    preparation: Preparation
    entry_confidence: float
    _return: Any
    _profit: Any

    @classmethod
    def fit(cls, rows: TrainingRows) -> LinearBaseline:
        """Learn from the rows that the model learns from."""
        from sklearn.linear_model import LogisticRegression, Ridge

        preparation = Preparation.fit(
            rows.frame, list(rows.inputs), rows.adjusted, min(MAX_FEATURES, len(rows.inputs))
        )
        x = _bounded(preparation, rows.frame)
        return cls(
            preparation=preparation,
            entry_confidence=break_even_confidence(rows.returns, rows.weights),
            _return=Ridge(alpha=_PENALTY).fit(x, rows.returns, sample_weight=rows.weights),
            _profit=LogisticRegression(C=1.0 / _PENALTY, max_iter=1000).fit(
                x, rows.returns > 0, sample_weight=rows.weights
            ),
        )

    def expected_return(self, frame: pd.DataFrame) -> Floats:
        """After all costs, as a fraction."""
        found: Floats = self._return.predict(_bounded(self.preparation, frame))
        return found

    def confidence(self, frame: pd.DataFrame) -> Floats:
        """Probability of a profit."""
        found: Floats = self._profit.predict_proba(_bounded(self.preparation, frame))[:, 1]
        return found


def _bounded(preparation: Preparation, frame: pd.DataFrame) -> Floats:
    found: Floats = preparation.transform(frame).to_numpy(np.float64)
    return found.clip(-_BOUND, _BOUND)
