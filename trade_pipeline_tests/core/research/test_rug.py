"""Rug heuristics by name: present when known, absent when not, and never better when worse."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.market.event import DAY, HOUR, TokenFacts
from trade_pipeline.core.research.rug import WEIGHTS, RecentTrading, combined_risk, rug_scores

NOTHING = RecentTrading(removed_share=None, buys=None, sells=None, age=None)
UNKNOWN = TokenFacts()

# name -> (facts or trading from harmless to plain, the scores of these)
SIGNS: dict[str, tuple[list[TokenFacts | RecentTrading], list[float]]] = {
    "liquidity_removed": (
        [replace(NOTHING, removed_share=share) for share in (0.0, 0.25, 0.5, 0.9)],
        [0.0, 0.5, 1.0, 1.0],
    ),
    "lp_unlocked": (
        [TokenFacts(lp_creator_share=share) for share in (0.0, 0.4, 1.0)],
        [0.0, 0.4, 1.0],
    ),
    "developer_holding": (
        [TokenFacts(developer_share=share) for share in (0.0, 0.1, 0.2, 0.8)],
        [0.0, 0.5, 1.0, 1.0],
    ),
    "holder_concentration": (
        [TokenFacts(top_holders_share=share) for share in (0.0, 0.7, 1.0)],
        [0.0, 0.7, 1.0],
    ),
    "sell_failures": (
        [TokenFacts(failed_sell_share=share) for share in (0.0, 0.15, 0.3, 1.0)],
        [0.0, 0.5, 1.0, 1.0],
    ),
    "no_sells": (
        [replace(NOTHING, buys=100, sells=sells) for sells in (80, 10, 5, 0)],
        [0.0, 0.0, 0.5, 1.0],
    ),
    "young_token": (
        [replace(NOTHING, age=age) for age in (9 * DAY, 3 * DAY, 36 * HOUR, 0)],
        [0.0, 0.0, 0.5, 1.0],
    ),
    "mintable": ([TokenFacts(mintable=value) for value in (False, True)], [0.0, 1.0]),
    "trade_tax": (
        [TokenFacts(sell_tax=tax) for tax in (0.0, 0.1, 0.2, 0.99)],
        [0.0, 0.5, 1.0, 1.0],
    ),
    "unverified_contract": (
        [TokenFacts(contract_verified=value) for value in (True, False)],
        [0.0, 1.0],
    ),
    "unaudited": ([TokenFacts(audited=value) for value in (True, False)], [0.0, 1.0]),
}


def scores_of(sign: TokenFacts | RecentTrading) -> dict[str, float]:
    if isinstance(sign, TokenFacts):
        return rug_scores(sign, NOTHING)
    return rug_scores(UNKNOWN, sign)


def test_every_heuristic_has_a_weight_and_is_tested_here() -> None:
    assert set(SIGNS) == set(WEIGHTS)


@pytest.mark.parametrize("name", SIGNS)
def test_a_heuristic_is_present_when_known_and_rises_with_the_sign(name: str) -> None:
    signs, expected = SIGNS[name]
    found = [scores_of(sign) for sign in signs]
    assert [set(scores) for scores in found] == [{name}] * len(signs)
    assert [scores[name] for scores in found] == pytest.approx(expected)
    risks = [combined_risk(scores) for scores in found]
    assert risks == sorted(risks)
    assert risks[0] == 0.0
    assert risks[-1] == pytest.approx(WEIGHTS[name])


def test_what_is_unknown_is_absent_and_not_reassuring() -> None:
    assert rug_scores(UNKNOWN, NOTHING) == {}
    assert combined_risk({}) == 0.0


def test_liquidity_bound_by_locks_counts_where_the_creator_share_is_unknown() -> None:
    assert rug_scores(TokenFacts(lp_locked_share=0.3, lp_burned_share=0.5), NOTHING) == {
        "lp_unlocked": pytest.approx(0.2)
    }
    assert rug_scores(TokenFacts(lp_burned_share=1.0), NOTHING) == {"lp_unlocked": 0.0}
    both = TokenFacts(lp_creator_share=0.9, lp_locked_share=1.0)
    assert rug_scores(both, NOTHING) == {"lp_unlocked": 0.9}


def test_the_higher_of_two_taxes_counts() -> None:
    assert rug_scores(TokenFacts(buy_tax=0.02, sell_tax=0.1), NOTHING)["trade_tax"] == 0.5
    assert rug_scores(TokenFacts(buy_tax=0.1), NOTHING)["trade_tax"] == 0.5


def test_a_few_buys_are_no_evidence_that_nobody_can_sell() -> None:
    assert "no_sells" not in rug_scores(UNKNOWN, replace(NOTHING, buys=19, sells=0))
    assert rug_scores(UNKNOWN, replace(NOTHING, buys=20, sells=0))["no_sells"] == 1.0


@given(st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(0, 1)))
def test_the_combined_risk_is_a_share_and_never_less_than_one_warning(
    scores: dict[str, float],
) -> None:
    risk = combined_risk(scores)
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
    assert combined_risk(worse) >= combined_risk(scores) - 1e-12
