"""The preparation as a step of a scikit-learn pipeline.  Import it where a model is fitted."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin

from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.market.event import Floats


class Prepare(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Selection, imputation and scaling: see `Preparation`, which it holds once fitted."""

    def __init__(self, max_features: int) -> None:
        self.max_features = max_features

    def fit(self, frame: pd.DataFrame, target: npt.NDArray[Any], *, scores: Floats) -> Self:
        """Select by the columns' scores, whatever the next step's target is; learn the scales."""
        self.preparation_ = Preparation.fit(frame, list(frame.columns), scores, self.max_features)
        return self

    def transform(self, frame: pd.DataFrame) -> npt.NDArray[np.float32]:
        """The prepared columns, as the trees see them."""
        return self.preparation_.transform(frame).to_numpy(np.float32)
