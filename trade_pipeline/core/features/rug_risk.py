"""The rug probability of a decision: the newest model whose lessons were known by then."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.errors import BadConfig, first_problem, shown
from trade_pipeline.core.features.registry import BUILT_IN, NAMES
from trade_pipeline.core.features.rug_classifier import RugClassifier
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import Floats, Ints

if TYPE_CHECKING:
    import pandas as pd

# A recording's supply is a later snapshot, and whether it is known there tells of the token's fate.
_FROM_SUPPLY = (
    "market_cap_usd", "market_cap_to_liquidity", "volume_to_market_cap_24h", "supply_change_24h",
    "supply_in_pool_share",
)  # fmt: skip
# What tells of a token, and not of the strategy or the hour.
INPUTS: tuple[str, ...] = tuple(
    feature.name
    for feature in BUILT_IN
    if feature.family != "execution"
    and feature.source not in ("own records", "model")
    and feature.name not in _FROM_SUPPLY
)


def rug_inputs(vectors: Floats) -> pd.DataFrame:
    """The inputs of the classifier from feature vectors, a row each."""
    import pandas as pd

    return pd.DataFrame(vectors[:, [NAMES.index(name) for name in INPUTS]], columns=list(INPUTS))


@dataclass(frozen=True, slots=True)
class RugRisk:
    """Models by the moment from which each may be used, oldest first.

    Attributes:
        known_from: microseconds since 1970-01-01 UTC; every label that a model learned from had
            ended by then.
    """

    known_from: Sequence[int]
    models: Sequence[RugClassifier]

    def probability(self, vectors: Floats, at: Ints) -> Floats:
        """Probability of a rug within 48 h by row, 0..1; NaN before the first model."""
        found = np.full(len(at), np.nan)
        newest = self._newest(at)
        for number in np.unique(newest[newest >= 0]).tolist():
            rows = newest == number
            found[rows] = self.models[number].probability(rug_inputs(vectors[rows]))
        return found

    def threshold(self, at: Ints) -> Floats:
        """From which probability on a row is called a rug; NaN before the first model."""
        thresholds = np.array([np.nan, *(model.threshold for model in self.models)])
        return thresholds[self._newest(at) + 1]

    def _newest(self, at: Ints) -> Ints:
        """Number of the newest model at each moment; -1 before the first."""
        return np.array(self.known_from, np.int64).searchsorted(at, side="right") - 1

    def to_bytes(self) -> bytes:
        """One JSON document; the same models give the same bytes."""
        return canonical_bytes(
            {
                "format": "rug-risk-1",
                "models": [
                    {"known_from": at, "classifier": orjson.Fragment(model.to_bytes())}
                    for at, model in zip(self.known_from, self.models, strict=True)
                ],
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> RugRisk:
        """Read `to_bytes`.

        Raises:
            BadConfig: it is no such document.
        """
        try:
            stored = _File.model_validate(orjson.loads(data)).models
        except orjson.JSONDecodeError as error:
            raise BadConfig(f"rug_risk_model: is not a rug risk document: {error}") from None
        except ValidationError as error:
            raise BadConfig(f"rug_risk_model: {first_problem(error)}") from None
        known_from = [one.known_from for one in stored]
        if known_from != sorted(known_from):
            raise BadConfig("rug_risk_model: known_from: expected the oldest model first")
        models = [RugClassifier.from_document(one.classifier) for one in stored]
        if unknown := {name for model in models for name in model.names} - set(INPUTS):
            raise BadConfig(f"rug_risk_model: names={shown(min(unknown))}: is no input")
        return cls(known_from, models)

    def describe(self) -> list[dict[str, str]]:
        """From when each model may be used, for people."""
        return [{"known_from": moment_of(at).isoformat()} for at in self.known_from]


class _Stored(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    # Moments that a datetime can hold, and the beginning of time.
    known_from: Annotated[int, Field(ge=-62_135_596_800_000_000, lt=253_402_300_800_000_000)]
    classifier: dict[str, Any]


class _File(BaseModel):
    """What `to_bytes` wrote."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal["rug-risk-1"]
    models: Annotated[list[_Stored], Field(max_length=10_000)]
