"""Faults that a test asks for: which requests they hit, and how often."""

from __future__ import annotations

from random import Random
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal[
    "too_many_requests", "server_error", "maintenance", "delay", "slow_answer", "cut_before",
    "cut_after", "bad_json", "duplicate_fill", "late_fill", "late_report", "partial_fill",
    "clock_skew",
]  # fmt: skip


class Fault(BaseModel):
    """One kind of fault.

    Attributes:
        kind: ``delay`` waits before a request is looked at, ``slow_answer`` after it was carried
            out; ``cut_before`` and ``cut_after`` cut the connection there; ``late_fill`` lets an
            order wait, ``late_report`` hides its last fill from who asks for fills.
        on: requests such as ``POST order`` or ``GET myTrades``; none: every one of the dialect.
        probability: that a request which it is for is hit.
        count: requests that it may still hit; None: no bound.
        seconds: of a delay, a slow answer, Retry-After, or until a held order goes on.
        fraction: of a partly filled order.
        milliseconds: that the exchange's clock is ahead for a request.
    """

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    kind: Kind
    on: list[str] = []
    probability: float = Field(default=1.0, ge=0, le=1)
    count: int | None = Field(default=None, ge=0)
    seconds: float = Field(default=0.5, ge=0, le=3600)
    fraction: float = Field(default=0.5, gt=0, lt=1)
    milliseconds: int = Field(default=0, ge=-86_400_000, le=86_400_000)


class FaultPlan(BaseModel):
    """What replaces the faults so far."""

    model_config = ConfigDict(extra="forbid")

    seed: int = 0
    faults: list[Fault] = Field(default=[], max_length=1000)


class Faults:
    """The faults that are on.  The same plan and the same requests give the same faults."""

    def __init__(self) -> None:
        self.plan = FaultPlan()
        self._random = Random(0)

    def replace(self, plan: FaultPlan) -> None:
        self.plan = plan
        self._random = Random(plan.seed)

    def hitting(self, request: str) -> dict[str, Fault]:
        """The faults that hit a request such as ``POST order``, by kind."""
        hit: dict[str, Fault] = {}
        for fault in self.plan.faults:
            if fault.count == 0 or (fault.on and request not in fault.on):
                continue
            if self._random.random() < fault.probability:
                hit[fault.kind] = fault
                if fault.count is not None:
                    fault.count -= 1
        return hit
