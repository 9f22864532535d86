"""What a live session read is recorded once, and a backtest of the tape decides the same."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.errors import BadConfig, StoreUnavailable
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.fact_notes import Steps
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.recording import RecordingFeed
from trade_pipeline.core.live.run import replay_feed
from trade_pipeline.core.live.series_writer import Part, SeriesWriter
from trade_pipeline.core.market import export
from trade_pipeline.core.market.event import DAY, MarketBatch
from trade_pipeline.core.market.export import Exported, export_recording
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.market.source import market_in, open_market
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT, Crash, crashing
from trade_pipeline_tests.core.session import stored

# No order fails by chance: that is drawn from its id.
PLAIN = stored.CONFIG.model_dump() | {"amm": {"failure_rate": 0}}
RECORDED: dict[str, Any] = {"trading": PLAIN, "cell_seconds": 1, "record": True}
DECISIONS = (
    "SELECT c.instrument, c.decided_at, c.decision, c.reason, c.stake_usd, c.confidence, "
    "c.feature_hash, d.content::jsonb - '{uuid,session_id}'::text[] FROM trade.candidates c "
    "JOIN trade.sessions USING (session_id) JOIN trade.research_docs d USING (uuid) "
    "WHERE mode = %s ORDER BY c.decided_at, c.instrument"
)


@pytest.fixture
def store(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Store]:
    with create_database(server) as database:
        yield Store(database, artifacts)


def ask(store: Store, query: str, *values: Any) -> list[Any]:
    with store.database.connect("trade_reader") as connection:
        return connection.execute(query.encode(), values).fetchall()


def exported(store: Store, folder: Path) -> Exported:
    with store.database.connect("trade_reader", autocommit=True) as connection:
        return export_recording(connection, ACCOUNT, folder)


def backtest(store: Store, tape: Exported) -> None:
    kind = market_in(tape.folder)
    feed = open_market(
        kind, data=tape.folder, seed=0, start=0, end=1, simulator=stored.CONFIG.simulator
    )
    start, end = moment_of(tape.start), moment_of(tape.end)
    run_backtest(
        store.database, store.artifacts, feed, start=start, end=end, seed=0,
        config=stored.CONFIG.parse(PLAIN),
    )  # fmt: skip


def require_same_decisions(store: Store) -> None:
    live, again = (ask(store, DECISIONS, mode) for mode in ("paper", "backtest"))
    assert len(live) > 50
    for one, other in zip(live, again, strict=True):
        assert one == other


def test_a_backtest_of_the_exported_tape_makes_the_decisions_of_the_live_session(
    store: Store, tmp_path: Path
) -> None:
    done = paper.run(store, ACCOUNT, **RECORDED)
    tape = exported(store, tmp_path / "tape")
    assert not tape.holes
    backtest(store, tape)
    require_same_decisions(store)
    market = RecordedMarket(tape.folder)
    whole = stored.market(paper.SEED, paper.DAYS)
    events = [one for one in whole.batches(0, market.span()[1] + 1) if len(one)]
    assert len(events) == 1
    first = int(events[0].known_at.searchsorted(market.span()[0]))
    seen, (read,) = events[0].rows(first, len(events[0])), market.batches(0, 1 << 60)
    assert len(read) == len(seen) == done.events
    for f in fields(MarketBatch):
        if f.name != "token":
            assert np.array_equal(getattr(read, f.name), getattr(seen, f.name), equal_nan=True)
    names = [[m.instruments[t] for t in b.token] for m, b in ((market, read), (whole, seen))]
    assert names[0] == names[1]


def test_a_day_of_recorded_pools_is_traded_again_from_the_tape_of_the_session(
    store: Store, recordings: Path, tmp_path: Path
) -> None:
    replay = {
        "market": "uniswap-v2", "data": recordings / "uniswap_v2", "speed": 0, "cell_seconds": 1,
        "start": "2021-09-10T00:00:00Z", "end": "2021-09-11T00:00:00Z",
    }  # fmt: skip
    paper.run(store, ACCOUNT, trading=PLAIN, record=True, replay=replay)
    tape = exported(store, tmp_path / "tape")
    backtest(store, tape)
    require_same_decisions(store)
    assert RecordedMarket(tape.folder).kind == "uniswap-v2"


def test_answers_that_were_lost_are_noted_again(store: Store, lease: Lease) -> None:
    feed = replay_feed(paper.settings(ACCOUNT))
    token, at = np.array([0], np.int32), np.array([stored.START])
    with RecordingFeed(feed, store.database, ACCOUNT, lease.epoch) as recording:
        for _ in range(2):
            recording.facts_at(token, at)
            with recording._writer._lock:
                # As if there had been no room for it.
                recording._writer._waiting.clear()
                recording._writer._length = 0
                recording._writer.lost += 1
        recording.facts_at(token, at)
    assert ask(store, "SELECT count(*) FROM trade.market_facts") == [(1,)]


def lost_writer(self: SeriesWriter) -> None:
    """Killed: nothing that waits is stored."""
    with self._lock:
        self._waiting.clear()
        self._length = 0
    self._ended.set()
    self._thread.join()


def test_sessions_that_were_killed_and_resumed_record_every_event_once_and_decide_the_same(
    store: Store, tmp_path: Path
) -> None:
    crashes = 0
    for after in (12, 25, 10_000):
        with ExitStack() as patched:
            commit = crashing(LiveJournal.commit, after, after=True)
            patched.enter_context(mock.patch.object(LiveJournal, "commit", commit))
            if after < 10_000:
                patched.enter_context(mock.patch.object(SeriesWriter, "close", lost_writer))
            try:
                paper.run(store, ACCOUNT, **RECORDED)
            except Crash:
                crashes += 1
    assert crashes == 2
    tape = exported(store, tmp_path / "tape")
    assert not tape.holes
    twice = ask(
        store,
        "SELECT known_at, number FROM trade.market_series GROUP BY 1, 2 HAVING count(*) > 1",
    )
    assert twice == []
    backtest(store, tape)
    require_same_decisions(store)


class Away:
    """A database that cannot be reached until it is back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.back = threading.Event()
        self.asked = threading.Event()

    def connect(self, *given: Any, **named: Any) -> psycopg.Connection:
        self.asked.set()
        if not self.back.is_set():
            raise StoreUnavailable("it is away")
        return self._store.database.connect(*given, **named)


