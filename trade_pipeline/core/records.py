"""The records of a trade under its one UUID: immutable, validated when made, hashed as a whole."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol
from uuid import UUID

from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.validation import (
    require_amount,
    require_confidence,
    require_count,
    require_facts,
    require_member,
    require_moment,
    require_number,
    require_price,
    require_scores,
    require_text,
    require_text_or_none,
    require_uuid,
    require_value,
)


class TerminationReason(StrEnum):
    """Why a trade ended.  ``NOT_FILLED``: a shadow whose entry the venue refused."""

    STOP_LOSS = "stop_loss"
    PROFIT_TARGET = "profit_target"
    MAX_HOLD = "max_hold"
    RUGPULL_EXIT = "rugpull_exit"
    STRATEGY_EXIT = "strategy_exit"
    MANUAL = "manual"
    SESSION_END = "session_end"
    NOT_FILLED = "not_filled"


class OrderEvent(StrEnum):
    """What happened to an order."""

    SUBMITTED = "submitted"
    ACKNOWLEDGED = "acknowledged"
    PARTLY_FILLED = "partly_filled"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"


FILLS = (OrderEvent.FILLED, OrderEvent.PARTLY_FILLED)


class Record(Protocol):
    """What the ledger needs of a record: a dataclass with a table, column names and values."""

    TABLE: ClassVar[str]
    COLUMNS: ClassVar[tuple[str, ...]]
    KEY: ClassVar[tuple[str, ...]]

    def row(self) -> tuple[Any, ...]: ...


class RecordSink(Protocol):
    """Where records go, in their order."""

    def append(self, record: Record) -> None: ...


@dataclass(frozen=True, slots=True)
class TradeCandidate:
    """One decision about one token, entered or skipped.

    Attributes:
        uuid: the trade's UUID (version 7); everything about the trade is under it.
        decided_at: on the session's clock.
        confidence: of the deciding model, 0..1.
        params_ptr: content address of every setting behind the decision.
        reason: why it was entered or skipped; ``stake_usd`` is None for a skipped one.
        arm, propensity: which model decided, drawn with which probability.
        feature_hash: SHA-256 (hex) of the feature vector.
        contributions: what moved the model's confidence, in log odds by feature.
        canary: beside a canary, the arm and what both models say: see `Arms.compared`.
    """

    TABLE: ClassVar[str] = "candidates"
    KEY: ClassVar[tuple[str, ...]] = ("uuid",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "uuid", "session_id", "decision_no", "instrument", "decided_at", "decision", "reason",
        "model_version", "canary_version", "arm", "propensity", "confidence", "stake_usd",
        "params_ptr", "created_by", "feature_hash",
    )  # fmt: skip

    uuid: UUID
    session_id: str
    decision_no: int
    instrument: str
    decided_at: datetime
    model_version: str
    confidence: float
    params_ptr: str
    created_by: str
    decision: str = "enter"
    reason: str = "requested"
    stake_usd: float | None = None
    arm: str = "production"
    propensity: float = 1.0
    canary_version: str | None = None
    feature_hash: str | None = None
    contributions: Mapping[str, float] | None = None
    canary: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        require_uuid(self.uuid)
        for name in ("instrument", "model_version", "params_ptr", "created_by", "reason"):
            require_text(name, getattr(self, name))
        require_moment("decided_at", self.decided_at)
        require_confidence("confidence", self.confidence)
        require_number("stake_usd", self.stake_usd, 0)
        if self.decision not in ("enter", "skip"):
            raise InvalidRecord("decision", self.decision, "enter or skip")

    def row(self) -> tuple[Any, ...]:
        return (
            self.uuid, self.session_id, self.decision_no, self.instrument, self.decided_at,
            self.decision, self.reason, self.model_version, self.canary_version, self.arm,
            self.propensity, self.confidence, self.stake_usd, self.params_ptr, self.created_by,
            None if self.feature_hash is None else bytes.fromhex(self.feature_hash),
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ResearchDocument:
    """The immutable snapshot behind a decision.  It holds no personal data.

    Attributes:
        initial_market_cap: USD at the decision; None where the supply was unknown.
        rugpull_heuristic_scores: risk in 0..1 by heuristic; one that could not be judged is absent.
        social_sentiment_scores: level in 0..1 by source.
        known_at: the newest moment of any fact inside; never after the decision.
        rug_risk, sentiment: the combined figures, 0..1.
        market: windows over prices, volumes and flows, by name.
        facts: on-chain facts by name.
        raw_answers: addresses of the raw answers that the facts were read from.
    """

    TABLE: ClassVar[str] = "research_docs"
    KEY: ClassVar[tuple[str, ...]] = ("uuid",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "uuid", "contract_address", "known_at", "price_usd", "initial_market_cap", "liquidity_usd",
        "volume_24h_usd", "holders", "rug_risk", "sentiment",
    )  # fmt: skip

    uuid: UUID
    contract_address: str | None
    initial_market_cap: float | None
    rugpull_heuristic_scores: Mapping[str, float]
    social_sentiment_scores: Mapping[str, float]
    trade_rationale: str
    price_usd: float | None = None
    liquidity_usd: float | None = None
    volume_24h_usd: float | None = None
    holders: int | None = None
    known_at: datetime | None = None
    rug_risk: float | None = None
    sentiment: float | None = None
    sentiment_momentum: float | None = None
    sentiment_consensus: float | None = None
    market: Mapping[str, float | None] = field(default_factory=dict)
    facts: Mapping[str, float | int | bool | str] = field(default_factory=dict)
    raw_answers: Sequence[str] = ()

    def __post_init__(self) -> None:
        require_uuid(self.uuid)
        require_text_or_none("contract_address", self.contract_address)
        require_number("initial_market_cap", self.initial_market_cap, 0)
        if self.price_usd is not None:
            require_price("price_usd", self.price_usd)
        require_number("liquidity_usd", self.liquidity_usd, 0)
        require_number("volume_24h_usd", self.volume_24h_usd, 0)
        if self.holders is not None:
            require_count("holders", self.holders, (1 << 63) - 1)
        require_moment("known_at", self.known_at)
        require_number("rug_risk", self.rug_risk, 0, 1)
        require_number("sentiment", self.sentiment, 0, 1)
        require_scores("rugpull_heuristic_scores", self.rugpull_heuristic_scores)
        require_scores("social_sentiment_scores", self.social_sentiment_scores)
        require_text("trade_rationale", self.trade_rationale)
        require_facts("facts", self.facts)

    def row(self) -> tuple[Any, ...]:
        return (
            self.uuid, self.contract_address, self.known_at, self.price_usd,
            self.initial_market_cap, self.liquidity_usd, self.volume_24h_usd, self.holders,
            self.rug_risk, self.sentiment,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """The feature vector behind a decision.

    Attributes:
        feature_set: version of the definitions.
        known_at: the newest moment of any fact inside; never after the decision.
        vector: values in the feature set's order; NaN, null in the content, is unknown.
        vector_hash: SHA-256 of the values as little-endian doubles, in the feature set's order.
    """

    TABLE: ClassVar[str] = "feature_rows"
    KEY: ClassVar[tuple[str, ...]] = ("uuid", "feature_set")
    COLUMNS: ClassVar[tuple[str, ...]] = ("uuid", "feature_set", "known_at", "vector_hash")

    uuid: UUID
    feature_set: str
    known_at: datetime
    vector: Sequence[float]
    vector_hash: str

    def __post_init__(self) -> None:
        require_uuid(self.uuid)
        require_moment("known_at", self.known_at)

    def row(self) -> tuple[Any, ...]:
        return (self.uuid, self.feature_set, self.known_at, bytes.fromhex(self.vector_hash))


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One event of one order.

    Attributes:
        order_id: the client order id.
        entry_price, exit_price: USD per token that a fill of that leg got, before fees and gas.
        size: tokens.
        slippage: how much worse the price was than at the decision, as a fraction of it.
        latency_metrics: milliseconds by step.
        sequence: number of this event among those of the same order and kind (partial fills).
        value_usd: what changed hands at the price, in whole millionths of a USD.
        costs_usd: gas and fees by name, paid on top of the value.
        inside_usd: what the price itself contained (pool fee, own impact, tax, spread), by name.
        note: why, for a rejected or cancelled order.
    """

    TABLE: ClassVar[str] = "executions"
    KEY: ClassVar[tuple[str, ...]] = ("uuid", "order_id", "event", "sequence")
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "uuid", "order_id", "event", "sequence", "leg", "occurred_at", "price", "size",
        "value_usd", "fees_usd", "slippage",
    )  # fmt: skip

    uuid: UUID
    order_id: str
    entry_price: float | None = None
    size: float = 0.0
    slippage: float | None = None
    latency_metrics: Mapping[str, float] = field(default_factory=dict)
    leg: str = "entry"
    event: OrderEvent = OrderEvent.FILLED
    sequence: int = 0
    exit_price: float | None = None
    occurred_at: datetime | None = None
    value_usd: float | None = None
    costs_usd: Mapping[str, float] = field(default_factory=dict)
    inside_usd: Mapping[str, float] = field(default_factory=dict)
    note: str | None = None

    def __post_init__(self) -> None:
        require_uuid(self.uuid)
        require_text("order_id", self.order_id)
        require_member(OrderEvent, "event", self.event)
        if self.leg not in ("entry", "exit"):
            raise InvalidRecord("leg", self.leg, "entry or exit")
        given = f"{self.leg}_price"
        if self.event in FILLS or getattr(self, given) is not None:
            require_price(given, getattr(self, given))
        other = "exit_price" if self.leg == "entry" else "entry_price"
        if (value := getattr(self, other)) is not None:
            raise InvalidRecord(other, value, f"nothing, for an order of the {self.leg}")
        require_amount("size", self.size)
        if self.event in FILLS and not self.size > 0:
            raise InvalidRecord("size", self.size, "a positive size of a fill")
        require_number("slippage", self.slippage)
        require_number("value_usd", self.value_usd, 0)
        require_count("sequence", self.sequence)
        require_moment("occurred_at", self.occurred_at)
        require_scores("latency_metrics", self.latency_metrics)
        require_scores("costs_usd", self.costs_usd)
        require_scores("inside_usd", self.inside_usd)
        require_text_or_none("note", self.note)

    @property
    def price(self) -> float | None:
        """The price of the order's own leg."""
        return self.entry_price if self.leg == "entry" else self.exit_price

    @property
    def fees_usd(self) -> float:
        """All costs together."""
        return math.fsum(self.costs_usd.values())

    def row(self) -> tuple[Any, ...]:
        return (
            self.uuid, self.order_id, self.event.value, self.sequence, self.leg, self.occurred_at,
            self.price, self.size, self.value_usd, self.fees_usd, self.slippage,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class TradeOutcome:
    """What came of a trade.

    Attributes:
        realized_pnl_percent: profit or loss in percent of what the entry cost, after all costs.
        kind: ``realised`` (needs an execution) or ``shadow`` (simulated for a candidate).
        revision: 0, and one more for each correction.
        worst_percent, best_percent: extremes of the executable return while the trade was open.
        exit_impact: fraction of the value that the own sale cost.
        written_off: what was left could not be sold, and counts as lost.
    """

    TABLE: ClassVar[str] = "outcomes"
    KEY: ClassVar[tuple[str, ...]] = ("uuid", "kind", "revision")
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "uuid", "kind", "revision", "closed_at", "realized_pnl_percent", "pnl_usd",
        "time_in_market_seconds", "termination_reason", "worst_percent", "best_percent",
        "fees_usd", "exit_impact",
    )  # fmt: skip

    uuid: UUID
    realized_pnl_percent: float
    time_in_market_seconds: float
    termination_reason: TerminationReason
    kind: str = "realised"
    revision: int = 0
    closed_at: datetime | None = None
    pnl_usd: float | None = None
    worst_percent: float | None = None
    best_percent: float | None = None
    fees_usd: float | None = None
    exit_impact: float | None = None
    written_off: bool = False

    def __post_init__(self) -> None:
        require_uuid(self.uuid)
        require_value("realized_pnl_percent", self.realized_pnl_percent)
        require_number("realized_pnl_percent", self.realized_pnl_percent)
        require_amount("time_in_market_seconds", self.time_in_market_seconds)
        require_member(TerminationReason, "termination_reason", self.termination_reason)
        if self.kind not in ("realised", "shadow"):
            raise InvalidRecord("kind", self.kind, "realised or shadow")
        if self.termination_reason is TerminationReason.NOT_FILLED and self.kind != "shadow":
            raise InvalidRecord("kind", self.kind, "shadow, for a trade that was not filled")
        require_count("revision", self.revision)
        require_moment("closed_at", self.closed_at)
        for name in ("pnl_usd", "worst_percent", "best_percent", "exit_impact"):
            require_number(name, getattr(self, name))
        require_number("fees_usd", self.fees_usd, 0)

    def row(self) -> tuple[Any, ...]:
        return (
            self.uuid, self.kind, self.revision, self.closed_at, self.realized_pnl_percent,
            self.pnl_usd, self.time_in_market_seconds, self.termination_reason.value,
            self.worst_percent, self.best_percent, self.fees_usd, self.exit_impact,
        )  # fmt: skip


