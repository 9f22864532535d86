"""What a dossier holds, as it was read and explained; how it is shown is not decided here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from trade_pipeline.core.lineage.graph import Lineage
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.session.config import TradingConfig

Content = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """Where a record stands in the ledger; hashes are hexadecimal."""

    table: str
    key: str
    chain_id: str
    seq: int
    content_hash: str
    chain_hash: str
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Source:
    """An artifact behind the trade, and whether its bytes are still there.

    Attributes:
        role: what it is to the trade, such as ``raw answer``.
        state: ``stored``; ``removed``: its tombstone tells since when and why; ``missing``: it
            should be there; ``unrecorded``: nothing tells of this address.
        fetched_at: when it was stored.
        expires_at: until when it is kept; None: for ever.
    """

    role: str
    address: str
    state: str
    fetched_at: datetime | None = None
    expires_at: datetime | None = None
    media_type: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class KnownFeature:
    """One value of the stored feature vector, with its definition; None is unknown."""

    name: str
    value: float | None
    unit: str
    definition: str
    family: str


@dataclass(frozen=True, slots=True)
class Gate:
    """One rule that the decision had to pass.

    Attributes:
        result: ``passed``; ``failed``: this one decided; ``not asked``: an earlier one had decided.
        found, wanted: what was found and what the rule wants, as people read it.
        would: what it would have said where it was not asked and the stored facts tell, or None.
    """

    name: str
    result: str
    found: str
    wanted: str
    would: str | None = None


@dataclass(frozen=True, slots=True)
class Sizing:
    """How a stake came about.

    Attributes:
        steps: (what, factor or amount, why) in the order in which they apply.
        share: of the equity, before bounds and drawdown.
        bound_usd: the largest stake that the own price impact allows; None: no bound is known.
        equity_usd: what the equity, less what a drawdown takes, must have been for this stake;
            None where a bound decided.
        reproduced: the strategy's own function gives the stored stake from these.
    """

    stake_usd: float
    share: float
    bound_usd: float | None
    equity_usd: float | None
    reproduced: bool
    steps: Sequence[tuple[str, str, str]]


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model that had a say.

    Attributes:
        name: what people call it.
        entry_confidence: from which confidence on it enters; None: its file is not at hand.
    """

    version: str
    name: str
    entry_confidence: float | None = None
    dataset_version: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision, explained from stored facts.

    Attributes:
        contributions: log odds by feature; sums are named in brackets.
        computed: the contributions were not stored and are computed again from the feature vector.
        missing: why some part cannot be explained, in words.
    """

    gates: Sequence[Gate] = ()
    sizing: Sizing | None = None
    contributions: Mapping[str, float] = field(default_factory=dict)
    computed: bool = False
    missing: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class OrderStory:
    """One order from its intent to its end.

    Attributes:
        ended: how it ended: filled, partly_filled, cancelled, rejected, or ``open``.
        price: USD per token over its fills; ``tokens``, ``value_usd`` and costs likewise.
        slippage: worse than at the decision, as a fraction of the price; by value over the fills.
        reason: why the position was closed; ``note``: why the venue refused it.
    """

    order_id: str
    leg: str
    attempt: int | None
    submitted_at: datetime | None
    ended_at: datetime | None
    ended: str
    fills: int
    price: float | None
    tokens: float
    value_usd: float | None
    slippage: float | None
    latency_ms: float | None
    costs_usd: Mapping[str, float]
    inside_usd: Mapping[str, float]
    decision_price: float | None = None
    stop_price: float | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Barriers:
    """Where an open trade would be closed: USD per token, as a sale would fetch it."""

    entry: float
    stop: float
    target: float
    until: datetime


@dataclass(frozen=True, slots=True)
class MarketAround:
    """The token's market around the trade; NaN is unknown.

    Attributes:
        times: when each event was known, microseconds since 1970-01-01 UTC.
        price: USD per token, before anybody's impact.
        fetched: what a sale of the whole position would have fetched per token, USD.
        liquidity: both sides of a pool, USD.
        origin: where it was read.
        symbol: what people call the token.
    """

    times: Ints
    price: Floats
    fetched: Floats
    liquidity: Floats
    origin: str
    symbol: str | None = None


@dataclass(frozen=True, slots=True)
class Dossier:
    """Everything about one trade.

    Attributes:
        candidate, research, executions, outcomes, features: contents of the records.
        live: of a live session: the account's decision; ``intents`` and ``reconciliations`` of its
            orders.
        run: the session's record, with ``experiments``, ``dagster_runs`` and ``ended``.
        settings: behind ``params_ptr``; None where they are not settings of a session.
        vector: of the decision's feature set.
        models: by version.
        up, down: what the trade was made from, and what was made from it.
        market: None where it was not read; ``market_note`` says why.
    """

    uuid: UUID
    candidate: Content
    research: Content | None
    executions: Sequence[Content]
    outcomes: Sequence[Content]
    features: Sequence[Content]
    live: Content | None
    intents: Sequence[Content]
    reconciliations: Sequence[Content]
    run: Content
    params: Content | None
    settings: TradingConfig | None
    sources: Sequence[Source]
    vector: Sequence[KnownFeature]
    models: Mapping[str, ModelFacts]
    explanation: Explanation
    orders: Sequence[OrderStory]
    barriers: Barriers | None
    ledger: Sequence[LedgerEntry]
    up: Lineage
    down: Lineage
    market: MarketAround | None = None
    market_note: str = (
        "The market around the trade is drawn by --html FILE and by the job trade_dossier."
    )

    @property
    def realised(self) -> Content | None:
        """The newest realised outcome."""
        return self._newest("realised")

    @property
    def shadow(self) -> Content | None:
        """The newest shadow outcome: what would have come of it."""
        return self._newest("shadow")

    def _newest(self, kind: str) -> Content | None:
        found = [one for one in self.outcomes if one["kind"] == kind]
        return max(found, key=lambda one: int(one["revision"]), default=None)
