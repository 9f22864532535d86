"""A model of one's own: a ridge regression by scikit-learn, kept as plain numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from trade_pipeline.extend import Estimator


class Linear(Estimator):
    """Which settings is best is found in purged cross-validation; the gates judge the choice."""

    settings = (
        {"max_features": 20, "alpha": 100.0},
        {"max_features": 20, "alpha": 1_000.0},
        {"max_features": 40, "alpha": 1_000.0},
    )

    def fit(
        self, x: np.ndarray, y: np.ndarray, weights: np.ndarray, *, alpha: float
    ) -> dict[str, Any]:
        # Imported where it is needed: predictions need numpy alone.
        from sklearn.linear_model import Ridge

        ridge = Ridge(alpha=alpha).fit(x, y, sample_weight=weights)
        return {"weights": ridge.coef_.tolist(), "intercept": float(ridge.intercept_)}

    def predict(self, parameters: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
        return x @ np.array(parameters["weights"]) + parameters["intercept"]
