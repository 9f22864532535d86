"""The arms of a session: production, and a canary beside it with a part of the fund of its own."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trade_pipeline.core.execution.book import to_micros, to_usd
from trade_pipeline.core.execution.venue import OrderDesk, Venue
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.market.feed import KnownMarket
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.records import RecordSink
from trade_pipeline.core.research.snapshot import Snapshot
from trade_pipeline.core.session.own_exit import RuleFailure
from trade_pipeline.core.session.trading import Trading
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.decision import idle_stake
from trade_pipeline.core.strategy.opinion import DecidingModel, Opinion, Opinions, error_text
from trade_pipeline.core.strategy.rules import RuleFailed
from trade_pipeline.core.strategy.sizing import Account
from trade_pipeline.core.strategy.traffic import Traffic, arm


@dataclass(frozen=True, slots=True)
class Choice:
    """Which arm decides a candidate, and what its model says.

    Attributes:
        propensity: the probability of the arm that was drawn.
        contributions: see `Opinion.told`.
        error: why the canary failed; then production decides whatever was drawn.
    """

    canary: bool
    propensity: float
    by: DecidingModel
    confidence: float
    contributions: dict[str, float] | None
    error: str | None = None

    @property
    def arm(self) -> str:
        return "canary" if self.canary else "production"


class Arms:
    """Draws the arms of candidates, and keeps their accounts apart.

    Both arms have the same rules, and each a fund, slots and protections of its own.

    Args:
        traffic: what a canary may decide; None: production decides everything with all of the fund.
        desk, rule_failed: see `Trading`.

    Attributes:
        production: its trades.  ``canary``: those of the canary; None without traffic.
        all: the arms there are.
    """

    def __init__(
        self,
        config: StrategyConfig,
        traffic: Traffic | None,
        venue: Venue,
        feed: KnownMarket,
        journal: RecordSink,
        state: Callable[[int], TokenState],
        desk: OrderDesk | None = None,
        rule_failed: RuleFailure | None = None,
    ) -> None:
        def trading(fund: int) -> Trading:
            own = config.model_copy(update={"small_fund_usd": to_usd(fund)})
            return Trading(own, venue, feed, journal, state, desk, rule_failed)

        fund = to_micros(config.small_fund_usd)
        part = 0 if traffic is None else to_micros(config.small_fund_usd * traffic.share)
        self._config = config
        self._traffic = traffic
        self.production = trading(fund - part)
        self.canary = None if traffic is None else trading(part)
        self.all = [one for one in (self.production, self.canary) if one is not None]
        self._idle = Account(
            cash_usd=venue.affordable_usd(config.small_fund_usd),
            equity_usd=config.small_fund_usd,
            drawdown=0.0,
            open_positions=0,
        )

    @property
    def cash_usd(self) -> float:
        return to_usd(sum(one.book.cash for one in self.all))

    @property
    def open_positions(self) -> int:
        return sum(len(one.book.positions) for one in self.all)

    def next_due(self, before: int) -> tuple[int, int, Trading] | None:
        """Take the next timer that is due before a moment: when, its token and its arm."""
        first = min(self.all, key=_first_due)
        if _first_due(first) >= before:
            return None
        due, _, token = heapq.heappop(first.timers)
        return due, token, first

    def end_session(self, at: int) -> None:
        """Close everything against the last known market."""
        for one in self.all:
            one.end_session(at)

    def of(self, choice: Choice) -> Trading:
        """The trades of the arm that was chosen."""
        if not choice.canary:
            return self.production
        assert self.canary is not None
        return self.canary

    def choose(
        self, opinions: Opinions, row: int, vectors: Floats, token_name: str, at: int
    ) -> Choice:
        """Whose decision a candidate is.

        Args:
            row: the candidate's in the opinions; ``vectors``: its features alone (1, features).
        """
        production, canary = opinions.production, opinions.canary
        propensity, error = 1.0, None
        if canary is not None and self._traffic is not None:
            drawn = arm(token_name, at, self._traffic)
            propensity, error = drawn.propensity, canary.errors.get(row)
            if drawn.canary and error is None:
                try:
                    told = canary.by.told(vectors)
                except Exception as raised:  # noqa: BLE001 (whatever it is, production decides)
                    error = error_text(raised)
                else:
                    confidence = float(canary.confidence[row])
                    return Choice(True, propensity, canary.by, confidence, told)
        confidence = float(production.confidence[row])
        told = production.told(row)
        return Choice(False, propensity, production.by, confidence, told, error)

    def compared(
        self,
        choice: Choice,
        opinions: Opinions,
        row: int,
        snapshot: Snapshot,
        vector: Floats,
        impact_capacity_usd: float | None,
    ) -> dict[str, Any] | None:
        """What a candidate stores of a canary beside production; None where there is none.

        Both confidences and stakes (`idle_stake`) are told whichever arm decides; those of a canary
        that failed are null, and ``canary_error`` says why.  Where an own rule fails nothing is
        staked.
        """
        canary = opinions.canary
        if canary is None or self._traffic is None:
            return None

        def said(opinion: Opinion) -> dict[str, float | None]:
            if row in opinion.errors:
                return {"confidence": None, "stake": None}
            confidence = float(opinion.confidence[row])
            try:
                stake = idle_stake(
                    self._config,
                    snapshot,
                    vector,
                    confidence,
                    self._idle,
                    entry_confidence=opinion.by.entry_confidence(self._config.signal),
                    impact_capacity_usd=impact_capacity_usd,
                )
            except RuleFailed:
                # The decision itself has told, in a session that goes on after it.
                stake = 0.0
            return {"confidence": confidence, "stake": stake}

        told = {
            "arm": choice.arm,
            "propensity": choice.propensity,
            "model": canary.by.version,
            "production_model": opinions.production.by.version,
            "production": said(opinions.production),
            "canary": said(canary),
        }
        return told if choice.error is None else told | {"canary_error": choice.error}


def _first_due(trading: Trading) -> float:
    return trading.timers[0][0] if trading.timers else math.inf
