"""Evaluations of canaries, and deployments, as records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.validation import require_moment, require_text

ACCOUNTS = ("backtest", "paper", "live")


@dataclass(frozen=True, slots=True)
class Scope:
    """Where a model decides: a kind of market, a venue and an account."""

    market: str
    venue: str = "default"
    account: str = "backtest"

    def __post_init__(self) -> None:
        require_text("market", self.market)
        require_text("venue", self.venue)
        if self.account not in ACCOUNTS:
            raise InvalidRecord("account", self.account, f"one of {', '.join(ACCOUNTS)}")

    def __str__(self) -> str:
        return f"{self.market}/{self.venue}/{self.account}"


@dataclass(frozen=True, slots=True)
class CanaryEvaluation:
    """One look at a canary.

    Attributes:
        evaluation_id: content address of everything else.
        canary: number of the deployment that made it the canary.
        looked_at: market time; ``evaluated_at`` is the clock's.
        decision: promote, extend, rollback or expired.
    """

    TABLE: ClassVar[str] = "canary_evaluations"
    KEY: ClassVar[tuple[str, ...]] = ("evaluation_id",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "evaluation_id", "model_version", "canary", "looked_at", "evaluated_at", "decision",
    )  # fmt: skip

    evaluation_id: str
    model_version: str
    canary: int
    looked_at: datetime
    evaluated_at: datetime
    decision: str
    reasons: Sequence[str]
    numbers: Mapping[str, Any]

    def __post_init__(self) -> None:
        require_moment("looked_at", self.looked_at)
        require_moment("evaluated_at", self.evaluated_at)

    def row(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.COLUMNS)


@dataclass(frozen=True, slots=True)
class Deployment:
    """A model that begins or ends to decide somewhere.

    Attributes:
        stage: ``canary`` and ``production`` begin, ``retired`` ends what the slot names.
        slot: ``canary`` or ``production``.
        deployed_by: who or what.
        evaluation_id, verdict: of the canary, where it rests on one.
        override: why a person went past the canary; never past the gates.
        restores: number of an earlier deployment to which this goes back.
        fund_share: part of the fund with which the heuristic decides from then on; None: all.
        report_id: of the monitoring that took the production model back.
        evidence: what was known: the power report of a canary, the numbers of an evaluation.
    """

    TABLE: ClassVar[str] = "deployments"
    KEY: ClassVar[tuple[str, ...]] = ("deployment_id",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "model_version", "market", "venue", "account", "stage", "slot", "deployed_at",
        "deployed_by", "reason", "evaluation_id", "verdict", "override", "restores", "fund_share",
        "report_id",
    )  # fmt: skip

    model_version: str
    market: str
    venue: str
    account: str
    stage: str
    slot: str
    deployed_at: datetime
    deployed_by: str
    reason: str
    evaluation_id: str | None = None
    verdict: str | None = None
    override: str | None = None
    restores: int | None = None
    fund_share: float | None = None
    report_id: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_moment("deployed_at", self.deployed_at)
        for name in ("deployed_by", "reason"):
            require_text(name, getattr(self, name))
        if self.override is not None:
            require_text("override", self.override)

    def row(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.COLUMNS)
