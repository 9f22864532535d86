"""A strategy of the user's own: rules beside the product's, in one class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Look:
    """A candidate that passed the universe filter, the rug risk, the move and the confidence.

    Attributes:
        at: when it is looked at, on the session's clock.
        confidence: of the model that decides, 0..1.
        known: every feature by name, own ones included; NaN is unknown.
    """

    instrument: str
    at: datetime
    confidence: float
    known: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Held:
    """An open position at an event of its token.

    Attributes:
        hours: since it was bought.
        gain: what a sale would bring now, against what was paid: 0.1 is 10 % more.
        best, worst: the highest and the lowest gain since.
        price_usd: of the token now; ``entry_price_usd``: paid for one, all inside included.
        volume_usd: of the newest event (a bar: of its hour).
        liquidity_usd: both sides of the pool; NaN on an exchange.
    """

    instrument: str
    at: datetime
    hours: float
    gain: float
    best: float
    worst: float
    price_usd: float
    entry_price_usd: float
    volume_usd: float
    liquidity_usd: float


class Strategy:
    """Derive from it and override what should differ.

    Answers must depend on the arguments and on the settings alone: no clock, no chance, no memory
    of earlier calls.  Then a replay gives the same.

    Attributes with a plain default (a number, a truth, a text) are settings, which
    ``strategy.rule_settings`` overrides by name.

    Attributes:
        config: settings of the strategy that it brings, as `StrategyConfig` names them, such as
            ``{"exits": {"stop_loss": 0.1}}``; what the user sets stands above them.
    """

    config: ClassVar[Mapping[str, Any]] = {}

    def enters(self, look: Look) -> bool | str:
        """Whether to buy: True, or False or a short reason (``no_breakout``) why not."""
        return True

    def stake(self, look: Look, usd: float) -> float:
        """How much to stake, from what the product's sizing says.

        More is cut to what the largest fraction of the fund, the cash and the own price impact
        allow; less than the smallest stake is not bought.
        """
        return usd

    def leaves(self, held: Held) -> bool:
        """Whether to sell now.  Stop, target, longest hold and rug exit hold in any case."""
        return False