def minute(number: int) -> Part:
    """Ten events in a minute, of which two are known at once."""
    start = stored.START + number * 60_000_000
    at = start + np.array([0, 0, *range(1, 9)]) * 1_000_000
    prices = np.linspace(1, 2, len(at))
    unknown = np.full(len(at), np.nan)
    events = MarketBatch(np.zeros(len(at), np.int32), at, at, prices, *[unknown] * 11)
    return Part(start, start + 60_000_000, events)


@pytest.fixture
def lease(store: Store) -> Iterator[Lease]:
    with Lease(store.database, ACCOUNT, holder="test", mode="paper") as held:
        yield held


def test_while_the_database_is_away_the_newest_events_wait_and_the_hole_is_told(
    store: Store, lease: Lease, tmp_path: Path
) -> None:
    away = Away(store)
    feed = replay_feed(paper.settings(ACCOUNT))
    with SeriesWriter(away, ACCOUNT, lease.epoch, feed, kept=30) as writer:  # type: ignore[arg-type]
        for number in range(2):
            writer.put(minute(number))
        away.back.set()
        wait_for(lambda: ask(store, "SELECT count(*) FROM trade.market_series") == [(20,)])
        away.back.clear()
        with store.database.connect() as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> "
                "pg_backend_pid() AND datname = current_database() AND query LIKE '%COMMIT%'"
            )
        for number in range(2, 8):
            writer.put(minute(number))
        away.asked.clear()
        assert away.asked.wait(30)
        away.back.set()
    assert writer.lost == 30
    rows = ask(store, "SELECT known_at, number FROM trade.market_series ORDER BY known_at, number")
    assert len(rows) == 50
    assert [number for _, number in rows[:3]] == [0, 1, 0]
    tape = exported(store, tmp_path / "tape")
    hole = (stored.START + 2 * 60_000_000, stored.START + 5 * 60_000_000)
    assert list(tape.holes) == [hole]


@pytest.mark.parametrize("why", ["little room", "read-only"])
def test_what_cannot_be_stored_for_now_waits_and_nothing_of_it_is_lost(
    store: Store, lease: Lease, superuser_url: str, why: str
) -> None:
    feed, asked = replay_feed(paper.settings(ACCOUNT)), Counter[str]()
    with store.database.connect() as connection:
        name = connection.info.dbname

    def read_only(how: str) -> None:
        with psycopg.connect(superuser_url, autocommit=True) as superuser:
            superuser.execute(
                f'ALTER DATABASE "{name}" SET default_transaction_read_only = {how}'.encode()
            )

    def held_back() -> str | None:
        asked[why] += 1
        return why if why == "little room" and not asked["room"] else None

    if why == "read-only":
        read_only("on")
    with SeriesWriter(store.database, ACCOUNT, lease.epoch, feed, held_back=held_back) as writer:
        writer.put(minute(0))
        wait_for(lambda: asked[why] > 1)
        assert ask(store, "SELECT count(*) FROM trade.market_series") == [(0,)]
        asked["room"] = 1
        read_only("off")
        wait_for(lambda: ask(store, "SELECT count(*) FROM trade.market_series") == [(10,)])
    assert writer.lost == 0


