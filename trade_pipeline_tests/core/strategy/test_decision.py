"""The decision and the confidence behind it: every reason, in its order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.market.event import Instrument, TokenFacts
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.research.sentiment import Sentiment
from trade_pipeline.core.research.snapshot import Snapshot
from trade_pipeline.core.strategy.confidence import heuristic_confidence
from trade_pipeline.core.strategy.config import SignalConfig, SizingConfig, StrategyConfig
from trade_pipeline.core.strategy.decision import Decision, decide
from trade_pipeline.core.strategy.sizing import Account

CONFIG = StrategyConfig(
    signal=SignalConfig(max_rug_risk=0.6, min_confidence=0.55, min_move_24h=0.05),
    sizing=SizingConfig(max_positions=5, min_stake_usd=20, target_volatility=0.05),
)
ACCOUNT = Account(cash_usd=1_000.0, equity_usd=1_000.0, drawdown=0.0, open_positions=0)
STATE = TokenState(0, 0, 1_000.0, *[math.nan] * 11)
GOOD = Snapshot(
    instrument=Instrument("pool"),
    at=0,
    state=STATE,
    volume_24h_usd=200_000.0,
    market={"return_24h": 0.4, "volatility_1h": 0.05},
    facts=TokenFacts(),
    rug_scores={},
    rug_risk=0.1,
    sentiment=Sentiment(None, None, None),
)
QUIET = replace(GOOD, market={"return_24h": 0.01, "volatility_1h": 0.05})

# Everything that refuses, in the order in which it is asked.
OBSTACLES: list[tuple[str, dict[str, Any]]] = [
    ("position_open", {"position_open": True}),
    ("rug_risk", {"snapshot": replace(QUIET, rug_risk=0.61)}),
    ("low_volatility", {"snapshot": QUIET}),
    ("low_confidence", {"confidence": 0.549}),
    ("cooldown", {"protection": "cooldown"}),
    ("no_free_slot", {"account": replace(ACCOUNT, open_positions=5)}),
    ("stake_too_small", {"impact_capacity_usd": 19.0}),
]


def decision(**changes: Any) -> Decision:
    given: dict[str, Any] = {
        "snapshot": GOOD,
        "confidence": 0.8,
        "account": ACCOUNT,
        "position_open": False,
        "protection": None,
        "impact_capacity_usd": None,
    }
    return decide(CONFIG, **(given | changes))


def test_a_good_candidate_is_entered_with_a_stake() -> None:
    found = decision()
    assert found.enter
    assert found.reason == "signal"
    assert found.stake_usd is not None
    assert 100.0 < found.stake_usd < 200.0


@pytest.mark.parametrize(("reason", "change"), OBSTACLES)
def test_every_reason_to_skip_is_reachable_and_has_no_stake(
    reason: str, change: dict[str, Any]
) -> None:
    assert decision(**change) == Decision(False, reason)


@pytest.mark.parametrize("first", range(len(OBSTACLES)))
def test_of_several_reasons_the_first_in_order_is_named(first: int) -> None:
    changes: dict[str, Any] = {}
    for _, change in reversed(OBSTACLES[first:]):
        changes |= change
    assert decision(**changes).reason == OBSTACLES[first][0]


@pytest.mark.parametrize("protection", ["max_drawdown", "daily_loss_limit", "cooldown"])
def test_a_protection_is_named_as_it_is(protection: str) -> None:
    assert decision(protection=protection).reason == protection


def test_bounds_belong_to_the_allowed_side() -> None:
    at_bounds = replace(GOOD, rug_risk=0.6, market={"return_24h": -0.05})
    assert decision(snapshot=at_bounds, confidence=0.55).enter


def test_an_unknown_move_does_not_count_as_a_small_one() -> None:
    assert decision(snapshot=replace(GOOD, market={"return_24h": None})).enter
    assert decision(snapshot=replace(GOOD, market={})).enter


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        ({"market": {"return_1h": 0.2}}, {"market": {"return_1h": -0.2}}),
        ({"market": {"return_6h": 0.2}}, {"market": {"return_6h": -0.2}}),
        ({"market": {"return_24h": 0.2}}, {"market": {"return_24h": -0.2}}),
        ({"market": {"flow_imbalance_1h": 0.5}}, {"market": {"flow_imbalance_1h": -0.5}}),
        ({"market": {"flow_imbalance_24h": 0.5}}, {"market": {"flow_imbalance_24h": -0.5}}),
        ({"market": {"drawdown_24h": 0.0}}, {"market": {"drawdown_24h": 0.7}}),
        ({"rug_risk": 0.0}, {"rug_risk": 0.6}),
        ({"sentiment": Sentiment(0.9, None, None)}, {"sentiment": Sentiment(0.2, None, None)}),
        ({"sentiment": Sentiment(0.5, 0.2, None)}, {"sentiment": Sentiment(0.5, -0.2, None)}),
        ({"sentiment": Sentiment(0.5, None, 1.0)}, {"sentiment": Sentiment(0.5, None, 0.0)}),
    ],
)
def test_the_confidence_goes_the_way_of_the_sign(
    better: dict[str, Any], worse: dict[str, Any]
) -> None:
    plain = replace(GOOD, market={})
    assert heuristic_confidence(replace(plain, **better)) > heuristic_confidence(
        replace(plain, **worse)
    )


def test_what_is_unknown_adds_nothing_to_the_confidence() -> None:
    plain = heuristic_confidence(replace(GOOD, market={}))
    unknown = dict.fromkeys(("return_1h", "return_24h", "flow_imbalance_1h", "drawdown_24h"))
    assert heuristic_confidence(replace(GOOD, market=unknown)) == plain


@given(
    value=st.floats(allow_nan=False, allow_infinity=False),
    risk=st.floats(0, 1),
    level=st.floats(0, 1),
)
def test_no_single_wild_value_leaves_the_range_of_the_confidence(
    value: float, risk: float, level: float
) -> None:
    wild = dict.fromkeys(("return_1h", "return_6h", "return_24h", "flow_imbalance_24h"), value)
    sentiment = Sentiment(level, level - 0.5, 1 - level)
    found = heuristic_confidence(replace(GOOD, market=wild, rug_risk=risk, sentiment=sentiment))
    assert 0.01 < found < 0.99
