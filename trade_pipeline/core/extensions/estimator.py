"""A model of the user's own: how it learns and what it says, in one class.

What it learned is plain data, so that a model file is a JSON document: nothing in it is executed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from trade_pipeline.core.market.event import Floats


class Estimator:
    """Derive from it and write `fit` and `predict`.

    The product selects the features, fills in what is missing and scales them, all from training
    rows alone; cuts the folds, calibrates the probability of a profit on rows that a fold did not
    see, and asks the gates.

    Attributes:
        settings: what is tried, at least two; each is given to `fit` by name, but for
            ``max_features``, the number of features that are selected (unset: 20).
    """

    settings: ClassVar[Sequence[Mapping[str, Any]]] = ()

    def fit(self, x: Floats, y: Floats, weights: Floats, **settings: Any) -> dict[str, Any]:
        """Learn.

        Args:
            x: (rows, columns), prepared: mean 0 and deviation 1, nothing missing.
            y: (rows,) return of each candidate less the mean of its day, as a fraction.
            weights: (rows,) of mean 1.

        Returns:
            What `predict` needs, as JSON can hold it: numbers, texts, lists, dicts by text.
        """
        raise NotImplementedError

    def predict(self, parameters: Mapping[str, Any], x: Floats) -> Floats:
        """The expected ``y`` of each row.

        It is asked for one row at a time, so that what stands beside a row never matters.
        """
        raise NotImplementedError
