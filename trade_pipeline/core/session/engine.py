"""The session: market events in, records out.  Deterministic in its ports and its config.

Everything that happens is driven by the market's events and by timers on market time; the same
inputs give the same records in the same order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.execution.venue import OrderDesk, Venue
from trade_pipeline.core.features.own_records import (
    OwnRecords,
    hours_since_last_close,
    own_columns,
)
from trade_pipeline.core.features.vector import feature_row
from trade_pipeline.core.ids import micros, moment_of, trade_uuid
from trade_pipeline.core.market.event import Floats, MarketBatch
from trade_pipeline.core.market.feed import KnownMarket, MarketFeed
from trade_pipeline.core.market.history import MarketHistory, TokenState
from trade_pipeline.core.market.moments import whole_moments
from trade_pipeline.core.market.windows import LOOKBACK
from trade_pipeline.core.records import (
    Record,
    RecordSink,
    Scan,
    Session,
    SessionEnd,
    TradeCandidate,
)
from trade_pipeline.core.session.arms import Arms
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.counts import SessionCounts
from trade_pipeline.core.session.on_duty import always
from trade_pipeline.core.session.trading import Trading
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.decision import Decision, decide
from trade_pipeline.core.strategy.evaluation import Evaluations, Evaluator
from trade_pipeline.core.strategy.opinion import Models
from trade_pipeline.core.strategy.rules import FAILED, RuleFailed
from trade_pipeline.core.strategy.sizing import Account
from trade_pipeline.core.strategy.universe import FILTERS, VOLUME, universe_codes

if TYPE_CHECKING:
    from trade_pipeline.core.features.rug_risk import RugRisk
    from trade_pipeline.core.strategy.model import TradeModel

# Events that are looked at together; whoever watches hears of the session after as many.
PART_ROWS = 16_384
CREATED_BY = "high_volatility_low_cap"

Progress = Callable[[int, int], None]


class SessionEngine:
    """The strategy at work on a market's events; who feeds it is a matter of the session.

    Args:
        session: its record; the id, start and params come from it.
        journal: where the records go.
        desk: see `Trading`.
        rug_risk: the model of the rug probability; None: the probability is unknown.
        model: the model that decides, ``config.model``; None: the heuristic.
        canary: the model on trial, ``config.canary.model``.
        deployed: the models on duty, asked at each decision; None: those of the config throughout.
            A canary decides with the traffic and the part of the fund that the config gives it; a
            session without ``config.canary`` gives it none.  Without a canary its part trades
            nothing new.
    """

    def __init__(
        self,
        session: Session,
        config: TradingConfig,
        *,
        feed: KnownMarket,
        venue: Venue,
        clock: Clock,
        journal: RecordSink,
        rug_risk: RugRisk | None = None,
        model: TradeModel | None = None,
        canary: TradeModel | None = None,
        deployed: Callable[[], Models] | None = None,
        desk: OrderDesk | None = None,
    ) -> None:
        assert session.range_start is not None
        assert session.params_ptr is not None
        self._session = session
        self._params_ptr = session.params_ptr
        self._start = micros(session.range_start)
        self._config = config.strategy
        self._deployed = deployed or always(config, model, canary)
        self._interval = config.interval(session.market)
        self._feed = feed
        self._venue = venue
        self._clock = clock
        self._journal = journal
        self._history = MarketHistory(len(feed.instruments))
        self._evaluator = evaluator(config.strategy, feed, self._history, venue, rug_risk)
        self._own = self._own_newest = OwnRecords()
        self._own_counts: tuple[int, ...] = ()
        self._own_known: dict[str, Floats] = {}
        self._arms = Arms(
            config.strategy, config.canary, venue, feed, self, self._state, desk, self._rule_failed
        )
        self._upto = [0] * len(feed.instruments)
        self._last_slot = np.full(len(feed.instruments), -1, np.int64)
        self._quote = math.nan
        self._states: dict[int, tuple[tuple[int, float], TokenState]] = {}
        self._decisions = 0
        self._scan_slot = -1
        self._scan_evaluated = 0
        self._scan_failed: Counter[str] = Counter()
        self.counts = SessionCounts()

    def append(self, record: Record) -> None:
        """Put a record into the journal, and note what the features tell of it."""
        self._journal.append(record)
        self._own.observe(record)

    def pass_over(self, part: MarketBatch) -> None:
        """Read events (at least one) that were told as history: nothing is decided on them."""
        upto = self._history.extend(part).tolist()
        self._looks(part)
        counted, arms = self._upto, self._arms.all
        for row, token in enumerate(part.token.tolist()):
            counted[token] = upto[row]
            for trading in arms:
                if token in trading.book.positions:
                    self._quote = float(part.quote_usd[row])
                    trading.pass_over(token)
        self._quote = float(part.quote_usd[-1])
        self.counts.events += len(part)

    def _run_part(self, part: MarketBatch) -> None:
        upto = self._history.extend(part).tolist()
        tokens, times = part.token.tolist(), part.known_at.tolist()
        looks = self._looks(part)
        failed, candidates, evaluations = self._evaluate(part, looks)
        wake = looks.tolist()
        counted, production, canary = self._upto, self._arms.production, self._arms.canary
        positions, timers = production.book.positions, production.timers
        on_trial = canary.book.positions if canary else {}
        trial_timers = canary.timers if canary else []
        # Looks of a moment come after all of its events: what is known at once is known whole.
        waiting: list[int] = []

        def look() -> None:
            for row in waiting:
                self._quote = float(part.quote_usd[row])
                self._count_look(times[row], failed.get(row))
                if row in candidates:
                    self._decide(evaluations, candidates[row])
            waiting.clear()

        for row, token in enumerate(tokens):
            at = times[row]
            if waiting and at > times[waiting[0]]:
                look()
            if (timers and timers[0][0] < at) or (trial_timers and trial_timers[0][0] < at):
                self._quote = float(part.quote_usd[row - 1]) if row else self._quote
                self._fire_timers(at)
            counted[token] = upto[row]
            if wake[row] or token in positions or token in on_trial:
                self._quote = float(part.quote_usd[row])
                self._clock.advance(at)
                if token in positions:
                    production.on_event(token, at)
                if canary and token in on_trial:
                    canary.on_event(token, at)
                if wake[row]:
                    waiting.append(row)
        look()
        self._quote = float(part.quote_usd[-1])
        self.counts.events += len(tokens)

    def _looks(self, part: MarketBatch) -> npt.NDArray[np.bool_]:
        """At which events a token is looked at: once a slot of market time, from the start on.

        It is the first moment at which the token moves, after the last of its events then: what is
        known at once is known whole.
        """
        slots = part.known_at // self._interval
        order = np.argsort(part.token, kind="stable")
        order = order[part.known_at[order] >= self._start]
        tokens, times, slots = part.token[order], part.known_at[order], slots[order]
        before = np.empty_like(slots)
        before[1:] = slots[:-1]
        heads = np.flatnonzero(np.diff(tokens, prepend=-1))
        before[heads] = self._last_slot[tokens[heads]]
        self._last_slot[tokens] = slots  # the last of equal indices stays
        is_new = np.append((np.diff(tokens) != 0) | (np.diff(times) != 0), True)[: len(order)]
        last_of_moment = np.flatnonzero(is_new)
        first = np.flatnonzero(slots != before)
        looks = np.zeros(len(part), np.bool_)
        looks[order[last_of_moment[last_of_moment.searchsorted(first)]]] = True
        return looks

    def _evaluate(
        self, part: MarketBatch, looks: npt.NDArray[np.bool_]
    ) -> tuple[dict[int, str], dict[int, int], Evaluations | None]:
        """Research of all the part's candidates at once.

        Returns:
            The filter by row that fails, the row of the evaluations by row of the part, and the
            evaluations.
        """
        codes = universe_codes(part, self._config.universe)
        rows = np.flatnonzero(looks)
        failed = {row: FILTERS[codes[row]] for row in rows[codes[rows] != 0].tolist()}
        rows = rows[codes[rows] == 0]
        if not len(rows):
            return failed, {}, None
        rows = rows[np.lexsort((part.known_at[rows], part.token[rows]))]
        windows = self._evaluator.windows(part.token[rows], part.known_at[rows])
        enough = self._evaluator.traded_enough(windows)
        failed.update(dict.fromkeys(rows[~enough].tolist(), FILTERS[VOLUME]))
        if not enough.any():
            return failed, {}, None
        evaluations = self._evaluator.evaluate(windows.select(enough), self._deployed())
        self.counts.note_predictions(evaluations.opinions)
        return failed, {row: n for n, row in enumerate(rows[enough].tolist())}, evaluations

    def _count_look(self, at: int, failed: str | None) -> None:
        slot = at // self._interval
        if slot != self._scan_slot:
            self._end_scan()
            self._scan_slot = slot
        self._scan_evaluated += 1
        if failed is not None:
            self._scan_failed[failed] += 1

    def _decide(self, evaluations: Evaluations | None, row: int) -> None:
        assert evaluations is not None
        token, at = int(evaluations.token[row]), int(evaluations.at[row])
        config, state = self._config, self._state(token)
        snapshot = self._evaluator.snapshot(evaluations, row, state)
        instrument = snapshot.instrument.name
        models = self._deployed()
        opinions, n = evaluations.opinions_of(models, row)
        if opinions is not evaluations.opinions:
            self.counts.note_predictions(opinions)
        here = evaluations.vectors[row : row + 1]
        choice = self._arms.choose(opinions, n, here, instrument, at)
        trading = self._arms.of(choice)
        vector = evaluations.vector(row, self._own_columns(at))
        account = trading.account(at)
        capacity = self._venue.impact_capacity_usd(state, config.sizing.max_impact)
        try:
            decision = decide(
                config,
                snapshot,
                vector,
                choice.confidence,
                account if choice.canary else account.part(models.fund_share),
                entry_confidence=choice.by.entry_confidence(config.signal),
                position_open=token in trading.book.positions,
                protection=self._refusal(trading, token, at, account),
                impact_capacity_usd=self._stake_bound(capacity),
            )
        except RuleFailed as failure:
            self._rule_failed(failure)
            decision = Decision(False, FAILED)
        uuid = self._uuid(token, instrument, at)
        features = feature_row(uuid, int(evaluations.known_at[row]), vector)
        verb = "enter" if decision.enter else "skip"
        compared = self._arms.compared(choice, opinions, n, snapshot, vector, capacity)
        self.append(
            TradeCandidate(
                uuid=uuid,
                session_id=self._session.session_id,
                decision_no=self._decisions,
                instrument=instrument,
                decided_at=moment_of(at),
                model_version=choice.by.version,
                confidence=choice.confidence,
                params_ptr=self._params_ptr,
                created_by=CREATED_BY,
                decision=verb,
                reason=decision.reason,
                stake_usd=decision.stake_usd,
                arm=choice.arm,
                propensity=choice.propensity,
                canary_version=None if compared is None else compared["model"],
                feature_hash=features.vector_hash,
                contributions=choice.contributions,
                canary=compared,
            )
        )
        raw = self._feed.raw_answers_at(token, at)
        self.append(snapshot.document(uuid, f"{verb}: {decision.reason}", raw))
        self.append(features)
        self._decisions += 1
        self.counts.canary_errors += choice.error is not None
        self.counts.candidates[verb, decision.reason] += 1
        if decision.stake_usd is not None:
            trading.enter(uuid, token, at, state, decision.stake_usd)

    def _refusal(self, trading: Trading, token: int, at: int, account: Account) -> str | None:
        """Why no entry is allowed now, or None."""
        return trading.protections.refusal(at, token, account.equity_usd)

    def _stake_bound(self, capacity_usd: float | None) -> float | None:
        """The largest stake that is allowed now, from that of the own price impact."""
        return capacity_usd

    def _rule_failed(self, failure: RuleFailed) -> None:
        """An own rule failed: what cannot be decided by it ends a backtest."""
        raise failure

    def _uuid(self, token: int, instrument: str, at: int) -> UUID:
        """The UUID of the decision that is being made."""
        return trade_uuid(self._session.session_id, instrument, self._decisions, at)

    def _own_columns(self, at: int) -> dict[str, Floats]:
        counts = (*self._own.counts(), self._arms.open_positions)
        if counts != self._own_counts:
            # They change with a trade, and most decisions come without one.
            self._own_counts, self._own_newest = counts, self._own.newest()
            here = [np.array([n]) for n in (*self._own_newest.counts(), counts[-1])]
            self._own_known = own_columns(self._own_newest, *here)
        trades = np.array([self._own_newest.counts()[2]])
        since = hours_since_last_close(self._own_newest, trades, np.array([at]))
        return self._own_known | {"hours_since_last_close": since}

    def _state(self, token: int) -> TokenState:
        # Asked again and again for open positions, between events of theirs.
        present = (self._upto[token], self._quote)
        known = self._states.get(token)
        if known is None or known[0] != present:
            known = self._states[token] = (present, self._history.state(token, *present))
        return known[1]

    def _fire_timers(self, before: int) -> None:
        while (due := self._arms.next_due(before)) is not None:
            at, token, trading = due
            self._clock.advance(at)
            trading.on_timer(token, at)

    def _end_scan(self) -> None:
        """Record the scan of the slot that is over."""
        if not self._scan_evaluated:
            return
        failed = dict(self._scan_failed)
        self.append(
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


class TradingSession(SessionEngine):
    """One run of the strategy over a range of market time.

    Args:
        session: its record, with the range.
        progress: called with (events so far, market time in microseconds) now and then.
        given: see `SessionEngine`.
    """

    def __init__(
        self,
        session: Session,
        config: TradingConfig,
        *,
        feed: MarketFeed,
        progress: Progress | None = None,
        **given: Any,
    ) -> None:
        assert session.range_end is not None
        super().__init__(session, config, feed=feed, **given)
        self._market = feed
        self._end = micros(session.range_end)
        self._progress = progress

    def run(self) -> SessionCounts:
        """Run to the end of the range; afterwards everything is in the journal, not yet flushed.

        Raises:
            BadMarketData: the market has no event in the range, or a wrong one.
        """
        self.append(self._session)
        batches = self._market.batches(self._start - LOOKBACK, self._end)
        for part in whole_moments(batches, PART_ROWS):
            for piece, away in self._pieces(part):
                if away is None:
                    self._run_part(piece)
                else:
                    # What was due by then was done; what is due meanwhile, afterwards.
                    self._fire_timers(away)
                    self.pass_over(piece)
            if self._progress is not None:
                self._progress(self.counts.events, int(part.known_at[-1]))
        if not self.counts.events:
            first, last = (moment_of(at).isoformat() for at in self._market.span())
            raise BadMarketData(
                f"{self._session.market}: no event between {self._session.range_start} and "
                f"{self._session.range_end}; this market spans {first} to {last}"
            )
        self._fire_timers(self._end)
        self._clock.advance(self._end)
        self._arms.end_session(self._end)
        self._end_scan()
        self.counts.final_cash_usd = self._arms.cash_usd
        self.append(
            SessionEnd(
                session_id=self._session.session_id,
                events=self.counts.events,
                decisions=self._decisions,
                final_cash_usd=self.counts.final_cash_usd,
            )
        )
        return self.counts

    def _pieces(self, part: MarketBatch) -> Iterator[tuple[MarketBatch, int | None]]:
        """A part in pieces in order; with those in which the session was away, since when."""
        row = 0
        for start, end in self._market.away:
            first, stop = part.known_at.searchsorted([start, end]).tolist()
            if row < first:
                yield part.rows(row, first), None
            if first < stop:
                yield part.rows(first, stop), start
            row = max(row, stop)
        if row < len(part):
            yield part.rows(row, len(part)), None


def evaluator(
    config: StrategyConfig,
    feed: KnownMarket,
    history: MarketHistory,
    venue: Venue,
    rug_risk: RugRisk | None = None,
) -> Evaluator:
    """The evaluator of a market, whose costs are those of a full stake at a venue."""
    sizing = config.sizing
    full_stake = config.small_fund_usd * sizing.max_fraction
    return Evaluator(
        config,
        feed,
        history,
        lambda known: venue.expected_costs(full_stake, sizing.max_impact, known),
        rug_risk,
    )
