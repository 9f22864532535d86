"""A model and what was said of it, as records; a model's version follows from its content."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, ClassVar, Protocol

from trade_pipeline.core.canonical import ADDRESS_PREFIX, address_of, canonical_bytes
from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.validation import require_count, require_moment, require_text


def model_version(content: Mapping[str, Any]) -> str:
    """The content address of a model.

    It covers every field but the version itself: the file, what it was trained on and with, and
    what came of it.

    Args:
        content: the fields of a `ModelRecord`, as they are or read back from JSON.
    """
    names = (field.name for field in fields(ModelRecord) if field.name != "model_version")
    return address_of(canonical_bytes({name: content[name] for name in names}))


@dataclass(frozen=True, slots=True)
class ModelRecord:
    """Everything about a model; the model itself is the file under ``artifact``.

    Attributes:
        name: what people call its line of versions.
        market: of the decisions that it was trained on, a single one.
        kind: of these decisions; several are joined by ``+``.
        feature_set: the definitions of the features that it reads.
        artifact: content address of the file.
        code_version, environment: of the program, and a hash over what it ran with.
        seed: of everything random in the training.
        params: hyper-parameters that were chosen.
        config: every setting of the training.
        metrics: by split and by fold.
        inputs: the features that it reads, in order.
        trials: hyper-parameter settings that were tried.
        parent: version of the model that it was to replace; None: there was none.
    """

    TABLE: ClassVar[str] = "models"
    KEY: ClassVar[tuple[str, ...]] = ("model_version",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model_version", "name", "market", "kind", "dataset_version", "feature_set", "artifact",
        "parent",
    )  # fmt: skip

    model_version: str
    name: str
    market: str
    kind: str
    dataset_version: str
    feature_set: str
    artifact: str
    code_version: str
    environment: str
    seed: int
    params: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    inputs: Sequence[str]
    trials: int
    parent: str | None = None

    def __post_init__(self) -> None:
        for name in ("name", "market", "kind", "feature_set", "code_version", "environment"):
            require_text(name, getattr(self, name))
        require_count("trials", self.trials)

    @property
    def short_name(self) -> str:
        """What people call the version: the model's name and eight digits of the hash."""
        return f"{self.name}-{self.model_version.removeprefix(ADDRESS_PREFIX)[:8]}"

    def row(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.COLUMNS)


@dataclass(frozen=True, slots=True)
class HoldoutWindow:
    """The time on which a model is judged, both ends included."""

    TABLE: ClassVar[str] = "holdout_windows"
    KEY: ClassVar[tuple[str, ...]] = ("model_version",)
    COLUMNS: ClassVar[tuple[str, ...]] = ("model_version", "market", "first_at", "last_at")

    model_version: str
    market: str
    first_at: datetime
    last_at: datetime

    def __post_init__(self) -> None:
        require_moment("first_at", self.first_at)
        require_moment("last_at", self.last_at)
        if self.last_at < self.first_at:
            raise InvalidRecord("last_at", self.last_at, f"not before first_at={self.first_at}")

    def row(self) -> tuple[Any, ...]:
        return (self.model_version, self.market, self.first_at, self.last_at)


@dataclass(frozen=True, slots=True)
class ModelEvaluation:
    """One look of all gates at a model; ``evaluation`` counts them from 0."""

    TABLE: ClassVar[str] = "model_evaluations"
    KEY: ClassVar[tuple[str, ...]] = ("model_version", "evaluation")
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model_version", "evaluation", "passed", "evaluated_at",
    )  # fmt: skip

    model_version: str
    evaluation: int
    passed: bool
    evaluated_at: datetime

    def __post_init__(self) -> None:
        require_moment("evaluated_at", self.evaluated_at)

    def row(self) -> tuple[Any, ...]:
        return (self.model_version, self.evaluation, self.passed, self.evaluated_at)


class Verdict(Protocol):
    """What one gate said, as the gate itself tells it."""

    @property
    def name(self) -> str: ...
    @property
    def passed(self) -> bool: ...
    @property
    def reasons(self) -> Sequence[str]: ...
    @property
    def numbers(self) -> Mapping[str, Any]: ...


@dataclass(frozen=True, slots=True)
class GateVerdict:
    """What one gate said in an evaluation."""

    TABLE: ClassVar[str] = "gate_verdicts"
    KEY: ClassVar[tuple[str, ...]] = ("model_version", "evaluation", "gate")
    COLUMNS: ClassVar[tuple[str, ...]] = ("model_version", "evaluation", "gate", "passed")

    model_version: str
    evaluation: int
    gate: str
    passed: bool
    reasons: Sequence[str]
    numbers: Mapping[str, Any]

    def row(self) -> tuple[Any, ...]:
        return (self.model_version, self.evaluation, self.gate, self.passed)


@dataclass(frozen=True, slots=True)
class EligibleModel:
    """A model that may be deployed, with the evaluation that it passed."""

    TABLE: ClassVar[str] = "eligible_models"
    KEY: ClassVar[tuple[str, ...]] = ("model_version",)
    COLUMNS: ClassVar[tuple[str, ...]] = ("model_version", "evaluation", "passed")

    model_version: str
    evaluation: int
    passed: bool = True

    def row(self) -> tuple[Any, ...]:
        return (self.model_version, self.evaluation, self.passed)
