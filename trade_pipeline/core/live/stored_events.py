"""What earlier sessions of an account recorded of its market, as a session after them reads it.

A real market tells its past again as a tape does: known when it happened.  Who was there knew it
when it arrived, and decided by that.  So what was recorded stands, and what the market tells again
of it is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np
import numpy.typing as npt
import psycopg

from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.market.event import Instrument, Ints, MarketBatch
from trade_pipeline.core.market.moments import joined
from trade_pipeline.core.market.series import AMOUNTS

Mask = npt.NDArray[np.bool_]


class StoredEvents:
    """The recorded events that were known from ``since`` on.

    An event is told again when its instrument and its moment are those of a recorded one.

    Args:
        resume: where the session goes on: what was known before was decided on.
        covered: ranges of moments of which everything is recorded.
    """

    def __init__(
        self,
        connection: psycopg.Connection,
        account: str,
        market: str,
        since: int,
        resume: int,
        covered: Sequence[tuple[int, int]],
    ) -> None:
        rows = connection.execute(
            "SELECT instrument, event_time, known_at, "
            f"{', '.join(AMOUNTS)} FROM trade.market_series "
            "WHERE account = %s AND market = %s AND known_at >= %s "
            "ORDER BY known_at, number".encode(),
            (account, market, moment_of(since)),
            binary=True,
        ).fetchall()
        columns = list(zip(*rows, strict=True)) or [()] * (3 + len(AMOUNTS))
        self._names: Sequence[str] = columns[0]
        happened, known = (_micros(one) for one in columns[1:3])
        self._events = MarketBatch(
            np.full(len(rows), -1, np.int32),
            happened,
            known,
            *(np.array(one, np.float64) for one in columns[3:]),
        )
        self._covered = covered
        # Known before the session goes on; later ones are told again, to be decided on.
        decided = int(known.searchsorted(resume))
        keys = list(zip(self._names, happened.tolist(), strict=True))
        self._decided, self._later = Counter(keys[:decided]), Counter(keys[decided:])
        self._past = decided
        self._newest = int(happened.max(initial=-1))

    def past(self, instruments: Sequence[Instrument]) -> MarketBatch:
        """What was known before the session goes on, of the instruments that the market has."""
        tokens = {one.name: token for token, one in enumerate(instruments)}
        found = [tokens.get(name, -1) for name in self._names[: self._past]]
        token = np.array(found, np.int32)
        events = self._events.rows(0, self._past)
        return taken(replace(events, token=token), token >= 0)

    def told(
        self, events: MarketBatch, instruments: Sequence[Instrument], *, warm_up: bool
    ) -> tuple[MarketBatch, Mask]:
        """What of some events is to be passed on, and which of that nobody recorded.

        What is history and was not recorded though its moments were, was on its way then: it is
        known after them.
        """
        known = events.known_at.copy()
        kept, new = np.ones(len(events), np.bool_), np.ones(len(events), np.bool_)
        # What happened later than everything that was recorded is told for the first time.
        for row in np.flatnonzero(events.event_time <= self._newest).tolist():
            key = (instruments[events.token[row]].name, int(events.event_time[row]))
            if self._decided[key] > 0:
                self._decided[key] -= 1
                kept[row] = False
            elif self._later[key] > 0:
                self._later[key] -= 1
                new[row] = False
        if warm_up:
            for start, end in self._covered:
                known[new & (known >= start) & (known < end)] = end
        return taken(replace(events, known_at=np.maximum.accumulate(known)), kept), new[kept]


def merged(parts: Sequence[tuple[MarketBatch, Mask]]) -> tuple[MarketBatch, Mask]:
    """Events in the order in which they were known, each with its mark."""
    events, marks = joined(*(one for one, _ in parts)), np.concatenate([one for _, one in parts])
    order = np.argsort(events.known_at, kind="stable")
    return events.take(order), marks[order]


def taken(events: MarketBatch, mask: Mask) -> MarketBatch:
    """Some of the events."""
    return events if mask.all() else events.take(np.flatnonzero(mask))


def _micros(times: Sequence[datetime]) -> Ints:
    return np.array([micros(one) for one in times], np.int64)
