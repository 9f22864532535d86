"""The records of a trade under its one UUID, validated when they are made.

A record is immutable.  ``TABLE`` and ``COLUMNS`` say where it is stored, `row` gives the values;
the canonical bytes of all its fields are stored and hashed beside them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Protocol, TypeGuard
from uuid import UUID

from trade_pipeline.core.errors import InvalidConfidence, InvalidPrice, InvalidRecord, NaiveDatetime


class TerminationReason(StrEnum):
    """Why a trade ended."""

    STOP_LOSS = "stop_loss"
    PROFIT_TARGET = "profit_target"
    MAX_HOLD = "max_hold"
    RUGPULL_EXIT = "rugpull_exit"
    MANUAL = "manual"
    SESSION_END = "session_end"


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


def _is_number(value: object) -> TypeGuard[float]:
    """Whether it is a finite number that has canonical bytes."""
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63


def _number(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> None:
    if value is None:
        return
    if not _is_number(value) or not low <= value <= high:
        bounds = "" if low == -math.inf else f" of at least {low:g}"
        bounds = f" in {low:g}..{high:g}" if high != math.inf else bounds
        raise InvalidRecord(name, value, f"a finite number{bounds}")


def _count(name: str, value: object, high: int = (1 << 31) - 1) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= high:
        raise InvalidRecord(name, value, f"a whole number in 0..{high}")


def _price(name: str, value: object) -> None:
    if not _is_number(value) or value <= 0:
        raise InvalidPrice(name, value, "a finite positive price")


def _confidence(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise InvalidConfidence(name, value, "a number in 0..1")


def _moment(name: str, value: object) -> None:
    if value is None:
        return
    if not isinstance(value, datetime):
        raise InvalidRecord(name, value, "a datetime with a time zone")
    if value.utcoffset() is None:
        raise NaiveDatetime(name, value, "a datetime with a time zone")


def _is_text(value: object) -> TypeGuard[str]:
    """Whether PostgreSQL can hold it: no NUL, and no half of a surrogate pair."""
    if not isinstance(value, str) or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= c <= "\udfff" for c in value)


def _text(name: str, value: object) -> None:
    if not _is_text(value) or not value:
        raise InvalidRecord(name, value, "a text that is not empty and holds no NUL")


def _text_or_none(name: str, value: object) -> None:
    if value is not None and not _is_text(value):
        raise InvalidRecord(name, value, "a text that holds no NUL")


def _uuid(value: object) -> None:
    if not isinstance(value, UUID):
        raise InvalidRecord("uuid", value, "a UUID")


def _scores(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidRecord(name, value, "a mapping from name to score")
    for key, score in value.items():
        _text(f"{name} key", key)
        _number(f"{name}[{key}]", score)


def _facts(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise InvalidRecord(name, value, "a mapping from name to fact")
    for key, fact in value.items():
        _text(f"{name} key", key)
        if isinstance(fact, str):
            _text_or_none(f"{name}[{key}]", fact)
        elif not isinstance(fact, bool):
            _number(f"{name}[{key}]", fact)


def _member(kind: type[StrEnum], name: str, value: object) -> None:
    if not isinstance(value, kind):
        raise InvalidRecord(name, value, "one of " + ", ".join(kind))


@dataclass(frozen=True, slots=True)
class TradeCandidate:
    """One decision about one token, entered or skipped.

    Attributes:
        uuid: the trade's UUID (version 7); everything about the trade is under it.
        decided_at: when it was decided, on the session's clock.
        confidence: of the deciding model, 0..1.
        params_ptr: content address of every setting behind the decision.
        reason: why it was entered or skipped.
        stake_usd: the stake that was decided; None where none was.
        arm, propensity: which model decided, and with which probability this arm was drawn.
        feature_hash: SHA-256 (hex) of the feature vector.
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

    def __post_init__(self) -> None:
        _uuid(self.uuid)
        for name in ("instrument", "model_version", "params_ptr", "created_by", "reason"):
            _text(name, getattr(self, name))
        _moment("decided_at", self.decided_at)
        _confidence("confidence", self.confidence)
        _number("stake_usd", self.stake_usd, 0)
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
        _uuid(self.uuid)
        _text_or_none("contract_address", self.contract_address)
        _number("initial_market_cap", self.initial_market_cap, 0)
        if self.price_usd is not None:
            _price("price_usd", self.price_usd)
        _number("liquidity_usd", self.liquidity_usd, 0)
        _number("volume_24h_usd", self.volume_24h_usd, 0)
        if self.holders is not None:
            _count("holders", self.holders, (1 << 63) - 1)
        _moment("known_at", self.known_at)
        _number("rug_risk", self.rug_risk, 0, 1)
        _number("sentiment", self.sentiment, 0, 1)
        _scores("rugpull_heuristic_scores", self.rugpull_heuristic_scores)
        _scores("social_sentiment_scores", self.social_sentiment_scores)
        _text("trade_rationale", self.trade_rationale)
        _facts("facts", self.facts)

    def row(self) -> tuple[Any, ...]:
        return (
            self.uuid, self.contract_address, self.known_at, self.price_usd,
            self.initial_market_cap, self.liquidity_usd, self.volume_24h_usd, self.holders,
            self.rug_risk, self.sentiment,
        )  # fmt: skip


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
        _uuid(self.uuid)
        _text("order_id", self.order_id)
        _member(OrderEvent, "event", self.event)
        if self.leg not in ("entry", "exit"):
            raise InvalidRecord("leg", self.leg, "entry or exit")
        given = f"{self.leg}_price"
        if self.event in FILLS or getattr(self, given) is not None:
            _price(given, getattr(self, given))
        other = "exit_price" if self.leg == "entry" else "entry_price"
        if getattr(self, other) is not None:
            raise InvalidRecord(
                other, getattr(self, other), f"nothing, for an order of the {self.leg}"
            )
        _number("size", self.size, 0)
        if self.event in FILLS and not self.size > 0:
            raise InvalidRecord("size", self.size, "a positive size of a fill")
        _number("slippage", self.slippage)
        _number("value_usd", self.value_usd, 0)
        _count("sequence", self.sequence)
        _moment("occurred_at", self.occurred_at)
        _scores("latency_metrics", self.latency_metrics)
        _scores("costs_usd", self.costs_usd)
        _scores("inside_usd", self.inside_usd)
        _text_or_none("note", self.note)

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
        written_off: nothing could be sold; the loss is whole.
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
        _uuid(self.uuid)
        _required("realized_pnl_percent", self.realized_pnl_percent)
        _number("realized_pnl_percent", self.realized_pnl_percent)
        _required("time_in_market_seconds", self.time_in_market_seconds)
        _number("time_in_market_seconds", self.time_in_market_seconds, 0)
        _member(TerminationReason, "termination_reason", self.termination_reason)
        if self.kind not in ("realised", "shadow"):
            raise InvalidRecord("kind", self.kind, "realised or shadow")
        _count("revision", self.revision)
        _moment("closed_at", self.closed_at)
        for name in ("pnl_usd", "worst_percent", "best_percent", "exit_impact"):
            _number(name, getattr(self, name))
        _number("fees_usd", self.fees_usd, 0)

    def row(self) -> tuple[Any, ...]:
        return (
            self.uuid, self.kind, self.revision, self.closed_at, self.realized_pnl_percent,
            self.pnl_usd, self.time_in_market_seconds, self.termination_reason.value,
            self.worst_percent, self.best_percent, self.fees_usd, self.exit_impact,
        )  # fmt: skip


