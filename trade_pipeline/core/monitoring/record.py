"""A look at a production model as a record."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any, ClassVar

from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.validation import require_moment

# Every line of a report, in its order.
LINES = (
    "works", "expectation", "calibration", "feature_drift", "prediction_drift",
    "performance_estimate", "missing_features", "freshness",
)  # fmt: skip
# What is no fault of the model's: another one would be no better off.
ROLLS_NOTHING_BACK = ("freshness",)


@dataclass(frozen=True, slots=True)
class MonitoringReport:
    """One look at a production model.

    Attributes:
        report_id: content address of everything else but ``monitored_at``.
        model: its short name.
        deployment: number of the one that put it into production.
        starts_at: market time of the deployment; None: nothing had been decided before.
        looked_at: market time; ``monitored_at`` is the clock's.
        broken: a line does not hold; ``rolls_back``: one that takes the model back.
        fund_share: part of the fund for the heuristic, should it decide in the model's place.
        lines: by `LINES`: ``name``, ``passed``, ``rolls_back``, ``reason``, ``numbers``.
        drift: of each input and prediction, see `drift.Drift`.
        sequence: ``means``, ``lows``, ``highs`` by closed block since the deployment, ``uppers`` of
            all sequences together, and the ``tolerance``.
        calibration: by tenth of the confidence, see `calibration_error.Tenth`.
    """

    TABLE: ClassVar[str] = "monitoring_reports"
    KEY: ClassVar[tuple[str, ...]] = ("report_id",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "report_id", "model_version", "deployment", "looked_at", "monitored_at", "broken",
        "rolls_back",
    )  # fmt: skip

    report_id: str
    model_version: str
    model: str
    market: str
    venue: str
    account: str
    deployment: int
    starts_at: datetime | None
    looked_at: datetime
    monitored_at: datetime
    broken: bool
    rolls_back: bool
    fund_share: float
    lines: Sequence[Mapping[str, Any]]
    drift: Sequence[Mapping[str, Any]]
    sequence: Mapping[str, Any]
    calibration: Sequence[Mapping[str, Any]]

    def __post_init__(self) -> None:
        require_moment("looked_at", self.looked_at)
        require_moment("monitored_at", self.monitored_at)

    @property
    def reason(self) -> str:
        """Why it is broken, the lines that roll back first; empty where everything holds."""
        failed = [line for line in self.lines if not line["passed"]]
        failed.sort(key=lambda line: not line["rolls_back"])
        return "; ".join(f"{line['name']}: {line['reason']}" for line in failed)

    def row(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.COLUMNS)

    def addressed(self) -> MonitoringReport:
        """The same under its address: one look at one state of things, whenever it is made."""
        content = asdict(self)
        for name in ("report_id", "monitored_at"):
            del content[name]
        return replace(self, report_id=address_of(canonical_bytes(content)))


def line_of(guardrail: Guardrail) -> dict[str, Any]:
    """A line of a report."""
    return {
        "name": guardrail.name,
        "passed": guardrail.passed,
        "rolls_back": guardrail.name not in ROLLS_NOTHING_BACK,
        "reason": guardrail.reason,
        "numbers": plain(guardrail.numbers),
    }


def plain(numbers: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers as they are read back: what is not finite is unknown."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in numbers.items()
    }
