"""Rug-pull heuristics by name: each a risk in 0..1 from what was known, NaN where unknown."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from trade_pipeline.core.market.event import Floats

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


def rug_scores(known: Mapping[str, Floats]) -> dict[str, Floats]:
    """The heuristics of many candidates, each 0 (no sign) to 1 (plain sign).

    Args:
        known: facts by the names of `TokenFacts`, and of the last 24 h ``removed_share`` (liquidity
            removed, as a share of the most that was there), ``buys`` and ``sells`` (number of
            swaps); and ``age_hours``.  All of the same length; NaN is unknown.
    """
    locked, burned = known["lp_locked_share"], known["lp_burned_share"]
    bound = np.nan_to_num(locked, nan=0.0) + np.nan_to_num(burned, nan=0.0)
    not_bound = np.where(np.isnan(locked) & np.isnan(burned), np.nan, np.maximum(0.0, 1.0 - bound))
    creator = known["lp_creator_share"]
    buys, sells = known["buys"], known["sells"]
    enough = buys >= 20
    return {
        "liquidity_removed": np.minimum(1.0, known["removed_share"] / 0.5),
        "lp_unlocked": np.where(np.isnan(creator), not_bound, creator),
        "developer_holding": np.minimum(1.0, known["developer_share"] / 0.2),
        "holder_concentration": known["top_holders_share"],
        "sell_failures": np.minimum(1.0, known["failed_sell_share"] / 0.3),
        # Many buys and hardly a sale: probably nobody can sell.
        "no_sells": np.where(
            enough, np.maximum(0.0, 1.0 - sells / (0.1 * np.where(enough, buys, 1.0))), np.nan
        ),
        "young_token": np.maximum(0.0, 1.0 - known["age_hours"] / 72),
        "mintable": known["mintable"],
        "trade_tax": np.minimum(1.0, np.fmax(known["buy_tax"], known["sell_tax"]) / 0.2),
        "unverified_contract": 1.0 - known["contract_verified"],
        "unaudited": 1.0 - known["audited"],
    }


def combined_risk(scores: Mapping[str, Floats]) -> Floats:
    """The heuristics as one risk in 0..1; an unknown heuristic neither warns nor reassures."""
    safe = np.ones(len(next(iter(scores.values()))))
    for name, weight in WEIGHTS.items():
        safe = safe * (1.0 - weight * np.nan_to_num(scores[name], nan=0.0))
    return 1.0 - safe
