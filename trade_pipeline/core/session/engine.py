"""The session: market events in, records out.  Deterministic in its ports and its config.

Everything that happens is driven by the market's events and by timers on market time; the same
inputs give the same records in the same order.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.execution.book import to_usd
from trade_pipeline.core.execution.venue import Venue
from trade_pipeline.core.ids import micros, moment_of, trade_uuid
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.market.event import DAY, MarketBatch
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.history import MarketHistory, TokenState
from trade_pipeline.core.records import Scan, Session, SessionEnd, TradeCandidate
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.trading import Trading
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.decision import decide
from trade_pipeline.core.strategy.evaluation import Evaluator
from trade_pipeline.core.strategy.universe import universe_codes

# Windows of 24 hours need what was there when they began.
WARM_UP = 2 * DAY
# Whoever watches hears of the session after this many events at the latest.
PROGRESS_ROWS = 16_384
CREATED_BY = "high_volatility_low_cap"

Progress = Callable[[int, int], None]


@dataclass(slots=True)
class SessionCounts:
    """What a session looked at.

    Attributes:
        events: market events, those of the warm-up before the start included.
        evaluated: tokens by slot that were looked at; ``failed`` of them by filter.
        candidates: by decision and reason.
        final_cash_usd: the account when everything is closed.
    """

    events: int = 0
    evaluated: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    candidates: Counter[tuple[str, str]] = field(default_factory=Counter)
    final_cash_usd: float = 0.0


class TradingSession:
    """One run of the strategy over a range of market time.

    Args:
        session: its record; the id, range and params come from it.
        journal: where the records go.
        progress: called with (events so far, market time in microseconds) now and then.
    """

    def __init__(
        self,
        session: Session,
        config: TradingConfig,
        *,
        feed: MarketFeed,
        venue: Venue,
        clock: Clock,
        journal: Journal,
        progress: Progress | None = None,
    ) -> None:
        assert session.range_start is not None
        assert session.range_end is not None
        assert session.params_ptr is not None
        self._session = session
        self._params_ptr = session.params_ptr
        self._start, self._end = micros(session.range_start), micros(session.range_end)
        self._config = config.strategy
        self._interval = config.interval(session.market)
        self._feed = feed
        self._venue = venue
        self._clock = clock
        self._journal = journal
        self._progress = progress
        self._history = MarketHistory(len(feed.instruments))
        self._evaluator = Evaluator(config.strategy, feed, self._history)
        self._trading = Trading(config.strategy, venue, feed, journal, self._state)
        self._upto = [0] * len(feed.instruments)
        self._last_slot = np.full(len(feed.instruments), -1, np.int64)
        self._quote = math.nan
        self._states: dict[int, tuple[tuple[int, float], TokenState]] = {}
        self._timers: list[tuple[int, int, int]] = self._trading.timers
        self._decisions = 0
        self._scan_slot = -1
        self._scan_evaluated = 0
        self._scan_failed: Counter[str] = Counter()
        self.counts = SessionCounts()

    def run(self) -> SessionCounts:
        """Run to the end of the range; afterwards everything is in the journal, not yet flushed.

        Raises:
            BadMarketData: the market has no event in the range, or a wrong one.
        """
        self._journal.append(self._session)
        for batch in self._feed.batches(self._start - WARM_UP, self._end):
            for row in range(0, len(batch), PROGRESS_ROWS):
                part = batch.rows(row, row + PROGRESS_ROWS)
                self._run_batch(part)
                if self._progress is not None:
                    self._progress(self.counts.events, int(part.known_at[-1]))
        if not self.counts.events:
            first, last = (moment_of(at).isoformat() for at in self._feed.span())
            raise BadMarketData(
                f"{self._session.market}: no event between {self._session.range_start} and "
                f"{self._session.range_end}; this market spans {first} to {last}"
            )
        self._fire_timers(self._end)
        self._clock.advance(self._end)
        self._trading.end_session(self._end)
        self._end_scan()
        self.counts.final_cash_usd = to_usd(self._trading.book.cash)
        self._journal.append(
            SessionEnd(
                session_id=self._session.session_id,
                events=self.counts.events,
                decisions=self._decisions,
                final_cash_usd=self.counts.final_cash_usd,
            )
        )
        return self.counts

    def _run_batch(self, batch: MarketBatch) -> None:
        upto = self._history.extend(batch).tolist()
        tokens, times = batch.token.tolist(), batch.known_at.tolist()
        fresh = self._first_of_slot(batch)
        codes = universe_codes(batch, self._config.universe)
        wake, codes_list = fresh.tolist(), codes.tolist()
        counted, positions, timers = self._upto, self._trading.book.positions, self._timers
        for row, token in enumerate(tokens):
            at = times[row]
            if timers and timers[0][0] < at:
                self._quote = float(batch.quote_usd[row - 1]) if row else self._quote
                self._fire_timers(at)
            counted[token] = upto[row]
            if wake[row] or token in positions:
                self._quote = float(batch.quote_usd[row])
                self._clock.advance(at)
                if token in positions:
                    self._trading.on_event(token, at)
                if wake[row]:
                    self._look_at(token, at, codes_list[row])
        self._quote = float(batch.quote_usd[-1])
        self.counts.events += len(tokens)

    def _first_of_slot(self, batch: MarketBatch) -> npt.NDArray[np.bool_]:
        """Which events are their token's first in a slot of market time, from the start on."""
        slots = batch.known_at // self._interval
        order = np.argsort(batch.token, kind="stable")
        order = order[batch.known_at[order] >= self._start]
        tokens, slots_sorted = batch.token[order], slots[order]
        before = np.empty_like(slots_sorted)
        before[1:] = slots_sorted[:-1]
        heads = np.flatnonzero(np.diff(tokens, prepend=-1))
        before[heads] = self._last_slot[tokens[heads]]
        self._last_slot[tokens] = slots_sorted  # the last of equal indices stays
        first = np.zeros(len(batch), np.bool_)
        first[order] = slots_sorted != before
        return first

    def _look_at(self, token: int, at: int, code: int) -> None:
        """Evaluate a token once in its slot: count it, and decide when it is a candidate."""
        slot = at // self._interval
        if slot != self._scan_slot:
            self._end_scan()
            self._scan_slot = slot
        self._scan_evaluated += 1
        failed = self._evaluator.failed_filter(token, self._upto[token], at, code)
        if failed is not None:
            self._scan_failed[failed] += 1
        else:
            self._decide(token, at)

    def _decide(self, token: int, at: int) -> None:
        config, trading, state = self._config, self._trading, self._state(token)
        evaluation = self._evaluator.evaluate(token, self._upto[token], at, state)
        snapshot, confidence = evaluation.snapshot, evaluation.confidence
        account = trading.account(at)
        decision = decide(
            config,
            snapshot,
            confidence,
            account,
            position_open=token in trading.book.positions,
            protection=trading.protections.refusal(at, token, account.equity_usd),
            impact_capacity_usd=self._venue.impact_capacity_usd(state, config.sizing.max_impact),
        )
        instrument = snapshot.instrument.name
        uuid = trade_uuid(self._session.session_id, instrument, self._decisions, at)
        verb = "enter" if decision.enter else "skip"
        self._journal.append(
            TradeCandidate(
                uuid=uuid,
                session_id=self._session.session_id,
                decision_no=self._decisions,
                instrument=instrument,
                decided_at=moment_of(at),
                model_version=HEURISTIC_VERSION,
                confidence=confidence,
                params_ptr=self._params_ptr,
                created_by=CREATED_BY,
                decision=verb,
                reason=decision.reason,
                stake_usd=decision.stake_usd,
            )
        )
        self._journal.append(snapshot.document(uuid, f"{verb}: {decision.reason}"))
        self._decisions += 1
        self.counts.candidates[verb, decision.reason] += 1
        if decision.stake_usd is not None:
            trading.enter(uuid, token, at, state, decision.stake_usd)

    def _state(self, token: int) -> TokenState:
        # Asked again and again for open positions, between events of theirs.
        present = (self._upto[token], self._quote)
        known = self._states.get(token)
        if known is None or known[0] != present:
            known = self._states[token] = (present, self._history.state(token, *present))
        return known[1]

    def _fire_timers(self, before: int) -> None:
        while self._timers and self._timers[0][0] < before:
            due, _, token = heapq.heappop(self._timers)
            self._clock.advance(due)
            self._trading.on_timer(token, due)

    def _end_scan(self) -> None:
        """Record the scan of the slot that is over."""
        if not self._scan_evaluated:
            return
        failed = dict(self._scan_failed)
        self._journal.append(
            Scan(
                session_id=self._session.session_id,
                slot=moment_of(self._scan_slot * self._interval),
                evaluated=self._scan_evaluated,
                passed=self._scan_evaluated - sum(failed.values()),
                failed=failed,
            )
        )
        self.counts.evaluated += self._scan_evaluated
        self.counts.failed.update(failed)
        self._scan_evaluated, self._scan_failed = 0, Counter()
