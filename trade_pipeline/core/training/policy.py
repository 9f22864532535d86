"""From a confidence to a stake: what a model would do with a candidate, slots and cash aside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.features.calibration import Bools
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.strategy.config import SignalConfig, StrategyConfig

if TYPE_CHECKING:
    import pandas as pd


def stakes(
    confidence: Floats, entry_confidence: float, frame: pd.DataFrame, signal: SignalConfig
) -> Floats:
    """Stakes as a share of the full one, 0 for a candidate that is not entered.

    The rules are those of `decide` and `position_size`: the filters of rug risk and move hold for
    every model; half the stake at the entry's confidence, all of it at 1.
    """
    span = 1.0 - entry_confidence
    certainty = (confidence - entry_confidence) / span if span > 0 else np.ones(len(confidence))
    entered = (confidence >= entry_confidence) & may_enter(frame, signal)
    return np.where(entered, 0.5 + 0.5 * np.clip(certainty, 0.0, 1.0), 0.0)


def idle_stakes(
    confidence: Floats, entry_confidence: float, frame: pd.DataFrame, strategy: StrategyConfig
) -> Floats:
    """What `idle_stake` says of each row: `stakes`, cut by volatility and by own price impact.

    The venue's capacity is told by the feature ``stake_to_depth``; a market in which nothing can be
    bought has none.
    """
    sizing = strategy.sizing
    spread = frame["volatility_24h"].fillna(2 * sizing.target_volatility).to_numpy(np.float64)
    calm = np.minimum(1.0, sizing.target_volatility / np.where(spread > 0, spread, np.nan))
    depth = frame["stake_to_depth"].to_numpy(np.float64)
    capacity = np.where(depth > 0, 1.0 / np.where(depth > 0, depth, 1.0), 0.0)
    share = stakes(confidence, entry_confidence, frame, strategy.signal)
    share = np.minimum(share * np.where(np.isnan(calm), 1.0, calm), capacity)
    smallest = sizing.min_stake_usd / (strategy.small_fund_usd * sizing.max_fraction)
    return np.where(share >= smallest, share, 0.0)


def may_enter(frame: pd.DataFrame, signal: SignalConfig) -> Bools:
    """Which candidates pass the filters that hold for every model."""
    risk = frame["rug_risk"].to_numpy(np.float64)
    move = np.abs(frame["return_24h"].to_numpy(np.float64))
    # What is unknown is NaN, which is neither above nor below anything.
    may: Bools = ~((risk > signal.max_rug_risk) | (move < signal.min_move_24h))
    return may


def dealt_by(score: Floats, stake: Floats, may_enter: Bools) -> Floats:
    """The same stakes for the candidates that another score ranks highest, the largest first.

    It compares rankings alone: whoever enters less can be choosier, and earns more per stake.
    """
    order = np.flatnonzero(may_enter)[np.argsort(-score[may_enter], kind="stable")]
    dealt = np.zeros(len(stake))
    dealt[order] = np.sort(stake[may_enter])[::-1]
    return dealt


def break_even_confidence(returns: Floats, weights: Floats) -> float:
    """The probability of a profit at which the mean gain of winners pays for that of the losers.

    Raises:
        ValueError: there are no winners, or no losers.
    """
    won = returns > 0
    if won.all() or not won.any():
        raise ValueError("returns: winners and losers are needed")
    gain = float(np.average(returns[won], weights=weights[won]))
    loss = -float(np.average(returns[~won], weights=weights[~won]))
    return loss / (gain + loss)