class PlainRow:
    """For records whose columns are their fields of the same names."""

    __slots__ = ()
    COLUMNS: ClassVar[tuple[str, ...]]

    def row(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.COLUMNS)


@dataclass(frozen=True, slots=True)
class Scan(PlainRow):
    """One look at every token that moved in a slot: how many, and why most are no candidates.

    Attributes:
        slot: start of the slot of market time.
        failed: number of tokens by the filter that they failed.
    """

    TABLE: ClassVar[str] = "scans"
    KEY: ClassVar[tuple[str, ...]] = ("session_id", "slot")
    COLUMNS: ClassVar[tuple[str, ...]] = ("session_id", "slot", "evaluated", "passed")

    session_id: str
    slot: datetime
    evaluated: int
    passed: int
    failed: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Session(PlainRow):
    """One run of the strategy: what determines it."""

    TABLE: ClassVar[str] = "sessions"
    KEY: ClassVar[tuple[str, ...]] = ("session_id",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "session_id", "mode", "market", "market_address", "range_start", "range_end", "seed",
        "params_ptr", "code_version",
    )  # fmt: skip

    session_id: str
    mode: str
    market: str
    code_version: str
    market_address: str | None = None
    range_start: datetime | None = None
    range_end: datetime | None = None
    seed: int | None = None
    params_ptr: str | None = None


