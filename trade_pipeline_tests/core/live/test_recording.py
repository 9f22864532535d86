"""What a live session read is recorded once, and a backtest of the tape decides the same."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.fact_notes import Steps
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.run import replay_feed
from trade_pipeline.core.live.recording import RecordingFeed
from trade_pipeline.core.live.series_writer import SeriesWriter
from trade_pipeline.core.market.event import MarketBatch
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
