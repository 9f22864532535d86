"""A record that would mislead is refused when it is made, and the message says which field."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from trade_pipeline.core.errors import (
    InvalidConfidence,
    InvalidPrice,
    InvalidRecord,
    NaiveDatetime,
    TradePipelineError,
)
from trade_pipeline.core.records import (
    Experiment,
    OrderEvent,
    TerminationReason,
    TradeCandidate,
)
from trade_pipeline_tests.core import samples

UUID = samples.candidate().uuid
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001
Make = Callable[..., Any]


def research(**changes: Any) -> Any:
    return samples.research(changes.pop("uuid", UUID), **changes)


def fill(**changes: Any) -> Any:
    return samples.fill(changes.pop("uuid", UUID), **changes)


def sale(**changes: Any) -> Any:
    return samples.sale(changes.pop("uuid", UUID), **changes)


def rejected(**changes: Any) -> Any:
    return fill(**({"event": OrderEvent.REJECTED, "entry_price": None, "size": 0.0} | changes))


def outcome(**changes: Any) -> Any:
    return samples.outcome(changes.pop("uuid", UUID), **changes)


NO_PRICES = (0, 0.0, -0.0, -1e-9, -5, math.nan, math.inf, -math.inf, None, "1", True, 10**400)
NO_NUMBERS = (math.nan, math.inf, -math.inf, "1", True, 10**20, 10**400, -(10**400))
NO_TEXTS = ("", "a\0b", None, 5, b"text", "half \ud83d", float("nan"))
NO_UUIDS = (None, str(UUID), UUID.int, UUID.bytes, "")
BELOW_ZERO = (-1e-9, -1)
NOT_WHOLE = (-1, 1.0, 1.5, True, "1", 2**31, 10**400)
NO_SCORES = (None, 0.5, [("a", 1.0)])

CASES: list[tuple[Make, str, object, type[InvalidRecord]]] = [
    *[
        (make, "uuid", value, InvalidRecord)
        for make in (samples.candidate, research, fill, outcome)
        for value in NO_UUIDS
    ],
    *[
        (samples.candidate, "confidence", value, InvalidConfidence)
        for value in (-1e-9, 1.0000001, 75, math.nan, math.inf, None, "0.5", True)
    ],
    *[
        (samples.candidate, field, value, InvalidRecord)
        for field in ("instrument", "model_version", "params_ptr", "created_by", "reason")
        for value in NO_TEXTS
    ],
    *[(samples.candidate, "stake_usd", value, InvalidRecord) for value in NO_NUMBERS + BELOW_ZERO],
    *[(samples.candidate, "decision", value, InvalidRecord) for value in ("buy", "", None, True)],
    (samples.candidate, "decided_at", NAIVE, NaiveDatetime),
    (samples.candidate, "decided_at", "2026-01-01T00:00:00Z", InvalidRecord),
    (samples.candidate, "decided_at", 1767225600, InvalidRecord),
    *[
        (research, field, value, InvalidRecord)
        for field in ("initial_market_cap", "liquidity_usd", "volume_24h_usd")
        for value in NO_NUMBERS + BELOW_ZERO
    ],
    *[(research, "price_usd", value, InvalidPrice) for value in NO_PRICES if value is not None],
    *[
        (research, field, value, InvalidRecord)
        for field in ("rug_risk", "sentiment")
        for value in (*NO_NUMBERS, -0.1, 1.1)
    ],
    *[(research, "holders", value, InvalidRecord) for value in (-1, 1.5, True, "7", 2**63)],
    (research, "known_at", NAIVE, NaiveDatetime),
    (research, "known_at", "yesterday", InvalidRecord),
    *[(research, "trade_rationale", value, InvalidRecord) for value in NO_TEXTS],
    *[(research, "contract_address", value, InvalidRecord) for value in ("0x\0", 291, "\udc00")],
    *[
        (research, field, value, InvalidRecord)
        for field in ("rugpull_heuristic_scores", "social_sentiment_scores", "facts")
        for value in NO_SCORES
    ],
    *[(fill, "order_id", value, InvalidRecord) for value in NO_TEXTS],
    *[(fill, "event", value, InvalidRecord) for value in ("filled", None, "sold")],
    *[(fill, "leg", value, InvalidRecord) for value in ("buy", "", None)],
    *[(fill, "entry_price", value, InvalidPrice) for value in NO_PRICES],
    *[(sale, "exit_price", value, InvalidPrice) for value in NO_PRICES],
    *[(rejected, "entry_price", value, InvalidPrice) for value in NO_PRICES if value is not None],
    (fill, "exit_price", 0.0012, InvalidRecord),
    (sale, "entry_price", 0.001, InvalidRecord),
    *[(fill, "size", value, InvalidRecord) for value in (*NO_NUMBERS, *BELOW_ZERO, 0, 0.0)],
    *[(rejected, "size", value, InvalidRecord) for value in (math.nan, math.inf, -1)],
    *[(fill, "slippage", value, InvalidRecord) for value in NO_NUMBERS],
    *[(fill, "value_usd", value, InvalidRecord) for value in NO_NUMBERS + BELOW_ZERO],
    *[(fill, "sequence", value, InvalidRecord) for value in NOT_WHOLE],
    (fill, "occurred_at", NAIVE, NaiveDatetime),
    (fill, "occurred_at", 1.5, InvalidRecord),
    *[
        (fill, field, value, InvalidRecord)
        for field in ("latency_metrics", "costs_usd", "inside_usd")
        for value in NO_SCORES
    ],
    *[(fill, "note", value, InvalidRecord) for value in ("refused\0", 7, "\udfff")],
    *[(outcome, "realized_pnl_percent", value, InvalidRecord) for value in (*NO_NUMBERS, None)],
    *[
        (outcome, "time_in_market_seconds", value, InvalidRecord)
        for value in (*NO_NUMBERS, *BELOW_ZERO, None)
    ],
    *[
        (outcome, "termination_reason", value, InvalidRecord)
        for value in ("profit_target", None, "bored")
    ],
    *[(outcome, "kind", value, InvalidRecord) for value in ("real", "", None)],
    *[(outcome, "revision", value, InvalidRecord) for value in NOT_WHOLE],
    (outcome, "closed_at", NAIVE, NaiveDatetime),
    *[
        (outcome, field, value, InvalidRecord)
        for field in ("pnl_usd", "worst_percent", "best_percent", "exit_impact")
        for value in NO_NUMBERS
    ],
    *[(outcome, "fees_usd", value, InvalidRecord) for value in NO_NUMBERS + BELOW_ZERO],
    *[(Experiment, "experiment", value, InvalidRecord) for value in NO_TEXTS],
]


@pytest.mark.parametrize(
    ("make", "field", "value", "expected"),
    CASES,
    ids=[f"{make.__name__}-{field}-{str(value)[:20]!a}" for make, field, value, _ in CASES],
)
def test_an_impossible_value_is_refused_with_its_field_and_value(
    make: Make, field: str, value: object, expected: type[InvalidRecord]
) -> None:
    with pytest.raises(InvalidRecord) as refused:
        make(**{field: value})
    assert type(refused.value) is expected
    assert refused.value.field == field
    assert refused.value.value is value
    assert str(refused.value).startswith(f"{field}={value!r}: expected ")
    assert isinstance(refused.value, TradePipelineError)
    assert isinstance(refused.value, ValueError)


@pytest.mark.parametrize(
    ("make", "field", "key"),
    [
        (research, "rugpull_heuristic_scores", "risk"),
        (research, "social_sentiment_scores", "twitter"),
        (research, "facts", "supply"),
        (fill, "latency_metrics", "latency_ms"),
        (fill, "costs_usd", "gas"),
        (fill, "inside_usd", "pool_fee"),
    ],
)
def test_a_bad_entry_of_a_mapping_is_named_by_its_key(make: Make, field: str, key: str) -> None:
    for bad in (math.nan, math.inf, 10**30):
        with pytest.raises(InvalidRecord, match=rf"^{field}\[{key}\]="):
            make(**{field: {"fine": 1.0, key: bad}})
    for name in ("", "a\0", 3):
        with pytest.raises(InvalidRecord, match=rf"^{field} key="):
            make(**{field: {name: 1.0}})


def test_a_text_among_the_facts_must_be_one_that_postgresql_can_hold() -> None:
    with pytest.raises(InvalidRecord, match=r"^facts\[name\]="):
        research(facts={"name": "coin\0"})
    assert research(facts={"name": "", "verified": True, "age": 3}).facts["verified"] is True


@pytest.mark.parametrize("value", [0, 1, 0.0, 1.0, 0.5, np.float64(0.5)])
def test_the_bounds_of_a_confidence_belong_to_it(value: float) -> None:
    assert samples.candidate(confidence=value).confidence == value


def test_the_smallest_and_the_largest_prices_are_prices() -> None:
    for price in (5e-324, 1e-18, 1, 1e300, np.float64(1e-9)):
        assert fill(entry_price=price).price == price


def test_what_is_unknown_may_be_left_out() -> None:
    document = research(contract_address=None, initial_market_cap=None)
    assert document.price_usd is None
    assert document.holders is None
    assert rejected().price is None
    assert rejected(note="insufficient funds", costs_usd={"gas": 0.5}).fees_usd == 0.5


def test_a_record_cannot_be_changed_after_it_was_checked() -> None:
    records: list[Any] = [samples.candidate(), research(), fill(), outcome()]
    for record in records:
        with pytest.raises(dataclasses.FrozenInstanceError):
            record.uuid = UUID
        with pytest.raises((InvalidRecord, TypeError)):
            dataclasses.replace(record, uuid=None)


def test_the_price_of_an_order_is_that_of_its_own_leg() -> None:
    assert fill().price == 0.001
    assert sale().price == 0.0012


def test_fees_are_the_exact_sum_of_the_costs() -> None:
    assert fill(costs_usd={"gas": 0.1, "a": 0.2, "b": 0.3, "c": 1e16, "d": -1e16}).fees_usd == 0.6


@pytest.mark.parametrize("make", [samples.session, samples.candidate, research, fill, outcome])
def test_columns_and_values_of_a_row_belong_together(make: Make) -> None:
    record = make()
    row = dict(zip(record.COLUMNS, record.row(), strict=True))
    renamed = {"event", "termination_reason", "feature_hash"}
    for name in set(row) & {f.name for f in fields(record)} - renamed:
        assert row[name] == getattr(record, name)
    assert set(record.KEY) <= set(row)


def test_every_reason_to_end_a_trade_can_be_recorded() -> None:
    for reason in TerminationReason:
        record = outcome(termination_reason=reason, kind="shadow")
        assert record.row()[record.COLUMNS.index("termination_reason")] == reason.value


def test_a_realised_outcome_cannot_be_of_a_trade_that_was_not_filled() -> None:
    with pytest.raises(InvalidRecord, match="kind='realised': expected shadow"):
        outcome(termination_reason=TerminationReason.NOT_FILLED)


def test_a_feature_hash_is_stored_as_its_bytes() -> None:
    record: TradeCandidate = samples.candidate(feature_hash="ab" * 32)
    assert record.row()[-1] == bytes.fromhex("ab" * 32)