@dataclass(frozen=True, slots=True)
class SessionEnd(PlainRow):
    """The last record of a session that ran to its end.

    Attributes:
        events: market events read, those of the warm-up included; ``decisions`` candidates made.
        final_cash_usd: the account when everything was closed.
    """

    TABLE: ClassVar[str] = "session_ends"
    KEY: ClassVar[tuple[str, ...]] = ("session_id",)
    COLUMNS: ClassVar[tuple[str, ...]] = ("session_id", "events", "decisions", "final_cash_usd")

    session_id: str
    events: int
    decisions: int
    final_cash_usd: float


@dataclass(frozen=True, slots=True)
class Experiment(PlainRow):
    """A batch of sessions with one purpose; ``definition``: address of what it compares, if any."""

    TABLE: ClassVar[str] = "experiments"
    KEY: ClassVar[tuple[str, ...]] = ("experiment",)
    COLUMNS: ClassVar[tuple[str, ...]] = ("experiment", "description")

    experiment: str
    description: str = ""
    definition: str | None = None

    def __post_init__(self) -> None:
        require_text("experiment", self.experiment)


@dataclass(frozen=True, slots=True)
class ExperimentSession(PlainRow):
    """A session belongs to an experiment; many to many."""

    TABLE: ClassVar[str] = "experiment_sessions"
    KEY: ClassVar[tuple[str, ...]] = ("experiment", "session_id")
    COLUMNS: ClassVar[tuple[str, ...]] = ("experiment", "session_id")

    experiment: str
    session_id: str
