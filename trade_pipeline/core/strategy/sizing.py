"""Adaptive position scaling."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trade_pipeline.core.strategy.config import SizingConfig


@dataclass(frozen=True, slots=True)
class Account:
    """What the fund looks like when a size is decided, USD.

    Attributes:
        cash_usd: what an entry may stake, its costs on top left aside.
        equity_usd: cash and the executable value of open positions.
        drawdown: below the highest equity, as a fraction.
    """

    cash_usd: float
    equity_usd: float
    drawdown: float
    open_positions: int

    def part(self, share: float) -> Account:
        """What a decision sees that may use a part of the fund only: the rest is put aside.

        So positions that were opened with all of it count in full, and nothing is entered until
        they are within the part.
        """
        if share == 1.0:
            return self
        return replace(
            self,
            cash_usd=max(0.0, self.cash_usd - (1.0 - share) * self.equity_usd),
            equity_usd=share * self.equity_usd,
        )


def position_size(
    config: SizingConfig,
    account: Account,
    *,
    confidence: float,
    min_confidence: float,
    volatility: float | None,
    impact_capacity_usd: float | None,
) -> float:
    """The stake in USD; 0 when it would be smaller than the smallest.

    The full fraction of the equity is scaled down by confidence (half at the threshold), by
    volatility above the target, and by the drawdown; then bounded by cash and by the size whose own
    price impact reaches the limit.

    Args:
        volatility: hourly, as a fraction; unknown counts as twice the target.
        impact_capacity_usd: stake whose own impact is ``max_impact``; None: no bound.
    """
    span = 1.0 - min_confidence
    certainty = (confidence - min_confidence) / span if span > 0 else 1.0
    stake = account.equity_usd * config.max_fraction
    stake *= 0.5 + 0.5 * max(0.0, min(1.0, certainty))
    spread = volatility if volatility is not None else 2 * config.target_volatility
    stake *= min(1.0, config.target_volatility / spread) if spread > 0 else 1.0
    stake *= max(0.25, 1.0 - account.drawdown)
    stake = min(stake, largest_stake(config, account, impact_capacity_usd))
    return stake if stake >= config.min_stake_usd else 0.0


def largest_stake(
    config: SizingConfig, account: Account, impact_capacity_usd: float | None
) -> float:
    """What a position may have at most, USD: of the equity, of the cash and by own price impact."""
    most = min(account.equity_usd * config.max_fraction, account.cash_usd)
    return most if impact_capacity_usd is None else min(most, impact_capacity_usd)
