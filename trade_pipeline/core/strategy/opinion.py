"""What the models on duty say of candidates: production's, and that of a canary, which may fail."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.errors import InvalidConfidence
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.config import SignalConfig

if TYPE_CHECKING:
    from trade_pipeline.core.strategy.model import TradeModel

# Features that are named as the reasons of a decision.
CONTRIBUTIONS = 8
INDEX = {name: index for index, name in enumerate(NAMES)}
# What a message says otherwise each time: xgboost's begin with the time and may name an address.
_FLEETING = re.compile(r"^\[\d\d:\d\d:\d\d\] |\b0x[0-9a-f]+\b")
_LONGEST_MESSAGE = 200


@dataclass(frozen=True, slots=True)
class DecidingModel:
    """A model under its version.

    Attributes:
        model: None: the heuristic.
    """

    version: str = HEURISTIC_VERSION
    model: TradeModel | None = field(default=None, compare=False, repr=False)

    def entry_confidence(self, signal: SignalConfig) -> float:
        """The confidence from which on it enters."""
        return signal.min_confidence if self.model is None else self.model.entry_confidence

    def told(self, vectors: Floats) -> dict[str, float] | None:
        """The same as `Opinion.told` for one vector (1, features)."""
        if self.model is None:
            return None
        return _told(self.model.inputs, *self.model.contributions(self.inputs_of(vectors)), 0)

    def inputs_of(self, vectors: Floats) -> Floats:
        """Rows of what the model reads."""
        inputs = () if self.model is None else self.model.inputs
        return np.ascontiguousarray(vectors[:, [INDEX[name] for name in inputs]])


@dataclass(frozen=True, slots=True)
class Models:
    """The models on duty.  Those of the same versions are the same.

    Attributes:
        canary: the model on trial beside production's; None: there is none.
        fund_share: part of its fund with which production decides.
    """

    production: DecidingModel = DecidingModel()
    canary: DecidingModel | None = None
    fund_share: float = 1.0


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one model says of candidates, a row each.

    Attributes:
        confidence: 0..1; NaN where a canary failed.
        inputs, contributions: see `TradeModel.contributions`; a canary's are made when it decides.
        errors: why a canary failed, by row.
        seconds: what the prediction took.
    """

    by: DecidingModel
    confidence: Floats
    inputs: tuple[str, ...] = ()
    contributions: tuple[Floats, Floats] | None = None
    errors: Mapping[int, str] = field(default_factory=dict)
    seconds: float = 0.0

    def told(self, row: int) -> dict[str, float] | None:
        """What moved the model's confidence most, in log odds: `CONTRIBUTIONS` features, the rest
        together and the base; None where the heuristic decides.
        """
        if self.contributions is None:
            return None
        return _told(self.inputs, *self.contributions, row)


@dataclass(frozen=True, slots=True)
class Opinions:
    """What the models on duty say of the same candidates."""

    models: Models
    production: Opinion
    canary: Opinion | None


def opinions_of(models: Models, heuristic: Floats, vectors: Floats) -> Opinions:
    """What the models on duty say of candidates.

    An error of production's model is raised.  One of the canary's is noted in its opinion: where it
    fails over all rows it is asked of each alone, so that none suffers from another.

    Args:
        heuristic: the heuristic's confidence of each.
        vectors: a row of all features each.
    """
    canary = models.canary
    return Opinions(
        models,
        _opinion_of(models.production, heuristic, vectors),
        None if canary is None else _opinion_on_trial(canary, heuristic, vectors),
    )


def error_text(error: Exception) -> str:
    """An error as a record tells it: type and message, in ASCII and the same in every replay."""
    first = str(error).partition("\n")[0]
    message = ascii(_FLEETING.sub("", first))[1:-1]
    return f"{type(error).__name__}: {message}"[:_LONGEST_MESSAGE]


def _opinion_of(by: DecidingModel, heuristic: Floats, vectors: Floats) -> Opinion:
    model = by.model
    if model is None:
        return Opinion(by, heuristic)
    known = by.inputs_of(vectors)
    started = time.perf_counter()
    confidence = model.predict(known).confidence
    seconds = time.perf_counter() - started
    return Opinion(by, confidence, model.inputs, model.contributions(known), seconds=seconds)


def _opinion_on_trial(by: DecidingModel, heuristic: Floats, vectors: Floats) -> Opinion:
    errors: dict[int, str] = {}
    started = time.perf_counter()
    try:
        confidence = _predicted(by, heuristic, vectors)
    except Exception:  # noqa: BLE001 (each row tells its own below)
        confidence = np.full(len(vectors), np.nan)
        for row in range(len(vectors)):
            one = slice(row, row + 1)
            try:
                confidence[row] = _predicted(by, heuristic[one], vectors[one])[0]
            except Exception as error:  # noqa: BLE001 (whatever it is, production decides)
                errors[row] = error_text(error)
    seconds = time.perf_counter() - started
    for row in np.flatnonzero(~((confidence >= 0) & (confidence <= 1))).tolist():
        wrong = InvalidConfidence("confidence", float(confidence[row]), "a number in 0..1")
        errors.setdefault(row, error_text(wrong))
        confidence[row] = np.nan
    return Opinion(by, confidence, errors=errors, seconds=seconds)


def _predicted(by: DecidingModel, heuristic: Floats, vectors: Floats) -> Floats:
    """The confidence of each row, an array of its own.

    Raises:
        Exception: whatever the model does; ValueError: not one number for each row.
    """
    if by.model is None:
        return heuristic.copy()
    confidence = np.array(by.model.predict(by.inputs_of(vectors)).confidence, np.float64)
    if confidence.shape != (len(vectors),):
        raise ValueError(f"confidence: shape {confidence.shape}, expected ({len(vectors)},)")
    return confidence


def _told(
    inputs: tuple[str, ...], base: Floats, contributions: Floats, row: int
) -> dict[str, float]:
    values = contributions[row]
    order = np.argsort(-np.abs(values), kind="stable")
    told = {inputs[n]: float(values[n]) for n in order[:CONTRIBUTIONS].tolist()}
    rest = sum(values[order[CONTRIBUTIONS:]].tolist())
    return told | {"(other features)": rest, "(base)": float(base[row])}
