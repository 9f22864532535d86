"""Records the market that a live session reads: its events, and what it was told beside them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.ids import micros
from trade_pipeline.core.live.fact_notes import Steps, Told
from trade_pipeline.core.live.feed import nothing
from trade_pipeline.core.live.ports import LiveBatch, LiveFeed
from trade_pipeline.core.live.series_writer import KEPT_EVENTS, Fact, Part, SeriesWriter, never
from trade_pipeline.core.live.stored_events import Mask, StoredEvents, merged, taken
from trade_pipeline.core.market.event import DAY, Floats, Ints, MarketBatch, TradeRules
from trade_pipeline.core.market.moments import joined
from trade_pipeline.core.research.columns import SENTIMENT_LAG
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.database import Database

RULES = ("buy_tax", "sell_tax", "sells_blocked_from")
# Market time, longer than a batch, whose answers may be stored in part when a session is killed.
_SLACK = 60_000_000
# How long ago a session asks about facts, see `Researcher`.
_LAGS = (0, SENTIMENT_LAG, DAY)


class RecordingFeed(Closing):
    """A live feed that is recorded while it is read.

    Batches are passed on at once, the history before them as one.  What an earlier session of the
    account recorded is passed on as it was known then, and not recorded again (see `StoredEvents`);
    events that nobody recorded before, such as those of a hole, are.

    Args:
        feed: the market.
        account, epoch: of the lease, which must be held until this is closed.
        kept, held_back: see `SeriesWriter`.

    Raises:
        StoreUnavailable: the database cannot be reached.
    """

    def __init__(
        self,
        feed: LiveFeed,
        database: Database,
        account: str,
        epoch: int,
        *,
        kept: int = KEPT_EVENTS,
        held_back: Callable[[], str | None] = never,
    ) -> None:
        # The feed's own list, which grows.
        self.kind, self.instruments = feed.kind, feed.instruments
        self.knows_past = feed.knows_past
        self._feed = feed
        self._database, self._account = database, account
        self._steps: dict[tuple[str, str], Steps[Told]] = {}
        self._covered: list[tuple[int, int]] = []
        self._asked_before: int | None = None
        self._asked_to = 0
        self._lost_before = 0
        self._read_stored(database, account)
        self._writer = SeriesWriter(database, account, epoch, feed, kept=kept, held_back=held_back)

    @property
    def lost(self) -> int:
        """Events and facts that could not be recorded so far."""
        return self._writer.lost

    def first_moment(self) -> int:
        return self._feed.first_moment()

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        with self._database.connect("trade_reader") as connection:
            stored = StoredEvents(
                connection, self._account, self.kind, since, resume, self._covered
            )
        # A market tells instrument by instrument what was before; it is put in order once.
        history: list[tuple[MarketBatch, Mask]] = []
        began = False
        start, carry = since, (nothing(), np.zeros(0, np.bool_))
        async for batch in self._feed.read(since, resume):
            told, new = stored.told(batch.events, self.instruments, warm_up=batch.warm_up)
            if not began:
                if batch.warm_up:
                    history.append((told, new))
                    continue
                began = True
                past = stored.past(self.instruments)
                history.append((past, np.zeros(len(past), np.bool_)))
                early, fresh = merged(history)
                history.clear()
                if len(early):
                    start, carry = self._record(start, carry, early, fresh, None)
                    self._ask_again(early)
                    yield LiveBatch(resume, early, warm_up=True)
            elif batch.warm_up:
                # What comes late is known when it comes.
                told = replace(told, known_at=np.maximum(told.known_at, start))
            upto = None if batch.warm_up else batch.upto
            start, carry = self._record(start, carry, told, new, upto)
            yield replace(batch, events=told)

    def _record(
        self,
        start: int,
        carry: tuple[MarketBatch, Mask],
        events: MarketBatch,
        new: Mask,
        upto: int | None,
    ) -> tuple[int, tuple[MarketBatch, Mask]]:
        """Store what is over; gives up to where that is, and what is carried on."""
        known, new = joined(carry[0], events), np.concatenate([carry[1], new])
        # A moment is stored as a whole: that of a warm-up's last event may not be over, and that of
        # an event that has arrived is.
        last = int(known.known_at[-1]) if len(known) else start
        end = max(start, last if upto is None else max(upto, last + 1))
        cut = int(known.known_at.searchsorted(end))
        fresh = taken(known.rows(0, cut), new[:cut] & ~self._is_covered(known.known_at[:cut]))
        self._writer.put(Part(start, end, fresh if len(fresh) else None, (), self._asked_to))
        return end, (known.rows(cut, len(known)), new[cut:])

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return self._noted("facts", token, at, self._feed.facts_at(token, at))

    def mentions_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        return self._noted("mentions", token, at, self._feed.mentions_at(token, at))

    def raw_answers_at(self, token: int, at: int) -> Sequence[str]:
        return self._feed.raw_answers_at(token, at)

    def rules(self, token: int) -> TradeRules:
        rules = self._feed.rules(token)
        values = [getattr(rules, name) for name in RULES]
        columns = {
            name: np.array([np.nan if value is None else value], np.float64)
            for name, value in zip(RULES, values, strict=True)
        }
        self._noted("rules", np.array([token], np.int32), np.array([self._asked_to]), columns)
        return rules

    def close(self) -> None:
        self._writer.close()

    def _noted(
        self,
        question: str,
        token: npt.NDArray[np.int32],
        at: Ints,
        columns: dict[str, Floats],
    ) -> dict[str, Floats]:
        """The columns; what is new in them is stored."""
        if not columns or not len(token):
            return columns
        if self._writer.lost != self._lost_before:
            # What was noted may be gone: all of it is noted again.
            self._lost_before = self._writer.lost
            self._steps.clear()
        facts = []
        for one, moment, told in zip(token.tolist(), at.tolist(), Told.rows(columns), strict=True):
            key = (question, self.instruments[one].name)
            steps = self._steps.get(key)
            if steps is None:
                steps = self._steps[key] = Steps()
            facts += [Fact(one, question, since, row) for since, row in steps.note(moment, told)]
        self._asked_to = max(self._asked_to, int(at.max()))
        if facts:
            self._writer.put(Part(0, 0, None, facts, self._asked_to))
        return columns

    def _is_covered(self, at: Ints) -> Mask:
        """Whether an earlier session recorded all of a moment."""
        found = np.zeros(len(at), np.bool_)
        for start, end in self._covered:
            found |= (at >= start) & (at < end)
        return found

    def _ask_again(self, events: MarketBatch) -> None:
        """Ask about what a session that was killed had asked, and whose answers went with it."""
        if self._asked_before is None or not len(events) or not self.knows_past:
            return
        first = int(events.known_at.searchsorted(self._asked_before))
        token, at = events.token[first:], events.known_at[first:]
        for lag in _LAGS:
            self.facts_at(token, at - lag)
        self.mentions_at(token, at)
        for one in np.unique(token).tolist():
            self.rules(one)

    def _read_stored(self, database: Database, account: str) -> None:
        """What earlier sessions of the account recorded."""
        named = (account, self.kind)
        with database.connect("trade_reader") as connection:
            began = connection.execute(
                "SELECT started_at FROM trade.live_progress WHERE account = %s", (account,)
            ).fetchone()
            row = connection.execute(
                "SELECT covered, asked_to FROM trade.market_recordings "
                "WHERE account = %s AND market = %s",
                named,
            ).fetchone()
            if began is not None:
                # Whoever began may have been killed before anything was stored.
                self._asked_before = began[0]
            if row is None:
                return
            self._covered = [(one.lower, one.upper) for one in row[0]]
            self._asked_to = row[1]
            self._asked_before = max(self._asked_before or 0, self._asked_to - _SLACK)
            # A session asks about a day ago at most; older steps matter by what they ended with.
            rows = connection.execute(
                "WITH noted AS (SELECT *, lead(known_at) OVER ("
                "PARTITION BY question, instrument ORDER BY known_at, number) AS until "
                "FROM trade.market_facts WHERE account = %s AND market = %s) "
                "SELECT question, instrument, known_at, names, told FROM noted "
                "WHERE until IS NULL OR until > to_timestamp(%s) "
                "ORDER BY question, instrument, known_at, number",
                (*named, (self._asked_to - 2 * DAY) / 1e6),
            ).fetchall()
        stored: dict[tuple[str, str], list[tuple[int, Told]]] = {}
        for question, instrument, known_at, names, told in rows:
            one = Told(tuple(names), np.array(told, np.float64).tobytes())
            stored.setdefault((question, instrument), []).append((micros(known_at), one))
        self._steps = {key: Steps.stored(steps, self._asked_to) for key, steps in stored.items()}