def _required(name: str, value: object) -> None:
    if value is None:
        raise InvalidRecord(name, value, "a finite number")


class _PlainRow:
    """For records whose columns are their fields of the same names."""

    __slots__ = ()
    COLUMNS: ClassVar[tuple[str, ...]]

    def row(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.COLUMNS)


@dataclass(frozen=True, slots=True)
class Scan(_PlainRow):
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
class Session(_PlainRow):
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
class Experiment(_PlainRow):
    """A batch of sessions with one purpose."""

    TABLE: ClassVar[str] = "experiments"
    KEY: ClassVar[tuple[str, ...]] = ("experiment",)
    COLUMNS: ClassVar[tuple[str, ...]] = ("experiment", "description")

    experiment: str
    description: str = ""

    def __post_init__(self) -> None:
        _text("experiment", self.experiment)


@dataclass(frozen=True, slots=True)
class ExperimentSession(_PlainRow):
    """A session belongs to an experiment; many to many."""

    TABLE: ClassVar[str] = "experiment_sessions"
    KEY: ClassVar[tuple[str, ...]] = ("experiment", "session_id")
    COLUMNS: ClassVar[tuple[str, ...]] = ("experiment", "session_id")

    experiment: str
    session_id: str


def as_document(record: Record) -> dict[str, Any]:
    """A record's fields by name."""
    return {f.name: getattr(record, f.name) for f in fields(record)}  # type: ignore[arg-type]
