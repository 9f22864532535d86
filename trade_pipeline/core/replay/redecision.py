"""A live account's market decided again by a session in memory, with what came from outside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from trade_pipeline.core.execution.book import Position
from trade_pipeline.core.ids import trade_uuid
from trade_pipeline.core.live.limits import Limits
from trade_pipeline.core.replay.account import (
    HALTED,
    LIMITS,
    STORAGE,
    UNKNOWN,
    LiveAccount,
    LiveTrade,
)
from trade_pipeline.core.session.engine import TradingSession
from trade_pipeline.core.session.trading import Trading
from trade_pipeline.core.strategy.evaluation import Evaluations
from trade_pipeline.core.strategy.opinion import DecidingModel, Models
from trade_pipeline.core.strategy.rules import RuleFailed
from trade_pipeline.core.strategy.sizing import Account


class Redecision(TradingSession):
    """Makes an account's decisions again, under their UUIDs.

    Args:
        stored: the account as it is stored.
        models: every model that was on duty, by version.
        enters: False: no trade is entered, because what became of it is not for the market's model
            to say.
        given: see `TradingSession`.

    Attributes:
        taken: refusals, limits and dropped looks that were taken as they were recorded.
        unheard: decisions that a halt refused which nobody ordered.
    """

    def __init__(
        self,
        *args: Any,
        stored: LiveAccount,
        models: Mapping[str, DecidingModel],
        enters: bool,
        **given: Any,
    ) -> None:
        self._stored, self._known = stored, models
        self._enters = enters
        self._on_duty = Models()
        self._trade: LiveTrade | None = None
        self.taken: Counter[str] = Counter()
        self.unheard: set[UUID] = set()
        super().__init__(*args, deployed=lambda: self._on_duty, **given)

    def _decide(self, evaluations: Evaluations | None, row: int) -> None:
        assert evaluations is not None
        token, at = int(evaluations.token[row]), int(evaluations.at[row])
        uuid = self._uuid(token, self._market.instruments[token].name, at)
        trade = self._trade = self._stored.trades.get(uuid)
        slot = at // self._interval * self._interval
        if trade is None and slot in self._stored.dropped:
            self.taken["dropped looks"] += 1
            return
        if trade is not None:
            self._on_duty = Models(
                self._known[trade.production],
                None if trade.canary is None else self._known[trade.canary],
                self._stored.fund_share(trade),
            )
        super()._decide(evaluations, row)

    def _uuid(self, token: int, instrument: str, at: int) -> UUID:
        slot = at // self._interval
        return trade_uuid(f"live:{self._stored.name}", instrument, slot, at)

    def _refusal(self, trading: Trading, token: int, at: int, account: Account) -> str | None:
        trade = self._trade
        refused = super()._refusal(trading, token, at, account)
        if trade is None:
            return refused
        if trade.reason in (HALTED, UNKNOWN, *STORAGE):
            self.taken[trade.reason] += 1
            if trade.reason == HALTED and not self._stored.was_halted(trade):
                self.unheard.add(trade.uuid)
            return trade.reason
        if refused is None and trade.reason in LIMITS:
            self.taken[trade.reason] += 1
            return trade.reason
        return refused

    def _rule_failed(self, failure: RuleFailed) -> None:
        """As in the live session: the decision is a skip, and the position is kept."""

    def _stake_bound(self, capacity_usd: float | None) -> float | None:
        if not self._enters:
            return 0.0
        config = None if self._trade is None else self._stored.config_of(self._trade)
        if config is None:
            return capacity_usd
        return Limits(config.limits).stake_bound(capacity_usd, self._positions())

    def _positions(self) -> list[Position]:
        return [one for arm in self._arms.all for one in arm.book.positions.values()]
