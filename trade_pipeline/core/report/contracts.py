"""The contract of each table: types, ranges, what is never missing, keys, names and freshness.

A rule is critical unless it says otherwise.  What only a strategy's own session promises is asked
of the modes in `TRADED`; records made through the Python API may leave it out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from trade_pipeline.core.features.registry import FEATURES
from trade_pipeline.core.records import FILLS, OrderEvent, TerminationReason
from trade_pipeline.core.report.contract_samples import VECTOR
from trade_pipeline.core.report.expectations import (
    Between,
    Contract,
    EqualTo,
    HasType,
    Matches,
    NotAbove,
    NotNull,
    OneOf,
    Rule,
    Severity,
    Unique,
    Where,
)

TRADED: Where = (("mode", ("backtest", "paper", "live")),)
ENTERED: Where = (("decision", ("enter",)),)
FILLED: Where = (("event", tuple(event.value for event in FILLS)),)
ENTRY: Where = (("leg", ("entry",)),)
# What is recorded of a real market has happened by then; a simulated day may lie in the future.
REAL: Where = (("kind_of_session", ("recorded", "live", "manual")),)

# A live session that decides nothing for so long has lost its market.
_SILENT_HOURS = 48
# One that trades nothing for so long may, but somebody should look.
_IDLE_HOURS = 7 * 24

_UUID7 = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"
_SHA256 = r"^[0-9a-f]{64}$"
_ADDRESS = r"^sha256:[0-9a-f]{64}$"
# Not empty, and not blank alone.
_TEXT = r"\S"

# Known of every decision, on every market.
_ALWAYS_KNOWN = (
    "volume_24h_usd rug_risk hour_of_day day_of_week heuristic_confidence open_positions"
)


def _types(**columns: str) -> list[Rule]:
    """Types by columns, several separated by blanks."""
    return [HasType(name, kind) for kind, names in columns.items() for name in names.split()]


def _not_null(names: str, where: Where = ()) -> list[Rule]:
    return [NotNull(name, where=where) for name in names.split()]


def _happened(time: str) -> list[Rule]:
    """A moment after the decision, and not of the future."""
    return [
        NotNull(time, where=TRADED),
        NotAbove("decided_at", time),
        NotAbove(time, "recorded_at", where=REAL),
        Between("hours_since_newest", high=_IDLE_HOURS, severity=Severity.WARNING),
    ]


def _known() -> list[Rule]:
    """The moment of the newest fact behind a decision."""
    return [
        NotNull("known_at", where=TRADED),
        NotAbove("known_at", "decided_at"),
        NotAbove("known_at", "recorded_at", where=REAL),
        Between("hours_since_newest", high=_SILENT_HOURS),
    ]


_IDENTITY: list[Rule] = [
    *_types(str="uuid mode", Timestamp="decided_at recorded_at"),
    Matches("uuid", _UUID7),
    # Without a decision the row belongs to no candidate of its session.
    *_not_null("uuid decided_at recorded_at"),
    OneOf("mode", ("backtest", "paper", "live", "manual")),
]

RESEARCH_DOCUMENTS = Contract(
    "research_documents",
    (
        *_IDENTITY,
        *_types(
            str="contract_address",
            int64="holders",
            float64="price_usd initial_market_cap liquidity_usd volume_24h_usd rug_risk sentiment "
            "lowest_score highest_score",
            Timestamp="known_at",
        ),
        Unique("uuid"),
        *_known(),
        *_not_null("price_usd volume_24h_usd rug_risk", TRADED),
        Between("price_usd", 0, above=True),
        *(
            Between(name, 0)
            for name in ("initial_market_cap", "liquidity_usd", "volume_24h_usd", "holders")
        ),
        *(Between(name, 0, 1) for name in ("rug_risk", "sentiment")),
        *(Between(name, 0, 1) for name in ("lowest_score", "highest_score")),
    ),
)

TRADE_CANDIDATES = Contract(
    "trade_candidates",
    (
        *_IDENTITY,
        *_types(
            str="session_id instrument decision reason model_version canary_version arm params_ptr "
            "created_by feature_hash",
            int64="decision_no",
            float64="propensity confidence stake_usd",
        ),
        Unique("uuid"),
        Unique("decision_no"),
        EqualTo("uuid_moment", "decided_moment", where=TRADED),
        NotAbove("range_start", "decided_at"),
        NotAbove("decided_at", "range_end"),
        NotAbove("decided_at", "recorded_at", where=REAL),
        Between("hours_since_newest", high=_SILENT_HOURS),
        *_not_null(
            "session_id decision_no instrument decision reason model_version arm propensity "
            "confidence params_ptr created_by"
        ),
        NotNull("stake_usd", where=TRADED + ENTERED),
        # Sessions of before the feature table have none.
        NotNull("feature_hash", where=TRADED, severity=Severity.WARNING),
        Between("decision_no", 0),
        Between("propensity", 0, 1, above=True),
        Between("confidence", 0, 1),
        Between("stake_usd", 0),
        Between("stake_usd", 0, above=True, where=TRADED + ENTERED),
        OneOf("decision", ("enter", "skip")),
        OneOf("arm", ("production", "canary")),
        *(Matches(name, _TEXT) for name in ("instrument", "reason", "model_version", "created_by")),
        Matches("params_ptr", _ADDRESS),
        Matches("feature_hash", _SHA256),
    ),
)

TRADE_EXECUTIONS = Contract(
    "trade_executions",
    (
        *_IDENTITY,
        *_types(
            str="order_id event leg",
            int64="sequence",
            float64="price size value_usd fees_usd slippage",
            Timestamp="occurred_at",
        ),
        Unique("uuid", ("order_id", "event", "sequence")),
        *_happened("occurred_at"),
        NotAbove("occurred_at", "range_end"),
        *_not_null("order_id event leg sequence size fees_usd"),
        NotNull("price", where=FILLED),
        NotNull("value_usd", where=TRADED + FILLED),
        # An exit may be decided on an emptied pool, which has no price to compare with.
        NotNull("slippage", where=TRADED + FILLED + ENTRY),
        Between("price", 0, above=True),
        Between("size", 0),
        Between("size", 0, above=True, where=FILLED),
        *(Between(name, 0) for name in ("sequence", "value_usd", "fees_usd")),
        Between("slippage"),
        # A fill at twice the decision's price, or at nothing, deserves a look.
        Between("slippage", -1, 1, severity=Severity.WARNING),
        OneOf("event", tuple(event.value for event in OrderEvent)),
        OneOf("leg", ("entry", "exit")),
        Matches("order_id", _TEXT),
    ),
)


def _outcomes(asset: str, reasons: Iterable[TerminationReason], more: Iterable[Rule]) -> Contract:
    return Contract(
        asset,
        (
            *_IDENTITY,
            *_types(
                str="kind termination_reason",
                int64="revision",
                float64="realized_pnl_percent pnl_usd time_in_market_seconds worst_percent "
                "best_percent fees_usd exit_impact",
                Timestamp="closed_at",
            ),
            Unique("uuid", ("revision",)),
            *_happened("closed_at"),
            *_not_null("revision realized_pnl_percent time_in_market_seconds termination_reason"),
            *_not_null("pnl_usd fees_usd", TRADED),
            *(Between(name, 0) for name in ("revision", "time_in_market_seconds", "fees_usd")),
            *(
                Between(name)
                for name in ("realized_pnl_percent", "pnl_usd", "worst_percent", "best_percent")
            ),
            Between("exit_impact", 0, 1),
            NotAbove("worst_percent", "best_percent"),
            # More than the stake and half of it again lost to costs, or made a hundredfold.
            Between("realized_pnl_percent", -150, 10_000, severity=Severity.WARNING),
            OneOf("termination_reason", tuple(reason.value for reason in reasons)),
            *more,
        ),
    )


TRADE_OUTCOMES = _outcomes(
    "trade_outcomes",
    [reason for reason in TerminationReason if reason is not TerminationReason.NOT_FILLED],
    [OneOf("kind", ("realised",)), NotAbove("closed_at", "range_end")],
)
# The market goes on after a session's end, and so do its shadows.
SHADOW_OUTCOMES = _outcomes("shadow_outcomes", TerminationReason, [OneOf("kind", ("shadow",))])

TRADE_FEATURES = Contract(
    "trade_features",
    (
        *_IDENTITY,
        *_types(str="feature_set vector_hash vector", Timestamp="known_at"),
        Unique("uuid", ("feature_set",)),
        *_known(),
        *_not_null("feature_set vector_hash"),
        OneOf("vector", (VECTOR,)),
        # An infinite value is stored as unknown; the hash knows better.
        EqualTo("vector_hash", "hash_of_vector"),
        *_not_null(_ALWAYS_KNOWN, TRADED),
        *(Between(feature.name, feature.low, feature.high) for feature in FEATURES),
    ),
)

TRAINING_DATASET = Contract(
    "training_dataset",
    (
        *_types(str="uuid split", Timestamp="decided_at label_end recorded_at"),
        Unique("uuid"),
        Matches("uuid", _UUID7),
        *_not_null("uuid split decided_at label_end recorded_at"),
        OneOf("split", ("train", "validation", "test", "holdout")),
        NotAbove("decided_at", "label_end"),
        NotAbove("earlier_split_end", "decided_at"),
        *(NotAbove(time, "recorded_at", where=REAL) for time in ("decided_at", "label_end")),
    ),
)

CONTRACTS: Mapping[str, Contract] = {
    contract.asset: contract
    for contract in (
        RESEARCH_DOCUMENTS,
        TRADE_CANDIDATES,
        TRADE_EXECUTIONS,
        TRADE_OUTCOMES,
        SHADOW_OUTCOMES,
        TRADE_FEATURES,
        TRAINING_DATASET,
    )
}
