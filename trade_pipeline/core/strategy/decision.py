"""From a snapshot to a decision: enter or skip, why, and with how much."""

from __future__ import annotations

from dataclasses import dataclass

from trade_pipeline.core.canonical import known
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.research.snapshot import Snapshot
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.rules import look_of, rules_of
from trade_pipeline.core.strategy.sizing import Account, largest_stake, position_size


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided about a candidate.

    Attributes:
        stake_usd: None for a skipped one.
    """

    enter: bool
    reason: str
    stake_usd: float | None = None


def decide(
    config: StrategyConfig,
    snapshot: Snapshot,
    vector: Floats,
    confidence: float,
    account: Account,
    *,
    entry_confidence: float,
    position_open: bool,
    protection: str | None,
    impact_capacity_usd: float | None,
) -> Decision:
    """Decide about a token that passed the universe filter.

    Args:
        vector: its features, which own rules see.
        entry_confidence: of the deciding model: lower ones are skipped.
        position_open: the token has a position or an order already.
        protection: why the protections refuse entries now, or None.
        impact_capacity_usd: see `position_size`.

    Raises:
        RuleFailed: an own rule raises an error or gives what cannot be.
    """
    signal = config.signal
    rug_risk, move = snapshot.known["rug_risk"], snapshot.known["return_24h"]
    if position_open:
        return Decision(False, "position_open")
    if rug_risk > signal.max_rug_risk:
        return Decision(False, "rug_risk")
    # An unknown move is NaN, which is below nothing.
    if abs(move) < signal.min_move_24h:
        return Decision(False, "low_volatility")
    if confidence < entry_confidence:
        return Decision(False, "low_confidence")
    rules = rules_of(config)
    look = None if rules is None else look_of(snapshot, confidence, vector)
    if rules is not None and look is not None and (why := rules.refusal(look)) is not None:
        return Decision(False, why)
    if protection is not None:
        return Decision(False, protection)
    if account.open_positions >= config.sizing.max_positions:
        return Decision(False, "no_free_slot")
    stake = position_size(
        config.sizing,
        account,
        confidence=confidence,
        min_confidence=entry_confidence,
        volatility=known(snapshot.known["volatility_24h"]),
        impact_capacity_usd=impact_capacity_usd,
    )
    if rules is not None and look is not None:
        stake = rules.stake(look, stake, largest_stake(config.sizing, account, impact_capacity_usd))
        stake = stake if stake >= config.sizing.min_stake_usd else 0.0
    if stake == 0.0:
        return Decision(False, "stake_too_small")
    return Decision(True, "signal", stake)


def idle_stake(
    config: StrategyConfig,
    snapshot: Snapshot,
    vector: Floats,
    confidence: float,
    idle: Account,
    *,
    entry_confidence: float,
    impact_capacity_usd: float | None,
) -> float:
    """What would be staked if nothing else were going on, as a share of the full stake; 0: skipped.

    It is what compares models: no slot, position, loss or protection of one arm weighs on it.
    `training.policy.stakes`, by which models are judged before they decide anything, has the same
    filters and the same half to whole of the full stake by confidence, and knows no account: here
    the stake is also cut by volatility, by the own price impact and by the cash that costs leave,
    and skipped when it gets too small.  So this one is never the larger.

    Args:
        idle: the whole fund in cash.
    """
    decision = decide(
        config,
        snapshot,
        vector,
        confidence,
        idle,
        entry_confidence=entry_confidence,
        position_open=False,
        protection=None,
        impact_capacity_usd=impact_capacity_usd,
    )
    return (decision.stake_usd or 0.0) / (idle.equity_usd * config.sizing.max_fraction)
