"""Writes what a live session reads into the database, beside the session and never before it.

A thread with a connection of its own copies events, facts and instruments in one transaction, in
which the database checks the lease and moves what is covered.  So nothing is recorded twice,
whoever reads it again, and a session that was overtaken records nothing more.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg.types.multirange import Int8Multirange
from psycopg.types.range import Int8Range

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.fact_notes import Told
from trade_pipeline.core.market.event import MarketBatch
from trade_pipeline.core.market.feed import KnownMarket
from trade_pipeline.core.market.moments import joined
from trade_pipeline.core.market.series import (
    COLUMNS,
    COPY_END,
    COPY_HEADER,
    copy_data,
)
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.database import Database

log = logging.getLogger("trade_pipeline.live")
KEPT_EVENTS = 1_000_000
_CHUNK = 50_000
_PAUSE_SECONDS = 0.5
_RETRY_SECONDS = 1.0
# The database is gone for now, or takes no writes.
_AWAY = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)
# How long the end of a session waits for the database.
_LAST_SECONDS = 10.0

_COPY_EVENTS = (
    f"COPY trade.market_series ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)".encode()
)
_COPY_FACTS = (
    "COPY trade.market_facts (account, market, instrument, question, known_at, names, told) "
    "FROM STDIN"
)
# The session may make partitions meanwhile, which would wait for each other's tables.
_NO_PARTITIONS_NOW = "SELECT pg_advisory_xact_lock_shared(hashtext('trade.ensure_partitions'))"
_COVER = (
    "INSERT INTO trade.market_recordings AS r VALUES (%s, %s, %s, %s) "
    "ON CONFLICT (account, market) DO UPDATE SET covered = r.covered + EXCLUDED.covered, "
    "asked_to = greatest(r.asked_to, EXCLUDED.asked_to)"
)


def never() -> None:
    """Nothing holds it back."""


@dataclass(frozen=True, slots=True)
class Fact:
    """An answer to be stored; ``question`` is ``facts``, ``mentions`` or ``rules``."""

    token: int
    question: str
    known_at: int
    told: Told


@dataclass(frozen=True, slots=True)
class Part:
    """What is stored together.

    Attributes:
        start, end: all events with ``start <= known_at < end`` are in here or were covered before;
            equal where it covers nothing.
        asked_to: latest moment about which facts were asked so far.
    """

    start: int
    end: int
    events: MarketBatch | None
    facts: Sequence[Fact] = ()
    asked_to: int = 0

    def __len__(self) -> int:
        return len(self.facts) + (0 if self.events is None else len(self.events))


class SeriesWriter(Closing):
    """Stores the parts that it is given, about twice a second, until it is closed.

    Args:
        epoch: of the lease on ``account``.
        kept: so many events and facts wait at most, the newest ones: what is dropped is counted,
            and a hole in what is covered.

    Attributes:
        lost: events and facts that were not stored.
    """

    def __init__(
        self,
        database: Database,
        account: str,
        epoch: int,
        feed: KnownMarket,
        *,
        kept: int = KEPT_EVENTS,
        held_back: Callable[[], str | None] = never,
    ) -> None:
        self._database = database
        self._account, self._epoch = account, epoch
        self._feed, self._market = feed, feed.kind
        self._kept, self._held_back = kept, held_back
        self._waiting: deque[Part] = deque()
        self._length = 0
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._give_up_at: float | None = None
        self._stored: set[int] = set()
        self._months: set[tuple[int, int]] = set()
        self._overtaken = False
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name=f"series {account}", daemon=True)
        self._thread.start()

    def put(self, part: Part) -> None:
        """Take a part; this never waits for the database."""
        with self._lock:
            self._waiting.append(part)
            self._length += len(part)
            self._drop()

    def close(self) -> None:
        """Store what waits, as long as the database answers in time."""
        self._give_up_at = time.monotonic() + _LAST_SECONDS
        self._ended.set()
        # A connection that hangs must not keep the session from ending.
        self._thread.join(2 * _LAST_SECONDS)
        with self._lock:
            self.lost += self._length
            self._waiting.clear()
            self._length = 0
        if self.lost:
            log.error(
                "account %s: %d events and facts of the market were not recorded",
                self._account, self.lost,
            )  # fmt: skip

    def _drop(self) -> None:
        while self._length > self._kept and len(self._waiting) > 1:
            dropped = len(self._waiting.popleft())
            self._length -= dropped
            self.lost += dropped

    def _run(self) -> None:
        connection: psycopg.Connection | None = None
        try:
            while True:
                ending = self._ended.wait(_PAUSE_SECONDS)
                try:
                    while self._held_back() is None and (parts := self._take()):
                        if connection is None or connection.closed:
                            connection = self._connected(parts)
                        self._write(connection, parts)
                except (StoreUnavailable, *_AWAY) as error:
                    log.warning("account %s: the market is not recorded: %s", self._account, error)
                    if connection is not None:
                        connection.close()
                    if not self._is_over():
                        # At the end of a session the event is set, and there is little time.
                        if ending:
                            time.sleep(_RETRY_SECONDS / 10)
                        else:
                            self._ended.wait(_RETRY_SECONDS)
                        continue
                if ending:
                    return
        finally:
            if connection is not None:
                connection.close()

    def _is_over(self) -> bool:
        return self._give_up_at is not None and time.monotonic() >= self._give_up_at

    def _connected(self, parts: list[Part]) -> psycopg.Connection:
        try:
            return self._database.connect(autocommit=True)
        except StoreUnavailable:
            self._put_back(parts)
            raise

    def _take(self) -> list[Part]:
        """The oldest parts, about a chunk of them."""
        parts: list[Part] = []
        with self._lock:
            taken = 0
            while self._waiting and taken < _CHUNK:
                parts.append(self._waiting.popleft())
                taken += len(parts[-1])
            self._length -= taken
        return parts

    def _put_back(self, parts: list[Part]) -> None:
        with self._lock:
            self._waiting.extendleft(reversed(parts))
            self._length += sum(map(len, parts))
            self._drop()

    def _write(self, connection: psycopg.Connection, parts: list[Part]) -> None:
        if self._overtaken:
            self.lost += sum(map(len, parts))
            return
        try:
            self._ensure_partitions(connection, parts)
            with connection.transaction():
                self._store(connection, parts)
        except psycopg.errors.ObjectNotInPrerequisiteState:
            # Its successor reads these events again.
            log.warning("account %s: the lease is over, and with it the recording", self._account)
            self._overtaken = True
            self.lost += sum(map(len, parts))
        except _AWAY:
            self._put_back(parts)
            raise
        except Exception:
            # A recording must not end with one part that cannot be stored, nor hide it.
            log.exception("account %s: events cannot be recorded", self._account)
            self.lost += sum(map(len, parts))

    def _store(self, connection: psycopg.Connection, parts: list[Part]) -> None:
        connection.execute(_NO_PARTITIONS_NOW)
        connection.execute("SELECT trade.require_lease(%s, %s)", (self._account, self._epoch))
        batches = [one.events for one in parts if one.events is not None and len(one.events)]
        events = joined(*batches) if batches else None
        facts = [fact for one in parts for fact in one.facts]
        tokens = {fact.token for fact in facts}
        if events is not None:
            tokens |= set(events.token.tolist())
        new = sorted(tokens - self._stored)
        with connection.cursor() as cursor:
            self._store_instruments(cursor, new)
            if events is not None:
                names = [one.name for one in self._feed.instruments]
                with cursor.copy(_COPY_EVENTS) as copy:
                    copy.write(COPY_HEADER)
                    for rows in copy_data(events, self._account, self._market, names):
                        copy.write(rows)
                    copy.write(COPY_END)
            if facts:
                with cursor.copy(_COPY_FACTS) as copy:
                    for fact in facts:
                        copy.write_row(
                            (self._account, self._market, self._feed.instruments[fact.token].name,
                             fact.question, moment_of(fact.known_at), list(fact.told.names),
                             fact.told.numbers())
                        )  # fmt: skip
            covered = Int8Multirange(
                [Int8Range(one.start, one.end) for one in parts if one.end > one.start]
            )
            asked_to = max(one.asked_to for one in parts)
            cursor.execute(_COVER, (self._account, self._market, covered, asked_to))
        self._stored.update(new)

    def _store_instruments(self, cursor: psycopg.Cursor, tokens: list[int]) -> None:
        rows = []
        for token in tokens:
            one = self._feed.instruments[token]
            created = None if one.created_at is None else moment_of(one.created_at)
            rows.append(
                (self._account, self._market, one.name, token, one.symbol, one.contract_address,
                 created)
            )  # fmt: skip
        cursor.executemany(
            "INSERT INTO trade.market_instruments VALUES (%s, %s, %s, %s, %s, %s, %s) "
            "ON CONFLICT (account, market, name) DO NOTHING",
            rows,
        )

    def _ensure_partitions(self, connection: psycopg.Connection, parts: list[Part]) -> None:
        """Months that have none get theirs, before any row is locked."""
        moments = {fact.known_at for one in parts for fact in one.facts}
        for one in parts:
            if one.events is not None and len(one.events):
                moments |= {int(one.events.known_at.min()), int(one.events.known_at.max())}
        new = {}
        for at in moments:
            moment = moment_of(at)
            if (moment.year, moment.month) not in self._months:
                new[moment.year, moment.month] = moment
        if new:
            first, last = min(new.values()), max(new.values())
            connection.execute("SELECT trade.ensure_series_partitions(%s, %s)", (first, last))
            self._months |= set(new)