def wait_for(is_true: Callable[[], bool]) -> None:
    while not is_true():
        time.sleep(0.02)


def test_a_session_that_was_overtaken_records_nothing_more(store: Store) -> None:
    feed = replay_feed(paper.settings(ACCOUNT))
    with Lease(store.database, ACCOUNT, holder="one", mode="paper") as lease:
        epoch = lease.epoch
    with (
        Lease(store.database, ACCOUNT, holder="other", mode="paper"),
        SeriesWriter(store.database, ACCOUNT, epoch, feed) as writer,
    ):
        writer.put(minute(0))
    assert writer.lost == 10
    assert ask(store, "SELECT count(*) FROM trade.market_series") == [(0,)]
    assert ask(store, "SELECT count(*) FROM trade.market_recordings") == [(0,)]


def test_events_of_a_hole_are_recorded_when_they_are_read_again(store: Store, lease: Lease) -> None:
    config = paper.settings(ACCOUNT)
    feed = replay_feed(config)
    since, resume = stored.START, stored.START + DAY // 4

    async def read(recording: RecordingFeed) -> int:
        return sum([len(batch.events) async for batch in recording.read(since, resume)])

    def record() -> int:
        with RecordingFeed(feed, store.database, ACCOUNT, lease.epoch) as recording:
            return asyncio.run(read(recording))

    with SeriesWriter(store.database, ACCOUNT, lease.epoch, feed) as writer:
        # The hour in the middle was recorded by somebody before: nothing happened in it.
        writer.put(Part(since + DAY // 8, since + DAY // 6, None))
    found = record()
    inside = sum(len(batch) for batch in stored.market(paper.SEED, paper.DAYS).batches(
        since + DAY // 8, since + DAY // 6
    ))  # fmt: skip
    assert inside > 0
    moved = moment_of(since + DAY // 6)
    for _ in range(2):
        # What was on its way during that hour is known after it.
        assert ask(store, "SELECT count(*) FROM trade.market_series") == [(found,)]
        query = "SELECT count(*) FROM trade.market_series WHERE known_at = %s"
        assert ask(store, query, moved)[0][0] >= inside
        assert record() == found


def test_what_is_not_asked_to_be_recorded_is_not(store: Store) -> None:
    paper.run(store, ACCOUNT, days=0.1)
    assert ask(store, "SELECT count(*) FROM trade.market_series") == [(0,)]


def test_a_folder_that_is_there_and_an_account_without_recording_are_refused(
    store: Store, lease: Lease, tmp_path: Path
) -> None:
    with pytest.raises(BadConfig, match=r"account='trading'.*nothing was recorded"):
        exported(store, tmp_path / "tape")
    feed = replay_feed(paper.settings(ACCOUNT))
    with SeriesWriter(store.database, ACCOUNT, lease.epoch, feed) as writer:
        writer.put(minute(0))
    with (
        mock.patch.object(export, "_answers", side_effect=OSError("the disk is full")),
        pytest.raises(OSError, match="full"),
    ):
        exported(store, tmp_path / "tape")
    assert list(tmp_path.iterdir()) == []
    exported(store, tmp_path / "tape")
    with pytest.raises(BadConfig, match="is there already"):
        exported(store, tmp_path / "tape")


Asked = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=40)


@given(Asked, Asked)
def test_notes_give_every_answer_again_also_those_of_a_session_before(
    asked: list[tuple[int, int]], later: list[tuple[int, int]]
) -> None:
    noted: list[tuple[int, int]] = []
    answered: dict[int, int] = {}
    steps: Steps[int] = Steps()
    for part in (asked, later):
        for at, told in part:
            noted += steps.note(at * 10, told)
            answered[at * 10] = told
        # Of one moment the newest row comes last.
        rows = [row for _, row in sorted(enumerate(noted), key=lambda one: (one[1][0], one[0]))]
        for at, told in answered.items():
            assert [row for row in rows if row[0] <= at][-1][1] == told
        steps = Steps.stored(rows, max(answered, default=0))
