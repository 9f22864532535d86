"""The decision and the confidence behind it: every reason, in its order."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.market.event import Instrument, TokenFacts
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.research.snapshot import SNAPSHOT_COLUMNS, Snapshot
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
_GOOD = {"return_24h": 0.4, "volatility_24h": 0.05, "rug_risk": 0.1}


def snapshot(**known: float) -> Snapshot:
    """A good candidate but for what is given."""
    values = dict.fromkeys(SNAPSHOT_COLUMNS, math.nan) | _GOOD | known
    return Snapshot(Instrument("pool"), at=0, state=STATE, known=values, facts=TokenFacts())


# Everything that refuses, in the order in which it is asked.
OBSTACLES: list[tuple[str, dict[str, Any]]] = [
    ("position_open", {"position_open": True}),
    ("rug_risk", {"snapshot": snapshot(return_24h=0.01, rug_risk=0.61)}),
    ("low_volatility", {"snapshot": snapshot(return_24h=0.01)}),
    ("low_confidence", {"confidence": 0.549}),
    ("cooldown", {"protection": "cooldown"}),
    ("no_free_slot", {"account": replace(ACCOUNT, open_positions=5)}),
    ("stake_too_small", {"impact_capacity_usd": 19.0}),
]


def decision(**changes: Any) -> Decision:
    given: dict[str, Any] = {
        "snapshot": snapshot(),
        "vector": np.full(len(NAMES), math.nan),
        "confidence": 0.8,
        "account": ACCOUNT,
        "entry_confidence": 0.55,
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
    at_bounds = snapshot(rug_risk=0.6, return_24h=-0.05)
    assert decision(snapshot=at_bounds, confidence=0.55).enter


def test_an_unknown_move_does_not_count_as_a_small_one() -> None:
    assert decision(snapshot=snapshot(return_24h=math.nan)).enter


def test_a_wild_token_gets_a_smaller_stake_and_an_unknown_volatility_no_larger_one() -> None:
    calm, wild = (decision(snapshot=snapshot(volatility_24h=v)).stake_usd for v in (0.05, 0.1))
    unknown = decision(snapshot=snapshot(volatility_24h=math.nan)).stake_usd
    assert calm is not None
    assert wild is not None
    assert unknown is not None
    assert wild < calm
    assert unknown <= calm


USED = (
    "rug_risk", "return_1h", "return_6h", "return_24h", "flow_imbalance_1h", "flow_imbalance_24h",
    "drawdown_24h", "sentiment_level", "sentiment_momentum", "sentiment_consensus",
)  # fmt: skip


def confidences(*rows: dict[str, float]) -> list[float]:
    """Of candidates whose rug risk is 0.1 and of whom nothing else is known but the given."""
    columns = {
        name: np.array([row.get(name, 0.1 if name == "rug_risk" else math.nan) for row in rows])
        for name in USED
    }
    found: list[float] = heuristic_confidence(columns).tolist()
    return found


@pytest.mark.parametrize(
    ("name", "better", "worse"),
    [
        ("return_1h", 0.2, -0.2),
        ("return_6h", 0.2, -0.2),
        ("return_24h", 0.2, -0.2),
        ("flow_imbalance_1h", 0.5, -0.5),
        ("flow_imbalance_24h", 0.5, -0.5),
        ("drawdown_24h", 0.0, 0.7),
        ("rug_risk", 0.0, 0.6),
        ("sentiment_level", 0.9, 0.2),
        ("sentiment_momentum", 0.2, -0.2),
        ("sentiment_consensus", 1.0, 0.0),
    ],
)
def test_the_confidence_goes_the_way_of_the_sign(name: str, better: float, worse: float) -> None:
    high, low = confidences({name: better}, {name: worse})
    assert high > low


def test_what_is_unknown_or_neutral_adds_nothing_to_the_confidence() -> None:
    neutral = dict.fromkeys(USED, 0.0)
    neutral |= {"sentiment_level": 0.5, "sentiment_consensus": 0.5}
    unknown, plain = confidences({"rug_risk": 0.0}, neutral)
    assert unknown == plain == pytest.approx(1 / (1 + math.exp(-0.35)))


@given(
    value=st.floats(allow_nan=False),
    risk=st.floats(0, 1),
    level=st.floats(0, 1),
)
def test_no_single_wild_value_leaves_the_range_of_the_confidence(
    value: float, risk: float, level: float
) -> None:
    wild = dict.fromkeys(("return_1h", "return_6h", "return_24h", "flow_imbalance_24h"), value)
    wild |= {"rug_risk": risk, "sentiment_level": level, "sentiment_momentum": level - 0.5}
    (found,) = confidences(wild | {"sentiment_consensus": 1 - level})
    assert 0.01 < found < 0.99


@given(st.lists(st.fixed_dictionaries({name: st.floats(-1, 1) for name in USED}), max_size=9))
def test_a_candidate_has_the_same_confidence_alone_and_among_others(
    rows: list[dict[str, float]],
) -> None:
    assert [confidences(row)[0] for row in rows] == confidences(*rows)
