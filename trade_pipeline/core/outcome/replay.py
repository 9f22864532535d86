"""What the strategy's own exits would have made of an entry: one candidate, replayed forward.

The trade is run by the session's own `Trading`, alone in its book, so that slots, cash and other
trades do not matter.  On a pool only the events that can change something reach it: those are found
with the venue's own formula over all events at once.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from uuid import UUID

import numpy as np

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.execution.amm import AmmVenue
from trade_pipeline.core.execution.book import Position, to_micros, to_usd
from trade_pipeline.core.execution.venue import Venue
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.outcome.events import QuotePrices, TokenEvents
from trade_pipeline.core.records import (
    ExecutionRecord,
    OrderEvent,
    Record,
    TerminationReason,
    TradeOutcome,
)
from trade_pipeline.core.session.trading import Trading
from trade_pipeline.core.strategy.config import ExitConfig, StrategyConfig
from trade_pipeline.core.strategy.rules import rules_of

# How long the entry and, after the longest hold, the sale may take: bars can lack volume for days.
_ORDERS = 7 * DAY
# Events that are screened at once: most trades end long before their longest hold.
_CHUNK = 1_024
# `Trading` judges what is screened in, so that a little too much does no harm.
_NEARLY = 1e-9


def longest_life(exits: ExitConfig) -> int:
    """Microseconds after a decision within which its trade must end to be labelled."""
    retries = exits.sell_attempts * exits.retry_minutes / 60
    return int((exits.max_hold_hours + retries) * HOUR) + _ORDERS


@dataclass(frozen=True, slots=True)
class Shadow:
    """What would have come of a candidate.

    Attributes:
        outcome: None where the trade had not ended when the market's data did, or `longest_life`.
        refused: why the venue refused the entry, where it did.
    """

    outcome: TradeOutcome | None
    refused: str | None = None


class ShadowMarket:
    """Replays candidates on a market.

    Args:
        events: of every candidate's token, from its decision over `longest_life`.
        data_end: the last moment up to which the market is known.
        stake_usd: of each entry, unless its own impact asks for a smaller one.
        screen: leave out the events of pools that change nothing.
    """

    def __init__(
        self,
        config: StrategyConfig,
        venue: Venue,
        feed: MarketFeed,
        events: Mapping[int, TokenEvents],
        quotes: QuotePrices,
        *,
        data_end: int,
        stake_usd: float,
        screen: bool = True,
    ) -> None:
        self.config = config
        self.venue = venue
        self.feed = feed
        self.quotes = quotes
        rules = rules_of(config)
        # An own exit rule may end a trade at any event.
        screen = screen and not (rules is not None and rules.has_exits)
        self.screen = venue if screen and isinstance(venue, AmmVenue) else None
        self._events = events
        self._data_end = data_end
        self._stake_usd = stake_usd
        self._life = longest_life(config.exits)

    def shadow(self, uuid: UUID, token: int, at: int, stake_usd: float | None = None) -> Shadow:
        """The shadow of a decision about a token at a moment.

        Args:
            stake_usd: another stake than that of all labels.

        Raises:
            BadMarketData: the token has no event at the decision.
        """
        events = self._events.get(token)
        row = -1 if events is None else events.newest(at)
        if events is None or row < 0 or events.times[row] != at:
            raise BadMarketData(
                f"{self.feed.instruments[token].name}: no event at {moment_of(at).isoformat()}, "
                "when it was decided about"
            )
        stake_usd = self._stake(events.state(row)) if stake_usd is None else stake_usd
        stake_usd = to_usd(to_micros(stake_usd))
        return _Replay(self, events, row).run(
            uuid, at, stake_usd, min(self._data_end, at + self._life)
        )

    def _stake(self, state: TokenState) -> float:
        sizing = self.config.sizing
        capacity = self.venue.impact_capacity_usd(state, sizing.max_impact)
        if capacity is None:
            return self._stake_usd
        return min(self._stake_usd, max(capacity, sizing.min_stake_usd))


class _Replay:
    """One trade from its decision on.  It is the journal and the market of its own `Trading`."""

    def __init__(self, market: ShadowMarket, events: TokenEvents, row: int) -> None:
        self._market = market
        self._events = events
        self._now = events.state(row)
        self._row = row + 1
        self._screened: Iterator[int] | None = None
        self._ahead: int | None = None
        self._newest: Record | None = None
        self._trading = Trading(
            market.config, market.venue, market.feed, self, lambda token: self._now
        )

    def append(self, record: Record) -> None:
        """Take a record of the trade; the last one tells how it ended."""
        self._newest = record

    def run(self, uuid: UUID, at: int, stake_usd: float, last: int) -> Shadow:
        """Follow the trade to its end, at most to a last moment (inclusive)."""
        trading, events, token = self._trading, self._events, self._events.token
        trading.enter(uuid, token, at, self._now, stake_usd)
        while (position := trading.book.positions.get(token)) is not None:
            due = trading.timers[0][0] if trading.timers else math.inf
            row = self._next_event(position, min(due, last))
            if row is not None:
                self._row = row + 1
                self._now = events.state(row)
                trading.on_event(token, self._now.known_at)
            elif due <= last:
                # As in a session: a timer comes after everything that was known when it was due.
                at = heapq.heappop(trading.timers)[0]
                self._now = events.state(events.newest(at), self._market.quotes.at(at))
                trading.on_timer(token, at)
            else:
                return Shadow(None)
        if isinstance(self._newest, TradeOutcome):
            return Shadow(replace(self._newest, kind="shadow"))
        assert isinstance(self._newest, ExecutionRecord)
        assert self._newest.event is OrderEvent.REJECTED
        return Shadow(_not_filled(self._newest, stake_usd), self._newest.note)

    def _next_event(self, position: Position, before: float) -> int | None:
        """The row of the next event, known at a moment at the latest, that `Trading` must see."""
        venue = self._market.screen
        if venue is None or not position.bought:
            row = self._row if self._row < len(self._events.times) else None
        elif position.exit_reason is not None:
            # The sale is a matter of timers alone.
            return None
        else:
            if self._screened is None:
                self._screened = self._screen(venue, position)
            if self._ahead is None or self._ahead < self._row:
                self._ahead = next(self._screened, None)
            row = self._ahead
        return row if row is not None and self._events.times[row] <= before else None

    def _screen(self, venue: AmmVenue, position: Position) -> Iterator[int]:
        """Rows after the entry that may end the trade or set a new extreme of its value.

        The first event at a barrier is an extreme as well: all before were between the barriers.
        """
        events = self._events
        cost = position.entry_price * position.tokens
        lowest, highest = cost * (1.0 + _NEARLY), cost * (1.0 - _NEARLY)
        columns = [
            events.column(name)
            for name in ("reserve_token", "reserve_quote", "quote_usd", "liquidity_change_usd")
        ]
        for start in range(self._row, len(events.times), _CHUNK):
            *state, change = (column[start : start + _CHUNK] for column in columns)
            value = venue.values_usd(position.tokens, *state)
            low = np.fmin.accumulate(np.append(lowest, value))
            high = np.fmax.accumulate(np.append(highest, value))
            matters = (value < low[:-1]) | (value > high[:-1]) | (change < 0)
            yield from (start + np.flatnonzero(matters)).tolist()
            lowest, highest = low[-1], high[-1]


def _not_filled(refused: ExecutionRecord, stake_usd: float) -> TradeOutcome:
    pnl_usd = 0.0 - refused.fees_usd
    return TradeOutcome(
        uuid=refused.uuid,
        realized_pnl_percent=100.0 * pnl_usd / stake_usd,
        time_in_market_seconds=0.0,
        termination_reason=TerminationReason.NOT_FILLED,
        kind="shadow",
        closed_at=refused.occurred_at,
        pnl_usd=pnl_usd,
        fees_usd=refused.fees_usd,
    )
