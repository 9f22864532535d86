"""Rug heuristics by name: known when judged, NaN when not, and never better when worse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.market.event import FACT_NAMES
from trade_pipeline.core.research.rug import WEIGHTS, combined_risk, rug_scores

NAN = float("nan")
KNOWN = (*FACT_NAMES, "removed_share", "buys", "sells", "age_hours")

# name -> (what is known, from harmless to plain, the scores of these)
SIGNS: dict[str, tuple[list[dict[str, float]], list[float]]] = {
    "liquidity_removed": (
        [{"removed_share": share} for share in (0.0, 0.25, 0.5, 0.9)],
        [0.0, 0.5, 1.0, 1.0],
    ),
    "lp_unlocked": ([{"lp_creator_share": share} for share in (0.0, 0.4, 1.0)], [0.0, 0.4, 1.0]),
    "developer_holding": (
        [{"developer_share": share} for share in (0.0, 0.1, 0.2, 0.8)],
        [0.0, 0.5, 1.0, 1.0],
    ),
    "holder_concentration": (
        [{"top_holders_share": share} for share in (0.0, 0.7, 1.0)],
        [0.0, 0.7, 1.0],
    ),
    "sell_failures": (
        [{"failed_sell_share": share} for share in (0.0, 0.15, 0.3, 1.0)],
        [0.0, 0.5, 1.0, 1.0],
    ),
    "no_sells": (
        [{"buys": 100, "sells": sells} for sells in (80, 10, 5, 0)],
        [0.0, 0.0, 0.5, 1.0],
    ),
    "young_token": ([{"age_hours": age} for age in (216, 72, 36, 0)], [0.0, 0.0, 0.5, 1.0]),
    "mintable": ([{"mintable": value} for value in (0, 1)], [0.0, 1.0]),
    "trade_tax": ([{"sell_tax": tax} for tax in (0.0, 0.1, 0.2, 0.99)], [0.0, 0.5, 1.0, 1.0]),
    "unverified_contract": ([{"contract_verified": value} for value in (1, 0)], [0.0, 1.0]),
    "unaudited": ([{"audited": value} for value in (1, 0)], [0.0, 1.0]),
}


def scores_of(**known: float) -> dict[str, float]:
    """The heuristics that can be judged of one candidate."""
    columns = {name: np.array([known.get(name, NAN)]) for name in KNOWN}
    assert set(known) <= set(KNOWN)
    found = {name: float(score[0]) for name, score in rug_scores(columns).items()}
    assert set(found) == set(WEIGHTS)
    return {name: score for name, score in found.items() if score == score}


def risk_of(scores: dict[str, float]) -> float:
    columns = {name: np.array([scores.get(name, NAN)]) for name in WEIGHTS}
    return float(combined_risk(columns)[0])


def test_every_heuristic_has_a_weight_and_is_tested_here() -> None:
    assert set(SIGNS) == set(WEIGHTS)


@pytest.mark.parametrize("name", SIGNS)
def test_a_heuristic_is_present_when_known_and_rises_with_the_sign(name: str) -> None:
    signs, expected = SIGNS[name]
    found = [scores_of(**sign) for sign in signs]
    assert [set(scores) for scores in found] == [{name}] * len(signs)
    assert [scores[name] for scores in found] == pytest.approx(expected)
    risks = [risk_of(scores) for scores in found]
    assert risks == sorted(risks)
    assert risks[0] == 0.0
    assert risks[-1] == pytest.approx(WEIGHTS[name])


def test_what_is_unknown_is_absent_and_not_reassuring() -> None:
    assert scores_of() == {}
    assert risk_of({}) == 0.0


def test_many_candidates_are_each_judged_by_their_own_row() -> None:
    signs = [sign for given_signs, _ in SIGNS.values() for sign in given_signs]
    columns = {name: np.array([sign.get(name, NAN) for sign in signs]) for name in KNOWN}
    together = rug_scores(columns)
    risk = combined_risk(together)
    for row, sign in enumerate(signs):
        alone = scores_of(**sign)
        assert {n: float(s[row]) for n, s in together.items() if s[row] == s[row]} == alone
        assert float(risk[row]) == risk_of(alone)


def test_liquidity_bound_by_locks_counts_where_the_creator_share_is_unknown() -> None:
    assert scores_of(lp_locked_share=0.3, lp_burned_share=0.5) == {
        "lp_unlocked": pytest.approx(0.2)
    }
    assert scores_of(lp_burned_share=1.0) == {"lp_unlocked": 0.0}
    assert scores_of(lp_locked_share=0.6, lp_burned_share=0.6) == {"lp_unlocked": 0.0}
    assert scores_of(lp_creator_share=0.9, lp_locked_share=1.0) == {"lp_unlocked": 0.9}


def test_the_higher_of_two_taxes_counts() -> None:
    assert scores_of(buy_tax=0.02, sell_tax=0.1)["trade_tax"] == 0.5
    assert scores_of(buy_tax=0.1)["trade_tax"] == 0.5


def test_a_few_buys_are_no_evidence_that_nobody_can_sell() -> None:
    assert "no_sells" not in scores_of(buys=19, sells=0)
    assert scores_of(buys=20, sells=0)["no_sells"] == 1.0


@given(st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1)))
def test_the_combined_risk_is_a_share_and_never_less_than_one_warning(
    scores: dict[str, float],
) -> None:
    risk = risk_of(scores)
    assert 0.0 <= risk <= 1.0
    assert all(risk >= WEIGHTS[name] * score - 1e-12 for name, score in scores.items())


@given(
    st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1), min_size=1),
    st.data(),
)
def test_a_worse_sign_never_lowers_the_combined_risk(
    scores: dict[str, float], data: st.DataObject
) -> None:
    name = data.draw(st.sampled_from(sorted(scores)))
    worse = scores | {name: data.draw(st.floats(scores[name], 1))}
    assert risk_of(worse) >= risk_of(scores) - 1e-12
