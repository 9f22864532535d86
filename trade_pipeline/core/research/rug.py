"""Rug-pull heuristics by name: each a risk in 0..1 from what was known, or absent where unknown."""

from __future__ import annotations

from dataclasses import dataclass

from trade_pipeline.core.market.event import DAY, TokenFacts

# How much a heuristic at its full value counts by itself.  They combine like independent warnings:
# risk = 1 - product(1 - weight * score).
WEIGHTS: dict[str, float] = {
    "liquidity_removed": 0.9,
    "lp_unlocked": 0.25,
    "developer_holding": 0.35,
    "holder_concentration": 0.3,
    "sell_failures": 0.9,
    "no_sells": 0.8,
    "young_token": 0.2,
    "mintable": 0.3,
    "trade_tax": 0.6,
    "unverified_contract": 0.3,
    "unaudited": 0.05,
}


@dataclass(frozen=True, slots=True)
class RecentTrading:
    """A token's last 24 h as the rug heuristics see it.

    Attributes:
        removed_share: liquidity removed in the window, as a share of the most that was there.
        buys, sells: number of swaps; None where a market does not tell them apart.
        age: microseconds since trading began; None where unknown.
    """

    removed_share: float | None
    buys: int | None
    sells: int | None
    age: int | None


def rug_scores(facts: TokenFacts, trading: RecentTrading) -> dict[str, float]:
    """The heuristics that can be judged, by name, each 0 (no sign) to 1 (plain sign)."""
    scores: dict[str, float] = {}
    if trading.removed_share is not None:
        scores["liquidity_removed"] = min(1.0, trading.removed_share / 0.5)
    if facts.lp_creator_share is not None:
        scores["lp_unlocked"] = facts.lp_creator_share
    elif facts.lp_locked_share is not None or facts.lp_burned_share is not None:
        bound = (facts.lp_locked_share or 0.0) + (facts.lp_burned_share or 0.0)
        scores["lp_unlocked"] = max(0.0, 1.0 - bound)
    if facts.developer_share is not None:
        scores["developer_holding"] = min(1.0, facts.developer_share / 0.2)
    if facts.top_holders_share is not None:
        scores["holder_concentration"] = facts.top_holders_share
    if facts.failed_sell_share is not None:
        scores["sell_failures"] = min(1.0, facts.failed_sell_share / 0.3)
    if trading.buys is not None and trading.sells is not None and trading.buys >= 20:
        # Many buys and hardly a sale: probably nobody can sell.
        scores["no_sells"] = max(0.0, 1.0 - trading.sells / (0.1 * trading.buys))
    if trading.age is not None:
        scores["young_token"] = max(0.0, 1.0 - trading.age / (3 * DAY))
    if facts.mintable is not None:
        scores["mintable"] = float(facts.mintable)
    taxes = [tax for tax in (facts.buy_tax, facts.sell_tax) if tax is not None]
    if taxes:
        scores["trade_tax"] = min(1.0, max(taxes) / 0.2)
    if facts.contract_verified is not None:
        scores["unverified_contract"] = float(not facts.contract_verified)
    if facts.audited is not None:
        scores["unaudited"] = float(not facts.audited)
    return scores


def combined_risk(scores: dict[str, float]) -> float:
    """The heuristics as one risk in 0..1; an unknown heuristic neither warns nor reassures."""
    safe = 1.0
    for name, score in scores.items():
        safe *= 1.0 - WEIGHTS[name] * score
    return 1.0 - safe
