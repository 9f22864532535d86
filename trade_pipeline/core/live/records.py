"""The records that only live sessions make."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from trade_pipeline.core.records import PlainRow
from trade_pipeline.core.validation import require_facts, require_number, require_uuid


@dataclass(frozen=True, slots=True)
class LiveDecision(PlainRow):
    """That a token was decided about in a slot of market time, under which UUID."""

    TABLE: ClassVar[str] = "live_decisions"
    KEY: ClassVar[tuple[str, ...]] = ("account", "instrument", "slot")
    COLUMNS: ClassVar[tuple[str, ...]] = ("account", "epoch", "instrument", "slot", "uuid")

    account: str
    epoch: int
    instrument: str
    slot: int
    uuid: UUID


@dataclass(frozen=True, slots=True)
class OrderIntent(PlainRow):
    """An order that may be sent: nothing is sent without one.

    Attributes:
        attempt: number among the orders of the same trade and leg.
        stake_usd: what an entry spends; ``tokens``: what an exit sells.
        decision_price: USD per token; 0 for a sale from an emptied pool.
        reason: why the position is closed, for an exit at the market.
        stop_price: USD per token below which the venue sells, for an exit that rests there.
    """

    TABLE: ClassVar[str] = "order_intents"
    KEY: ClassVar[tuple[str, ...]] = ("client_order_id",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "client_order_id", "uuid", "account", "epoch", "leg", "attempt", "instrument", "stake_usd",
        "tokens", "decision_price", "submitted_at",
    )  # fmt: skip

    client_order_id: str
    uuid: UUID
    account: str
    epoch: int
    leg: str
    attempt: int
    instrument: str
    stake_usd: float | None
    tokens: float | None
    decision_price: float
    submitted_at: datetime
    reason: str | None = None
    stop_price: float | None = None

    def __post_init__(self) -> None:
        require_uuid(self.uuid)
        for name in ("stake_usd", "tokens", "decision_price", "stop_price"):
            require_number(name, getattr(self, name), 0)


@dataclass(frozen=True, slots=True)
class Reconciliation(PlainRow):
    """Something that a session found when it compared its records with the venue.

    Attributes:
        kind: see the table.
        explained: False: entries stop until somebody resumes them.
        facts: what the records and the venue said.
    """

    TABLE: ClassVar[str] = "reconciliations"
    KEY: ClassVar[tuple[str, ...]] = ("account", "epoch", "number")
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "account", "epoch", "number", "kind", "explained", "client_order_id", "instrument",
    )  # fmt: skip

    account: str
    epoch: int
    number: int
    kind: str
    explained: bool
    client_order_id: str | None = None
    instrument: str | None = None
    facts: Mapping[str, float | int | bool | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_facts("facts", self.facts)
