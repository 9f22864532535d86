"""What a model says of prepared rows: trees, or an estimator of the user's own.

Either is plain data in the model's document, and nothing in that is executed when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import orjson

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.extensions.estimator import Estimator
from trade_pipeline.core.extensions.load import class_of, error_line, split, version_of
from trade_pipeline.core.features.trees import read_trees
from trade_pipeline.core.market.event import Floats

if TYPE_CHECKING:
    import xgboost as xgb

ESTIMATOR = "estimator"


class Scorer(Protocol):
    """Fitted; what it says of a row does not depend on the rows beside it."""

    def scores(self, prepared: Floats) -> tuple[Floats, Floats]:
        """(expected return beside the mean, margin that Platt's curve takes) by row."""
        ...

    def contributions(self, prepared: Floats) -> tuple[Floats, Floats]:
        """(base by row, (rows, columns)) that sum to the margin."""
        ...

    def document(self) -> dict[str, Any]:
        """As plain data for JSON."""
        ...


@dataclass(frozen=True, slots=True)
class Trees:
    """A regressor of the return and a classifier of the profit, in xgboost's own open form."""

    regressor: xgb.Booster
    classifier: xgb.Booster

    def scores(self, prepared: Floats) -> tuple[Floats, Floats]:
        rows = prepared.astype(np.float32)
        margin = self.classifier.inplace_predict(rows, predict_type="margin")
        expected = self.regressor.inplace_predict(rows)
        return expected.astype(np.float64), margin.astype(np.float64)

    def contributions(self, prepared: Floats) -> tuple[Floats, Floats]:
        """Exact Shapley values of the classifier (Lundberg et al. 2020, path dependent)."""
        import xgboost as xgb

        matrix = xgb.DMatrix(prepared.astype(np.float32), nthread=1)
        found = self.classifier.predict(matrix, pred_contribs=True).astype(np.float64)
        return found[:, -1], found[:, :-1]

    def document(self) -> dict[str, Any]:
        return {
            "regressor": orjson.Fragment(bytes(self.regressor.save_raw("json"))),
            "classifier": orjson.Fragment(bytes(self.classifier.save_raw("json"))),
        }

    @classmethod
    def of(
        cls, regressor: Mapping[str, Any], classifier: Mapping[str, Any], columns: Sequence[str]
    ) -> Trees:
        """Read what `document` gave, over columns of these names.

        Raises:
            BadConfig: it is damaged, or has other inputs.
        """
        return cls(
            read_trees(regressor, columns, "model: regressor", "reg:squarederror"),
            read_trees(classifier, columns, "model: classifier", "binary:logistic"),
        )


@dataclass(frozen=True, slots=True)
class OwnScorer:
    """What an estimator of the user's own learned.

    Attributes:
        reference: ``module:Class``.
        code: the version of the module's source that learned it.
        parameters: what its `fit` returned.
        own: the estimator.
    """

    reference: str
    code: str
    parameters: Mapping[str, Any]
    own: Estimator

    @classmethod
    def fitted(cls, reference: str, parameters: Any) -> OwnScorer:
        """Of parameters that were just learned.

        Raises:
            BadConfig: they cannot be kept as JSON.
        """
        named = f"estimator {reference}"
        if not isinstance(parameters, dict):
            raise BadConfig(f"{named}: fit() gave {type(parameters).__name__}, expected a dict")
        try:
            # Exactly what a model file will hold.
            data = orjson.dumps(parameters, option=orjson.OPT_SERIALIZE_NUMPY)
        except TypeError as error:
            raise BadConfig(f"{named}: fit() gave what JSON cannot hold: {error}") from None
        kept = orjson.loads(data)
        if _has_null(kept):
            raise BadConfig(f"{named}: fit() gave a number that is not finite, or None")
        own = class_of(reference, Estimator, ESTIMATOR)()
        return cls(reference, version_of(split(reference)[0]), kept, own)

    def scores(self, prepared: Floats) -> tuple[Floats, Floats]:
        score = np.array([self._score(row) for row in np.ascontiguousarray(prepared)], np.float64)
        return score, score

    def contributions(self, prepared: Floats) -> tuple[Floats, Floats]:
        """How the score moves when the columns of a mean candidate take their values in turn.

        Of a linear model these are its exact Shapley values; of another they depend on the order.
        """
        rows, columns = prepared.shape
        base = self._score(np.zeros(columns))
        found = np.zeros((rows, columns))
        for number, row in enumerate(prepared):
            now, before = np.zeros(columns), base
            for column in np.flatnonzero(row).tolist():
                now[column] = row[column]
                after = self._score(now)
                found[number, column] = after - before
                before = after
        return np.full(rows, base), found

    def document(self) -> dict[str, Any]:
        return {
            ESTIMATOR: {
                "class": self.reference,
                "code": self.code,
                "parameters": dict(self.parameters),
            }
        }

    @classmethod
    def of(cls, reference: str, code: str, parameters: Mapping[str, Any]) -> OwnScorer:
        """Read what `document` gave.

        Raises:
            BadConfig: its module is not named, or is not the code that learned it.
        """
        own = class_of(reference, Estimator, ESTIMATOR)()
        here = version_of(split(reference)[0])
        if here != code:
            raise BadConfig(
                f"estimator={reference!r}: the model was learned by code {code}, this is {here}; "
                "check out that code, or train a new model"
            )
        return cls(reference, code, parameters, own)

    def _score(self, row: Floats) -> float:
        named = f"estimator {self.reference}: predict()"
        try:
            found = np.asarray(self.own.predict(self.parameters, row[None, :]), np.float64)
        except Exception as error:
            raise BadConfig(f"{named}: {error_line(error)}") from error
        if found.shape != (1,) or not np.isfinite(found[0]):
            raise BadConfig(f"{named} gave {found!r}, expected one finite number for one row")
        return float(found[0])


def _has_null(value: Any) -> bool:
    """Whether there is a null anywhere: JSON's stand-in for what is no number."""
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    return any(map(_has_null, value)) if isinstance(value, list) else value is None
