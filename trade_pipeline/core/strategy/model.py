"""A trained model that decides: the return to expect, and the probability of a profit.

It is one JSON document, so nothing in it is executed when it is read: the fitted preparation as
numbers, both tree models in xgboost's own open form (or what an estimator of the user's own
learned), and Platt's curve.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.errors import BadConfig, first_problem
from trade_pipeline.core.extensions.load import SETTING
from trade_pipeline.core.features.calibration import platt_probability
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.features.registry import FEATURES, AddedFeature
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.strategy.scorers import OwnScorer, Scorer, Trees

if TYPE_CHECKING:
    import pandas as pd

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
        preparation: what the scorer is given: selected features, complete, on one scale.
        scorer: trees, or the user's own.
        base_return: mean return in training, to which the scorer adds what sets a candidate apart
            from the others of its day.
        slope, offset: of Platt's curve, in the scorer's margin.
        entry_confidence: from which confidence on it enters: where the mean gain of winners pays
            for the mean loss of losers.
    """

    market: str
    preparation: Preparation
    scorer: Scorer
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
        expected, margin = self.scorer.scores(self._prepared(features))
        return Prediction(
            expected_return=self.base_return + expected,
            confidence=platt_probability(margin, self.slope, self.offset),
        )

    def contributions(self, features: Floats) -> tuple[Floats, Floats]:
        """How much each input moves the log odds of a profit, before and without the others.

        They are the scorer's, on the calibrated log odds; an indicator of a missing value counts
        for its feature.

        Returns:
            (base, values): a base by row, and (rows, inputs) that sum with it to the log odds.
        """
        base, found = self.scorer.contributions(self._prepared(features))
        values = found[:, : len(self.inputs)].copy()
        for column, name in enumerate(self.preparation.indicators, start=len(self.inputs)):
            values[:, self.inputs.index(name)] += found[:, column]
        return self.slope * base + self.offset, self.slope * values

    def _prepared(self, features: Floats) -> Floats:
        if features.ndim != 2 or features.shape[1] != len(self.inputs):
            raise BadConfig(
                f"features: shape {features.shape}, expected rows of {len(self.inputs)} inputs"
            )
        return self.preparation.matrix(features)

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
            }
            | self.scorer.document()
            | ({"added_features": added} if (added := _added(self.inputs)) else {})
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> TradeModel:
        """Read what `to_bytes` wrote.

        Raises:
            BadConfig: it is no such document, it is damaged, or it needs code of the user's own
                that is not here or has changed.
        """
        try:
            content = _File.model_validate(orjson.loads(data))
        except orjson.JSONDecodeError as error:
            raise BadConfig(f"model: incomplete or damaged: {error}") from None
        except ValidationError as error:
            raise BadConfig(f"model: incomplete or damaged: {first_problem(error)}") from None
        preparation = Preparation.from_dict(content.preparation)
        _require_features(content.added_features)
        return cls(
            market=content.market,
            preparation=preparation,
            scorer=content.scorer(preparation.columns),
            base_return=content.base_return,
            slope=content.slope,
            offset=content.offset,
            entry_confidence=content.entry_confidence,
        )


def _added(names: Sequence[str] | None = None) -> dict[str, str]:
    """The code of the features that the user added, of some names or of all."""
    return {
        one.name: one.code
        for one in FEATURES
        if isinstance(one, AddedFeature) and (names is None or one.name in names)
    }


def _require_features(learned: Mapping[str, str]) -> None:
    """Refuse a model that learned from other values than it would be given.

    Raises:
        BadConfig: a feature that the user added is not here, or its code has changed.
    """
    here = _added()
    for name, code in learned.items():
        if name not in here:
            raise BadConfig(
                f"model: it reads the feature {name!r}, which no module of {SETTING} declares"
            )
        if here[name] != code:
            raise BadConfig(
                f"model: it learned from the feature {name!r} of code {code}, this is "
                f"{here[name]}; check out that code, or train a new model"
            )


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class _Estimator(_Part):
    class_: str = Field(alias="class")
    code: str
    parameters: dict[str, Any]


class _File(_Part):
    """What `to_bytes` wrote; the parts are checked by who reads them."""

    format: Literal["trade-model-1"]
    market: Annotated[str, Field(min_length=1)]
    preparation: dict[str, Any]
    regressor: dict[str, Any] | None = None
    classifier: dict[str, Any] | None = None
    estimator: _Estimator | None = None
    added_features: dict[str, str] = {}
    base_return: float
    slope: float
    offset: float
    entry_confidence: float

    def scorer(self, columns: Sequence[str]) -> Scorer:
        """What is in it: trees over some columns, or an estimator of the user's own.

        Raises:
            BadConfig: it is neither, or damaged.
        """
        own, trees = self.estimator, (self.regressor, self.classifier)
        if own is not None and trees == (None, None):
            return OwnScorer.of(own.class_, own.code, own.parameters)
        if own is None and self.regressor is not None and self.classifier is not None:
            return Trees.of(self.regressor, self.classifier, columns)
        raise BadConfig("model: expected a regressor and a classifier, or an estimator")
