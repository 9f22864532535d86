"""The exit rule of a strategy of the user's own, asked about open positions."""

from __future__ import annotations

from collections.abc import Callable

from trade_pipeline.core.execution.book import Position
from trade_pipeline.core.execution.venue import Venue
from trade_pipeline.core.extensions.strategy import Held
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.market.feed import KnownMarket
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.rules import RuleFailed, rules_of

RuleFailure = Callable[[RuleFailed], None]


class OwnExit:
    """Whether an own rule sells a position now.

    Args:
        failed: told of a rule that fails; it is passed over where this returns.  None: raise it.
    """

    def __init__(
        self,
        config: StrategyConfig,
        venue: Venue,
        feed: KnownMarket,
        failed: RuleFailure | None = None,
    ) -> None:
        rules = rules_of(config)
        self._rules = rules if rules is not None and rules.has_exits else None
        self._venue, self._feed, self._failed = venue, feed, failed

    def leaves(self, position: Position, state: TokenState, at: int) -> bool:
        """Whether it is sold; never by an event that was known before it was bought.

        Raises:
            RuleFailed: the rule raises an error or gives no truth, and nobody is told.
        """
        if self._rules is None or state.known_at <= position.opened_at:
            return False
        value = self._venue.value_usd(position.tokens, state)
        held = Held(
            instrument=self._feed.instruments[position.token].name,
            at=moment_of(at),
            hours=(at - position.opened_at) / HOUR,
            gain=value / (position.entry_price * position.tokens) - 1.0,
            best=position.best,
            worst=position.worst,
            price_usd=state.price_usd,
            entry_price_usd=position.entry_price,
            volume_usd=state.volume_usd,
            liquidity_usd=state.liquidity_usd,
        )
        try:
            return self._rules.leaves(held)
        except RuleFailed as failure:
            if self._failed is None:
                raise
            self._failed(failure)
            return False
