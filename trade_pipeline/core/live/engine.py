"""The engine of a live session: the strategy of a backtest, fed by a market that arrives.

Exits come first: whatever a batch means for open positions is decided and committed before any
token is scanned.  Decisions, accounts and records are the ones of every other session.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from uuid import UUID

import numpy as np

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.execution.book import Position
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.live.limits import Limits
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.live.records import LiveDecision, OrderIntent
from trade_pipeline.core.live.stored import OpenTrade, OrderHistory, StoredAccount
from trade_pipeline.core.market.event import HOUR, Ints, MarketBatch
from trade_pipeline.core.market.feed import KnownMarket
from trade_pipeline.core.records import (
    ExecutionRecord,
    Record,
    Session,
    TerminationReason,
    TradeOutcome,
)
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import SessionEngine
from trade_pipeline.core.session.trading import Trading
from trade_pipeline.core.strategy.evaluation import Evaluations
from trade_pipeline.core.strategy.rules import RuleFailed
from trade_pipeline.core.strategy.sizing import Account

Settle = Callable[[int], Awaitable[None]]
BACK_PRESSURE = "back_pressure"


class LiveEngine(SessionEngine):
    """Decides about batches as they arrive.

    Args:
        epoch: of the lease on ``account``.
        looks_from: when the account's first session began: slots are counted from there.
        halted: why the account is halted, or None.
        settle: makes what was appended durable and sends what may be sent.

    Attributes:
        rule_failure: how a rule of the user's own failed last; None: none did.
    """

    def __init__(
        self,
        session: Session,
        config: TradingConfig,
        *,
        account: str,
        epoch: int,
        feed: KnownMarket,
        looks_from: int,
        limits: Limits,
        halted: Callable[[], str | None],
        settle: Settle,
        **given: Any,
    ) -> None:
        super().__init__(session, config, feed=feed, **given)
        self._account, self._epoch = account, epoch
        self._start = looks_from
        self._market = feed
        self._limits = limits
        self._halted = halted
        self._settle = settle
        self._retry = int(config.strategy.exits.retry_minutes * HOUR / 60)
        self._decided: set[tuple[str, int]] = set()
        self._decided_at: dict[UUID, int] = {}
        self._exit_at: dict[UUID, int] = {}
        self._happened_at = 0
        # Looks of a batch that is not over, which a session after a crash takes again.
        self._uncounted: list[tuple[int, str | None]] = []
        self.dropped_looks = 0
        self.rule_failure: str | None = None
        self.orders = OrderHistory()

    @property
    def arms(self) -> list[Trading]:
        """The accounts that trade."""
        return self._arms.all

    @property
    def cash_usd(self) -> float:
        return self._arms.cash_usd

    @property
    def decisions(self) -> int:
        return self._decisions

    def positions(self) -> Iterator[tuple[Trading, Position]]:
        """Every open position and entry, with its arm."""
        for trading in self._arms.all:
            for position in list(trading.book.positions.values()):
                yield trading, position

    def state(self) -> dict[str, Any]:
        """What a successor has to know, besides the records."""
        return {
            "protections": [one.protections.state() for one in self._arms.all],
            "scan": [
                self._scan_slot * self._interval, self._scan_evaluated, dict(self._scan_failed)
            ],
        }  # fmt: skip

    def append(self, record: Record) -> None:
        super().append(record)
        if isinstance(record, OrderIntent):
            self.orders.instrument[record.client_order_id] = record.instrument
            if record.leg == "entry":
                self._limits.entered(micros(record.submitted_at))
        elif isinstance(record, ExecutionRecord):
            self.orders.executed(
                record.uuid, record.order_id, record.leg, record.event, record.size
            )
        elif isinstance(record, TradeOutcome):
            self.orders.closed(record.uuid)

    def pass_over(self, part: MarketBatch) -> None:
        """See `SessionEngine`: events from before this session's part of the market."""
        self._grow()
        if len(part):
            super().pass_over(part)

    def resume(self, stored: StoredAccount) -> None:
        """Go on from what is stored; the market's events until then must have been read.

        Raises:
            BadMarketData: a position is open in an instrument that this market does not have.
        """
        by_arm = dict(zip(("production", "canary"), self._arms.all, strict=False))
        tokens = {one.name: token for token, one in enumerate(self._market.instruments)}
        for arm, cash in stored.cash.items():
            # What a canary held that is not there any more is production's.
            by_arm.get(arm, self._arms.production).book.cash += cash
        if stored.progress is not None:
            states = stored.progress.state.get("protections", [])
            for trading, state in zip(self._arms.all, states, strict=False):
                trading.protections.restore(state)
            if (scan := stored.progress.state.get("scan")) is not None:
                self._scan_slot = scan[0] // self._interval
                self._scan_evaluated, self._scan_failed = scan[1], Counter(scan[2])
        for arm, instrument, reason, at in stored.ends:
            if instrument in tokens:
                trading = by_arm.get(arm, self._arms.production)
                trading.protections.closed(at, tokens[instrument], reason)
        self._own = stored.own
        self.orders = stored.orders
        self._decided = stored.decided
        for trade in stored.open:
            if trade.instrument not in tokens:
                raise BadMarketData(
                    f"instrument={trade.instrument!r}: a position is open in it, and this market "
                    "does not have it"
                )
            trading = by_arm.get(trade.arm, self._arms.production)
            self._resume_one(trading, trade, tokens[trade.instrument])

    async def on_batch(self, batch: LiveBatch, *, scan: bool) -> None:
        """Exits, timers, then decisions; all of it is durable afterwards, and sent.

        Args:
            scan: False: nobody has time to look at tokens; that is counted.
        """
        part = batch.events
        self._grow()
        self._limits.batch(batch.upto)
        if not len(part):
            await self._fire(batch.upto)
            self._clock.advance(batch.upto)
            return
        upto = self._history.extend(part).tolist()
        looks = self._looks(part)
        await self._exits(part, upto)
        self._clock.advance(int(part.known_at[-1]))
        rows = np.flatnonzero(looks).tolist()
        if rows and scan:
            await self._entries(part, looks, rows, upto)
        elif rows:
            self.dropped_looks += len(rows)
            for row in rows:
                self._count_look(int(part.known_at[row]), BACK_PRESSURE)
        # What is due after the batch's last event.
        await self._fire(batch.upto)
        self._clock.advance(batch.upto)
        self.counts.events += len(part)
        # Stored with the progress that leaves this batch behind, and not before.
        for at, why in self._uncounted:
            super()._count_look(at, why)
        self._uncounted.clear()

    async def heard(self, token: int, at: int) -> None:
        """The venue told something of a token's orders."""
        for trading in self._arms.all:
            trading.heard(token, at)
        await self._settle(at)

    async def flatten(self, at: int) -> None:
        """Close everything that is open, and take back every entry."""
        self._clock.advance(at)
        for trading, position in self.positions():
            trading.close_now(position.token, at, TerminationReason.MANUAL)
        await self._settle(at)

    def end(self) -> None:
        """Record the scan that is not over; positions stay open."""
        self._end_scan()

    async def _exits(self, part: MarketBatch, upto: list[int]) -> None:
        tokens, times = part.token.tolist(), part.known_at.tolist()
        counted, arms = self._upto, self._arms.all
        for row, token in enumerate(tokens):
            at = times[row]
            if any(one.timers and one.timers[0][0] < at for one in arms):
                self._quote = float(part.quote_usd[row - 1]) if row else self._quote
                await self._fire(at)
            counted[token] = upto[row]
            for trading in arms:
                position = trading.book.positions.get(token)
                if position is not None and at > self._decided_at[position.uuid]:
                    self._quote = float(part.quote_usd[row])
                    self._clock.advance(at)
                    if at <= self._exit_at.get(position.uuid, -1):
                        # Its exit is stored, and this event from before it is read again.
                        trading.follow(position, self._state(token))
                    trading.on_event(token, at)
                    await self._settle(at)
        self._quote = float(part.quote_usd[-1])

    async def _entries(
        self, part: MarketBatch, looks: Any, rows: list[int], upto: list[int]
    ) -> None:
        failed, candidates, evaluations = self._evaluate(part, looks)
        for row in rows:
            at, token = int(part.known_at[row]), int(part.token[row])
            self._count_look(at, failed.get(row))
            if row in candidates:
                # What the token was at its look, should it have moved on since.
                newest, self._upto[token] = self._upto[token], upto[row]
                self._quote, self._happened_at = (
                    float(part.quote_usd[row]),
                    int(part.event_time[row]),
                )
                self._decide(evaluations, candidates[row])
                self._upto[token] = newest
                if any(token in trading.book.positions for trading in self._arms.all):
                    await self._settle(at)
        self._quote = float(part.quote_usd[-1])

    def _decide(self, evaluations: Evaluations | None, row: int) -> None:
        assert evaluations is not None
        token, at = int(evaluations.token[row]), int(evaluations.at[row])
        slot = at // self._interval
        if (self._market.instruments[token].name, slot) not in self._decided:
            super()._decide(evaluations, row)

    def _count_look(self, at: int, failed: str | None) -> None:
        self._uncounted.append((at, failed))

    def _uuid(self, token: int, instrument: str, at: int) -> UUID:
        slot = at // self._interval
        uuid = trade_uuid(f"live:{self._account}", instrument, slot, at)
        self._decided_at[uuid] = at
        self.append(LiveDecision(self._account, self._epoch, instrument, slot, uuid))
        return uuid

    def _refusal(self, trading: Trading, token: int, at: int, account: Account) -> str | None:
        refused = super()._refusal(trading, token, at, account)
        count = self._upto[token]
        before = self._history.state(token, count - 1, self._quote).price_usd if count > 1 else 0.0
        price = self._state(token).price_usd
        return (
            self._halted() or refused or self._limits.refusal(at, self._happened_at, price, before)
        )

    def _rule_failed(self, failure: RuleFailed) -> None:
        """Note it: exits by the product's own rules go on, and a person is told."""
        self.rule_failure = str(failure)

    def _stake_bound(self, capacity_usd: float | None) -> float | None:
        return self._limits.stake_bound(capacity_usd, (one for _, one in self.positions()))

    async def _fire(self, before: int) -> None:
        while (due := self._arms.next_due(before)) is not None:
            at, token, trading = due
            self._clock.advance(at)
            trading.on_timer(token, at)
            await self._settle(at)

    def _grow(self) -> None:
        tokens = len(self._market.instruments)
        if (new := tokens - len(self._upto)) > 0:
            self._history.grow(tokens)
            self._upto.extend([0] * new)
            self._last_slot = np.append(self._last_slot, np.full(new, -1, np.int64))

    def _resume_one(self, trading: Trading, trade: OpenTrade, token: int) -> None:
        position = trade.position
        position.token = token
        self._decided_at[position.uuid] = trade.decided_at
        if trade.exit_at is not None:
            self._exit_at[position.uuid] = trade.exit_at
        for order in (position.entry_order, position.exit_order):
            if order is not None:
                order.token = token
                order.due_at = self._venue.due_at(order.submitted_at)
        if position.retry_at:
            position.retry_at += self._retry
        seen = self._history.gather([token], trade.decided_at)
        changes = seen.columns["liquidity_change_usd"][:-1]
        position.removed_usd = -float(changes[changes < 0].sum())
        if position.bought:
            self._extremes(position, seen.known_at, trade.exit_at)
        trading.resume(position)

    def _extremes(self, position: Position, times: Ints, until: int | None) -> None:
        """Follow a position from its entry to its exit, over the times of its token's events."""
        cost = position.entry_price * position.tokens
        first = self._upto[position.token] - len(times) + 1
        quotes = self._history.quote_at(times, times - HOUR)
        for number, (at, quote) in enumerate(zip(times.tolist(), quotes.tolist(), strict=True)):
            if at > position.opened_at and (until is None or at <= until):
                state = self._history.state(position.token, first + number, quote)
                low, high = self._venue.range_usd(position.tokens, state)
                position.worst = min(position.worst, low / cost - 1.0)
                position.best = max(position.best, high / cost - 1.0)
