"""Any records that a trade can have, as the Python API takes them."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from trade_pipeline.core.attribution.parts import Barriers
from trade_pipeline.core.records import (
    FILLS,
    ExecutionRecord,
    OrderEvent,
    TerminationReason,
    TradeOutcome,
)
from trade_pipeline_tests.core import samples

UUID_OF_ANY = samples.candidate().uuid
_MONEY = st.one_of(st.floats(0, 1e6), st.floats(0, 1e6), st.just(1e305))
_INSIDE = st.dictionaries(
    st.sampled_from(["impact", "own_impact", "pool_fee", "exchange_fee", "spread", "tax"]),
    st.floats(-1e3, 1e6),
)
_EVENT = st.one_of(st.just(OrderEvent.FILLED), st.sampled_from(list(OrderEvent)))
_COSTS = st.dictionaries(st.sampled_from(["gas", "exchange_fee", "bribe"]), st.floats(0, 1e3))
# Prices and sizes with which somebody traded, and a few that are mistakes.
_NUMBER = st.one_of(
    st.sampled_from([1.0, 50.0, 100.0]),
    st.floats(1e-9, 1e6),
    st.sampled_from([1e-300, 1e300, 1e-61, 1e61]),
)
# Mostly known, so that what follows from it is reached.
_SLIPPAGE = st.one_of(
    st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.sampled_from([None, 1.0, -1.5])
)


@st.composite
def executions(draw: st.DrawFn, uuid: UUID) -> list[ExecutionRecord]:
    """Order events; one fill at least, since a realised outcome needs one."""
    found: list[ExecutionRecord] = []
    for number in range(draw(st.integers(1, 6))):
        leg = ("entry", "exit")[number] if number < 2 else draw(st.sampled_from(["entry", "exit"]))
        event = draw(_EVENT) if number else OrderEvent.FILLED
        price = {f"{leg}_price": draw(_NUMBER)} if event in FILLS else {}
        found.append(
            ExecutionRecord(
                uuid,
                f"order-{number}",
                size=draw(_NUMBER),
                slippage=draw(_SLIPPAGE),
                leg=leg,
                event=event,
                value_usd=draw(st.one_of(st.none(), _MONEY)),
                costs_usd=draw(_COSTS),
                inside_usd=draw(_INSIDE),
                **price,
            )
        )
    return found


@st.composite
def any_trade(
    draw: st.DrawFn, uuid: UUID = UUID_OF_ANY
) -> tuple[TradeOutcome, list[ExecutionRecord], float | None, Barriers | None]:
    """An outcome, its orders' events, the research's price and the barriers."""
    reasons = [one for one in TerminationReason if one is not TerminationReason.NOT_FILLED]
    given: dict[str, Any] = {
        "realized_pnl_percent": draw(st.one_of(st.floats(-100, 1e3), st.just(1e300))),
        "pnl_usd": draw(st.one_of(st.none(), st.floats(-1e6, 1e6), st.just(1e12))),
        "termination_reason": draw(st.sampled_from(reasons)),
        "written_off": draw(st.booleans()),
    }
    return (
        samples.outcome(uuid, **given),
        draw(executions(uuid)),
        draw(st.one_of(st.none(), _NUMBER)),
        draw(st.sampled_from([None, Barriers(0.15, 0.3)])),
    )
