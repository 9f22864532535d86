"""A trained model that decides: the return to expect, and the probability of a profit.

It is one JSON document, so nothing in it is executed when it is read: the fitted preparation as
numbers, both tree models in xgboost's own open form, and Platt's curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.errors import BadConfig, shown
from trade_pipeline.core.features.calibration import platt_probability
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.features.trees import read_trees
from trade_pipeline.core.market.event import Floats

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd
    import xgboost as xgb

FORMAT = "trade-model-1"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a model says of some candidates, a row each.

    Attributes:
        expected_return: after all costs, as a fraction.
        confidence: calibrated probability of a profit, 0..1.
    """

    expected_return: Floats
    confidence: Floats


@dataclass(frozen=True, slots=True)
class TradeModel:
    """A fitted model; predictions of a row do not depend on the rows beside it.

    Attributes:
        market: the kind of market that it was learned on; it decides on no other.
        preparation: what the trees are given: selected features, complete, on one scale.
        base_return: mean return in training, to which the regressor's trees add what sets a
            candidate apart from the others of its day.
        slope, offset: of Platt's curve, in the classifier's margin (log odds).
        entry_confidence: from which confidence on it enters: where the mean gain of winners pays
            for the mean loss of losers.
    """

    market: str
    preparation: Preparation
    regressor: xgb.Booster
    classifier: xgb.Booster
    base_return: float
    slope: float
    offset: float
    entry_confidence: float

    @property
    def inputs(self) -> tuple[str, ...]:
        """The features that it reads, in order."""
        return self.preparation.features

    def inputs_of(self, frame: pd.DataFrame) -> Floats:
        """The `inputs` of a frame's rows, as `predict` wants them."""
        return np.ascontiguousarray(frame[list(self.inputs)].to_numpy(np.float64))

    def predict(self, features: Floats) -> Prediction:
        """Predict rows of `inputs`, NaN where one is unknown.

        Raises:
            BadConfig: another number of columns.
        """
        prepared = self._prepared(features)
        margin = self.classifier.inplace_predict(prepared, predict_type="margin")
        return Prediction(
            expected_return=self.base_return
            + self.regressor.inplace_predict(prepared).astype(np.float64),
            confidence=platt_probability(margin.astype(np.float64), self.slope, self.offset),
        )

    def contributions(self, features: Floats) -> tuple[Floats, Floats]:
        """How much each input moves the log odds of a profit, before and without the others.

        Exact Shapley values of the trees (Lundberg et al. 2020, path dependent), on the calibrated
        log odds; an indicator of a missing value counts for its feature.

        Returns:
            (base, values): a base by row, and (rows, inputs) that sum with it to the log odds.
        """
        import xgboost as xgb

        matrix = xgb.DMatrix(self._prepared(features), nthread=1)
        found = self.classifier.predict(matrix, pred_contribs=True).astype(np.float64)
        values = found[:, : len(self.inputs)].copy()
        for column, name in enumerate(self.preparation.indicators, start=len(self.inputs)):
            values[:, self.inputs.index(name)] += found[:, column]
        return self.slope * found[:, -1] + self.offset, self.slope * values

    def _prepared(self, features: Floats) -> npt.NDArray[np.float32]:
        if features.ndim != 2 or features.shape[1] != len(self.inputs):
            raise BadConfig(
                f"features: shape {features.shape}, expected rows of {len(self.inputs)} inputs"
            )
        return self.preparation.matrix(features).astype(np.float32)

    def to_bytes(self) -> bytes:
        """The document; the same model gives the same bytes."""
        return canonical_bytes(
            {
                "format": FORMAT,
                "market": self.market,
                "preparation": self.preparation.to_dict(),
                "base_return": self.base_return,
                "slope": self.slope,
                "offset": self.offset,
                "entry_confidence": self.entry_confidence,
                "regressor": orjson.Fragment(bytes(self.regressor.save_raw("json"))),
                "classifier": orjson.Fragment(bytes(self.classifier.save_raw("json"))),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> TradeModel:
        """Read what `to_bytes` wrote.

        Raises:
            BadConfig: it is no such document, or it is damaged.
        """
        try:
            content = _File.model_validate(orjson.loads(data))
        except orjson.JSONDecodeError as error:
            raise BadConfig(f"model: damaged: {error}") from None
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            where = ".".join(map(str, problem["loc"])) or "the file"
            raise BadConfig(
                f"model: incomplete or damaged: {where}={shown(problem['input'])}: {problem['msg']}"
            ) from None
        preparation = Preparation.from_dict(content.preparation)
        regressor, classifier = (
            read_trees(document, preparation.columns, f"model: {name}", objective)
            for name, document, objective in (
                ("regressor", content.regressor, "reg:squarederror"),
                ("classifier", content.classifier, "binary:logistic"),
            )
        )
        return cls(
            market=content.market,
            preparation=preparation,
            regressor=regressor,
            classifier=classifier,
            base_return=content.base_return,
            slope=content.slope,
            offset=content.offset,
            entry_confidence=content.entry_confidence,
        )


class _File(BaseModel):
    """What `to_bytes` wrote; the parts are checked by who reads them."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    format: Literal["trade-model-1"]
    market: Annotated[str, Field(min_length=1)]
    preparation: dict[str, Any]
    regressor: dict[str, Any]
    classifier: dict[str, Any]
    base_return: float
    slope: float
    offset: float
    entry_confidence: float
