"""Positions from entry order to outcome, and the records of each step."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace
from uuid import UUID

from trade_pipeline.core.execution.book import Book, Position, to_micros, to_usd
from trade_pipeline.core.execution.venue import Fill, Order, OrderDesk, Refusal, Venue
from trade_pipeline.core.ids import client_order_id, moment_of
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.market.feed import KnownMarket
from trade_pipeline.core.market.history import TokenState
from trade_pipeline.core.records import (
    OrderEvent,
    RecordSink,
    TerminationReason,
    TradeOutcome,
)
from trade_pipeline.core.session.order_records import filled, refused, submitted
from trade_pipeline.core.session.own_exit import OwnExit, RuleFailure
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.protections import Protections
from trade_pipeline.core.strategy.sizing import Account

# So many stops of a position may be lost until the venue is asked for no more.
_STOPS = 3
_REASONS = {"stop": TerminationReason.STOP_LOSS, "target": TerminationReason.PROFIT_TARGET}


class Trading:
    """The open trades of a session.

    Args:
        state: gives a token's state at the present moment.
        desk: told of each order, where orders leave this process; ``rule_failed``: see `OwnExit`.

    Attributes:
        timers: heap of (due, number, token); the session fires those that are due.
    """

    def __init__(
        self,
        config: StrategyConfig,
        venue: Venue,
        feed: KnownMarket,
        journal: RecordSink,
        state: Callable[[int], TokenState],
        desk: OrderDesk | None = None,
        rule_failed: RuleFailure | None = None,
    ) -> None:
        self._desk = desk
        self._own_exit = OwnExit(config, venue, feed, rule_failed)
        self._exits = config.exits
        self._venue = venue
        self._feed = feed
        self._journal = journal
        self._state = state
        self._timer_number = 0
        self.book = Book(config.small_fund_usd)
        self.protections = Protections(config.protections, config.small_fund_usd)
        self.timers: list[tuple[int, int, int]] = []

    def account(self, at: int) -> Account:
        """The account at a moment, open positions at their executable value."""
        positions = self.book.positions.values()
        value = sum(
            self._venue.value_usd(p.tokens, self._state(p.token)) for p in positions if p.tokens
        )
        reserved = sum(p.entry_order.stake_usd for p in positions if p.entry_order)
        cash = to_usd(self.book.cash)
        equity = cash + value
        return Account(
            cash_usd=self._venue.affordable_usd(cash - reserved),
            equity_usd=equity,
            drawdown=self.protections.observe(at, equity),
            open_positions=len(positions),
        )

    def enter(self, uuid: UUID, token: int, at: int, state: TokenState, stake_usd: float) -> None:
        """Send the entry order of a trade."""
        stake_usd = to_usd(to_micros(stake_usd))
        order = Order(
            uuid=uuid,
            order_id=client_order_id(uuid, "entry"),
            token=token,
            leg="entry",
            submitted_at=at,
            decision_price=state.price_usd,
            stake_usd=stake_usd,
            due_at=self._venue.due_at(at),
        )
        self.book.positions[token] = Position(uuid, token, order, state.liquidity_usd)
        if self._desk is not None:
            self._desk.placed(order, None)
        self._submitted(order, stake_usd / state.price_usd, stake_usd)

    def on_event(self, token: int, at: int) -> None:
        """A token with a position or an order has a new event."""
        position = self.book.positions[token]
        state = self._state(token)
        position.note_removal(state.liquidity_change_usd)
        if position.entry_order is not None and position.entry_order.due_at is None:
            self._work(position, position.entry_order, state, at)
        elif position.exit_order is not None and position.exit_order.due_at is None:
            self._work(position, position.exit_order, state, at)
        if token in self.book.positions and position.bought and position.exit_reason is None:
            self._watch(position, state, at)
            self._rest_stop(position, at)

    def pass_over(self, token: int) -> None:
        """A token with a position or an order had an event while nobody watched."""
        position = self.book.positions[token]
        state = self._state(token)
        position.note_removal(state.liquidity_change_usd)
        if position.bought and position.exit_reason is None:
            self.follow(position, state)

    def on_timer(self, token: int, at: int) -> None:
        """An order is due, a sale may be tried again, or a position has been held for too long."""
        position = self.book.positions.get(token)
        if position is None:
            return
        for order in (position.entry_order, position.exit_order):
            if order is not None and order.due_at is not None and order.due_at <= at:
                self._work(position, order, self._state(token), at)
                return
        if position.exit_reason is not None:
            # A timer of the longest hold, or of the token's trade before, is no retry.
            waits = position.exit_order is not None or position.entry_order is not None
            if not waits and at >= position.retry_at:
                self._send_exit(position, self._state(token), at)
        elif position.bought and at >= position.opened_at + self._max_hold:
            self._exit(position, TerminationReason.MAX_HOLD, self._state(token), at)

    def heard(self, token: int, at: int) -> None:
        """The venue told something of a token's orders: book all of it."""
        while (position := self.book.positions.get(token)) is not None:
            before = (position.tokens, position.bought, position.entry_order, position.exit_order)
            for order in (position.entry_order, position.exit_order):
                if order is not None:
                    self._work(position, order, self._state(token), at)
                    break
            after = (position.tokens, position.bought, position.entry_order, position.exit_order)
            if after == before:
                return

    def close_now(self, token: int, at: int, reason: TerminationReason) -> None:
        """Close a position, or take its entry back, because somebody wants it."""
        position = self.book.positions[token]
        if position.bought and position.exit_reason is None:
            self._exit(position, reason, self._state(token), at)
        elif not position.bought and position.entry_order is not None:
            if self._cancel_entry(position, at, f"exit: {reason}"):
                del self.book.positions[token]
            else:
                position.exit_reason = reason

    def adopt_exit(self, token: int, attempt: int, at: int) -> None:
        """An exit of this number was sent at the market by a session that could not record it.

        Why, nobody knows any more.
        """
        position = self.book.positions[token]
        position.exit_reason = position.exit_reason or TerminationReason.MANUAL
        position.attempts = attempt
        position.exit_order = self._exit_order(position, self._state(token).price_usd, at)

    def sold_by_hand(self, token: int, sales: Sequence[tuple[str, Fill]], at: int) -> None:
        """Book fills (order id, fill) of a position that somebody sold at the venue."""
        position = self.book.positions[token]
        if position.entry_order is not None:
            self._cancel_entry(position, at, "sold by hand")
        position.exit_reason = TerminationReason.MANUAL
        for number, (order_id, fill) in enumerate(sales, 1):
            order = Order(
                uuid=position.uuid,
                order_id=order_id,
                token=token,
                leg="exit",
                submitted_at=fill.at,
                decision_price=fill.price,
                tokens=position.tokens,
            )
            self._exit_filled(position, order, replace(fill, complete=number == len(sales)))

    def resume(self, position: Position) -> None:
        """Go on with a position from before this process."""
        self.book.positions[position.token] = position
        for order in (position.entry_order, position.exit_order):
            if order is not None and order.due_at is not None:
                self._wake(order.due_at, position.token)
        if position.bought:
            self._wake(position.opened_at + self._max_hold, position.token)
        if position.exit_reason is not None and position.exit_order is None:
            self._wake(position.retry_at, position.token)

    def end_session(self, at: int) -> None:
        """Close everything against the last known market."""
        for position in list(self.book.positions.values()):
            state = self._state(position.token)
            if position.entry_order is not None:
                self._cancel_entry(position, at, "the session ended")
            if not position.bought:
                del self.book.positions[position.token]
                continue
            if position.exit_reason is None:
                position.exit_reason = TerminationReason.SESSION_END
            if position.exit_order is None:
                position.exit_order = self._exit_order(position, state.price_usd, at)
            order = position.exit_order
            result = self._venue.liquidate(order, state, at, self._feed.rules(position.token))
            if isinstance(result, Fill):
                self._exit_filled(position, order, result)
            else:
                self._exit_refused(position, order, result)
                self._close(position, at, written_off=True)

    @property
    def _max_hold(self) -> int:
        return int(self._exits.max_hold_hours * HOUR)

    def _watch(self, position: Position, state: TokenState, at: int) -> None:
        """Follow an open position and begin its exit when a barrier or an alarm is reached."""
        self.follow(position, state)
        drop = self._exits.rug_liquidity_drop * position.liquidity_usd
        if position.removed_usd >= drop and position.removed_usd > 0:
            self._exit(position, TerminationReason.RUGPULL_EXIT, state, at)
            return
        entry = position.entry_price
        stop = entry * (1.0 - self._exits.stop_loss)
        target = entry * (1.0 + self._exits.profit_target)
        touch = self._venue.touched(position.tokens, state, stop, target)
        if touch is not None:
            self._exit(position, _REASONS[touch.barrier], state, at, touch.trigger_price)
        elif self._own_exit.leaves(position, state, at):
            self._exit(position, TerminationReason.STRATEGY_EXIT, state, at)

    def follow(self, position: Position, state: TokenState) -> None:
        """Note how good and how bad a position has been."""
        if state.known_at <= position.opened_at:
            return
        cost = position.entry_price * position.tokens
        low, high = self._venue.range_usd(position.tokens, state)
        position.worst = min(position.worst, low / cost - 1.0)
        position.best = max(position.best, high / cost - 1.0)

    def _exit(
        self,
        position: Position,
        reason: TerminationReason,
        state: TokenState,
        at: int,
        trigger_price: float | None = None,
    ) -> None:
        position.exit_reason = reason
        if position.exit_order is not None:
            # Its stop holds the tokens: what that has become by now comes first.
            assert self._desk is not None
            self._desk.withdrawn(position.exit_order)
        elif position.entry_order is None or self._cancel_entry(position, at, f"exit: {reason}"):
            self._send_exit(position, state, at, trigger_price)

    def _rest_stop(self, position: Position, at: int) -> None:
        """Let the venue hold a position's stop, so that it is there while nobody watches."""
        busy = position.entry_order is not None or position.exit_order is not None
        if self._desk is None or not self._desk.rests_stops or busy or position.exit_reason:
            return
        if position.bought and position.stops_lost < _STOPS:
            stop = position.entry_price * (1.0 - self._exits.stop_loss)
            position.exit_order = self._exit_order(position, stop, at, stop)

    def _send_exit(
        self, position: Position, state: TokenState, at: int, trigger_price: float | None = None
    ) -> None:
        order = self._exit_order(position, trigger_price or state.price_usd, at, trigger_price)
        position.exit_order = order
        if order.due_at is not None:
            self._wake(order.due_at, position.token)
        elif trigger_price is not None:
            # It rested at the venue, so the very event that touched it fills it.
            self._work(position, order, state, at)

    def _exit_order(
        self, position: Position, price: float, at: int, trigger_price: float | None = None
    ) -> Order:
        rests = self._desk is not None and trigger_price is not None
        order = Order(
            uuid=position.uuid,
            order_id=client_order_id(position.uuid, "stop" if rests else "exit", position.attempts),
            token=position.token,
            leg="exit",
            submitted_at=at,
            decision_price=price,
            tokens=position.tokens,
            trigger_price=trigger_price,
            due_at=self._venue.due_at(at),
            attempt=position.attempts,
        )
        position.attempts += 1
        if self._desk is not None:
            reason = position.exit_reason
            self._desk.placed(order, None if reason is None else reason.value)
        self._submitted(order, position.tokens, None)
        return order

    def _work(self, position: Position, order: Order, state: TokenState, at: int) -> None:
        """Let the venue try an order, and book what comes of it."""
        result = self._venue.execute(order, state, at, self._feed.rules(order.token))
        if result is None:
            return
        if order.leg == "entry":
            if isinstance(result, Fill):
                self._entry_filled(position, order, result)
            else:
                self._entry_refused(position, order, result)
            if position.exit_reason and position.bought and position.entry_order is None:
                # It was being taken back, and what it had bought by then is sold.
                self._send_exit(position, state, at)
            self._rest_stop(position, at)
        elif isinstance(result, Fill):
            position.exit_reason = position.exit_reason or TerminationReason.STOP_LOSS
            self._exit_filled(position, order, result)
        else:
            self._exit_refused(position, order, result)
            if self._rests(order):
                self._stop_gone(position, result, state, at)
            elif position.failed_sales >= self._exits.sell_attempts:
                self._close(position, at, written_off=True)
            else:
                position.retry_at = at + int(self._exits.retry_minutes * HOUR / 60)
                self._wake(position.retry_at, position.token)

    def _entry_filled(self, position: Position, order: Order, fill: Fill) -> None:
        first = position.bought == 0.0
        self.book.book_entry(position, fill)
        if first:
            self._wake(position.opened_at + self._max_hold, position.token)
        self._filled(order, fill)
        if fill.complete:
            position.entry_order = None
        else:
            order.stake_usd -= fill.value_usd

    def _entry_refused(self, position: Position, order: Order, refusal: Refusal) -> None:
        self.book.book_refusal(position, "entry", refusal)
        if position.bought:
            # The rest of an entry: what was bought stays open.
            self._refused(order, refusal, OrderEvent.CANCELLED)
            position.entry_order = None
            return
        self._refused(order, refusal, OrderEvent.REJECTED)
        del self.book.positions[position.token]

    def _cancel_entry(self, position: Position, at: int, why: str) -> bool:
        """Take an entry back; whether that ended it, or the venue's answer has to come first."""
        assert position.entry_order is not None
        if self._desk is not None and not self._desk.withdrawn(position.entry_order):
            return False
        self._refused(position.entry_order, Refusal(at, why), OrderEvent.CANCELLED)
        position.entry_order = None
        return True

    def _exit_filled(self, position: Position, order: Order, fill: Fill) -> None:
        self.book.book_exit(position, fill)
        self._filled(order, fill)
        if fill.complete:
            position.exit_order = None
            self._close(position, fill.at, written_off=False)
        else:
            order.tokens = position.tokens

    def _stop_gone(self, position: Position, refusal: Refusal, state: TokenState, at: int) -> None:
        """The venue holds a stop no more: it was taken back, refused, or taken away."""
        if refusal.stop_reached and position.exit_reason is None:
            position.exit_reason = TerminationReason.STOP_LOSS
        if position.exit_reason is not None:
            self._send_exit(position, state, at)
        else:
            # The session watches it by itself, whether another one rests or not.
            position.stops_lost += 1

    def _rests(self, order: Order) -> bool:
        """Whether an order is a stop at a venue that is not simulated."""
        return self._desk is not None and order.trigger_price is not None

    def _exit_refused(self, position: Position, order: Order, refusal: Refusal) -> None:
        self.book.book_refusal(position, "exit", refusal)
        rests = self._rests(order)
        self._refused(order, refusal, OrderEvent.CANCELLED if rests else OrderEvent.REJECTED)
        position.exit_order = None
        if not rests:
            # A sale in parts is none that failed.
            position.failed_sales = 0 if order.fills else position.failed_sales + 1

    def _close(self, position: Position, at: int, *, written_off: bool) -> None:
        assert position.exit_reason is not None
        del self.book.positions[position.token]
        self.protections.closed(at, position.token, position.exit_reason)
        self._journal.append(
            TradeOutcome(
                uuid=position.uuid,
                realized_pnl_percent=position.pnl_percent,
                # A venue's clock and ours may differ by a little.
                time_in_market_seconds=max(0, at - position.opened_at) / 1_000_000,
                termination_reason=position.exit_reason,
                closed_at=moment_of(at),
                pnl_usd=to_usd(position.pnl),
                worst_percent=100.0 * position.worst,
                best_percent=100.0 * position.best,
                fees_usd=to_usd(position.entry_costs + position.exit_costs),
                exit_impact=position.exit_impact,
                written_off=written_off,
            )
        )

    def _wake(self, at: int, token: int) -> None:
        self._timer_number += 1
        heapq.heappush(self.timers, (at, self._timer_number, token))

    def _submitted(self, order: Order, tokens: float, stake_usd: float | None) -> None:
        if order.leg == "entry" and order.due_at is not None:
            self._wake(order.due_at, order.token)
        self._journal.append(submitted(order, tokens, stake_usd))

    def _filled(self, order: Order, fill: Fill) -> None:
        self._journal.append(filled(order, fill, rests=self._rests(order)))
        order.fills += 1

    def _refused(self, order: Order, refusal: Refusal, event: OrderEvent) -> None:
        self._journal.append(refused(order, refusal, event))
