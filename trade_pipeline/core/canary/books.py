"""Shadow books: what a fund would have come to if one model had decided alone.

Each model's book has the same fund, slots and protections, so that what tells them apart is their
choice.  Trades fetch their shadow label; an open one is held at cost.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.features.calibration import Bools
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.records import TerminationReason
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.protections import Protections


@dataclass(frozen=True, slots=True)
class ShadowBook:
    """What came of a fund.

    Attributes:
        equity: the fund at first, and after each trade that ended, USD.
        gains: of each trade that ended, USD.
        entered: trades, those that have not ended included.
    """

    equity: Floats
    gains: Floats
    entered: int

    @property
    def worst(self) -> float:
        """The worst trade as a share of the fund before it ended, at most 0."""
        return float((self.gains / self.equity[:-1]).min(initial=0.0))


def shadow_book(
    at: Ints,
    token: Ints,
    stake: Floats,
    returns: Floats,
    ended_at: Ints,
    stopped: Bools,
    strategy: StrategyConfig,
) -> ShadowBook:
    """Trade decisions in their order, as far as slots, cash and protections let the fund.

    Args:
        at: of each decision, microseconds, ascending.
        stake: with nothing else going on, as a share of the full stake; 0: skipped.
        returns, ended_at, stopped: of the shadow label; ``ended_at`` is -1 where it is open.
    """
    sizing = strategy.sizing
    cash = fund = strategy.small_fund_usd
    protections = Protections(strategy.protections, fund)
    held: dict[int, float] = {}
    ends: list[tuple[int, int, int]] = []
    equity, gains, entered = [fund], [], 0

    def close(until: float) -> None:
        nonlocal cash
        while ends and ends[0][0] <= until:
            ended, row, name = heapq.heappop(ends)
            staked = held.pop(name)
            gain = staked * float(returns[row])
            cash += staked + gain
            gains.append(gain)
            equity.append(cash + sum(held.values()))
            protections.observe(ended, equity[-1])
            if stopped[row]:
                protections.closed(ended, name, TerminationReason.STOP_LOSS)

    for row in np.flatnonzero(stake > 0).tolist():
        moment, name = int(at[row]), int(token[row])
        close(moment)
        worth = cash + sum(held.values())
        drawdown = protections.observe(moment, worth)
        if (
            name in held
            or len(held) >= sizing.max_positions
            or protections.refusal(moment, name, worth) is not None
        ):
            continue
        staked = float(stake[row]) * worth * sizing.max_fraction * max(0.25, 1.0 - drawdown)
        staked = min(staked, cash)
        if staked < sizing.min_stake_usd:
            continue
        held[name] = staked
        cash -= staked
        entered += 1
        if ended_at[row] >= 0:
            heapq.heappush(ends, (int(ended_at[row]), row, name))
    close(np.inf)
    return ShadowBook(np.array(equity), np.array(gains), entered)
