"""What sessions read of markets as they arrive is recorded, and its tape decides the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.chain_feed import ChainFeed
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.exchange_feed import ExchangeFeed
from trade_pipeline.core.live.facts import FactLog
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.live.ports import LiveBatch, LiveFeed
from trade_pipeline.core.live.recording import RecordingFeed
from trade_pipeline.core.live.session import LiveRun, LiveSession
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.market.export import Exported, export_recording
from trade_pipeline.core.market.recorded import RecordedMarket
from trade_pipeline.core.replay import replay_all
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.live import test_chain_feed as chain
from trade_pipeline_tests.core.live import test_exchange_feed as exchange
from trade_pipeline_tests.core.market.providers.server import local_server
from trade_pipeline_tests.core.market.recorder.chain import Node, address, small_chain

ACCOUNT = "real"
TRADING: dict[str, Any] = {
    "strategy": {
        "universe": {"min_volume_24h_usd": 0, "min_liquidity_usd": 0, "min_market_cap_usd": 0,
                     "max_market_cap_usd": 1e12, "bar_interval_minutes": 5,
                     "pool_interval_minutes": 1},
        "signal": {"min_confidence": 0, "max_rug_risk": 1, "min_move_24h": 0},
        "protections": {"daily_loss_limit": 1, "max_drawdown": 1},
    },
    "amm": {"failure_rate": 0},
}  # fmt: skip
LIMITS = {"max_event_age_seconds": 86_400, "max_silence_seconds": 86_400}
Step = Callable[[], None]


@pytest.fixture
def store(fresh_database: Database, artifacts: ArtifactStore) -> Store:
    return Store(fresh_database, artifacts)


class Stepped:
    """A feed whose market moves on when the session has worked on all that was told, to its end."""

    def __init__(self, feed: Any, steps: Sequence[Step]) -> None:
        self.kind, self.instruments = feed.kind, feed.instruments
        self.session: Any = None
        self._feed, self._steps = feed, list(steps)

    async def read(self, since: int, resume: int) -> AsyncIterator[LiveBatch]:
        reading = self._feed.read(since, resume)
        async for batch in reading:
            yield batch
            if batch.warm_up:
                continue
            while self.session._reached < batch.upto:
                await asyncio.sleep(0.001)
            if not self._steps:
                break
            self._steps.pop(0)()
        await reading.aclose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._feed, name)


async def record(store: Store, feed: Any, clock: Clock, steps: Sequence[Step]) -> LiveRun:
    """A recorded paper session of a process of its own."""
    config = LiveConfig.parse({"account": ACCOUNT, "trading": TRADING, "limits": LIMITS})
    with ExitStack() as opened:
        connection = opened.enter_context(store.database.connect(autocommit=True))
        lease = opened.enter_context(Lease(store.database, ACCOUNT, holder="test", mode="paper"))
        stepped: Any = Stepped(feed, steps)
        recording: LiveFeed = opened.enter_context(
            RecordingFeed(stepped, store.database, ACCOUNT, lease.epoch)
        )
        venue = PaperVenue(connection, ACCOUNT, config.trading.venue(feed.kind))
        stepped.session = LiveSession(store, config, recording, venue, clock, lease)
        return await asyncio.wait_for(stepped.session.run(), 60)


def exported(store: Store, folder: Path) -> Exported:
    with store.database.connect("trade_reader", autocommit=True) as connection:
        return export_recording(connection, ACCOUNT, folder)


def decisions(store: Store, mode: str) -> list[Any]:
    with store.database.connect("trade_reader") as connection:
        return connection.execute(
            "SELECT c.decided_at, c.instrument, c.decision, c.reason, c.stake_usd, c.confidence, "
            "c.feature_hash, (d.content::jsonb - '{uuid,session_id,raw_answers}'::text[])::text "
            "FROM trade.candidates c JOIN trade.sessions USING (session_id) "
            "JOIN trade.research_docs d USING (uuid) WHERE mode = %s ORDER BY 1, 2",
            (mode,),
        ).fetchall()


def results(store: Store, mode: str) -> list[Any]:
    """Of trades that closed before the end."""
    with store.database.connect("trade_reader") as connection:
        return connection.execute(
            "SELECT c.decided_at, c.instrument, o.content::jsonb - '{uuid}'::text[] "
            "FROM trade.outcomes o JOIN trade.candidates c USING (uuid) "
            "JOIN trade.sessions s ON s.session_id = c.session_id WHERE mode = %s "
            "AND o.kind = 'realised' AND termination_reason <> 'session_end' ORDER BY 1, 2",
            (mode,),
        ).fetchall()


def require_same_decisions(store: Store, tape: Exported) -> list[Any]:
    """Bit for bit; of a tape's session there are no raw answers.  Gives the decisions."""
    assert not tape.holes
    start, end = moment_of(tape.start), moment_of(tape.end)
    run_backtest(
        store.database, store.artifacts, RecordedMarket(tape.folder), start=start, end=end, seed=0,
        config=LiveConfig.parse({"trading": TRADING}).trading,
    )  # fmt: skip
    live, again = decisions(store, "paper"), decisions(store, "backtest")
    assert [one[:2] for one in live] == [one[:2] for one in again]
    for one, other in zip(live, again, strict=True):
        assert one == other
    assert results(store, "paper") == results(store, "backtest")
    replay = replay_all(store, data=[tape.folder])
    assert [one.text for session in replay.sessions for one in session.differences] == []
    assert replay.totals["identical"] == replay.totals["trades"] == 2 * len(live)
    return live


def busy_chain() -> Node:
    """The small chain; two pools trade but for a pause, and from block 4,350 on a new one, too."""
    node = small_chain()
    node.tokens[address(4)] = ("FOUR", 18, 10_000 * 10**18)
    node.create(4_350, address(0xA4), address(4))
    for block in (*range(4_200, 4_400, 3), *range(4_412, 4_600, 3)):
        tokens = (400 - block // 100) * 10**18
        node.sync(block, address(0xA2), tokens, 5 * 10**18 + block * 10**15)
        if block >= 4_350:
            token = 900 * 10**18 - block * block * 10**13
            node.sync(block + 1, address(0xA4), 8 * 10**18 + (block % 7) * 10**17, token)
    return node


@pytest.mark.parametrize("missed", [1, 5, 15])
def test_recorded_sessions_over_a_chain_are_decided_again_from_their_tape(
    store: Store, tmp_path: Path, missed: int
) -> None:
    """Blocks that nobody watched are history of the session after them; on the tape, too."""
    with local_server() as server:

        def session(head: int, last: int) -> LiveRun:
            live = chain.Live(server, head)
            live.node = busy_chain()
            server.routes["/node"] = live.node.serve
            live.move(head)
            facts = FactLog(DAY)
            feed = ChainFeed(live.feed._config, live.clock, live.feed._open, facts)

            def step(block: int) -> None:
                live.move(block)
                facts.note(0, "token", live.clock.micros(), {"holders": block // 20}, ("a",))

            steps = [lambda block=block: step(block) for block in range(head + 4, last + 1, 4)]
            return asyncio.run(record(store, feed, live.clock, steps))

        # The newest events of the pools are those that the first session saw last.
        runs = [session(4_300, 4_400)]
        runs.append(session(4_404 + 4 * missed, 4_480))
        runs.append(session(4_484 + 4 * missed, 4_580))
    assert {run.why for run in runs} == {"market"}
    tape = exported(store, tmp_path / "tape")
    names = {one.name for one in RecordedMarket(tape.folder).instruments}
    assert names == {address(pool) for pool in (0xA1, 0xA2, 0xA4)}
    assert RecordedMarket(tape.folder).away
    decided = require_same_decisions(store, tape)
    assert len(decided) == sum(run.decisions for run in runs) > 20
    assert address(0xA4) in {one[1] for one in decided}
    assert len(results(store, "paper")) > 0


def test_a_recorded_session_over_an_exchange_is_decided_again_from_its_tape(
    store: Store, tmp_path: Path
) -> None:
    async def session(now: int, hours: int, number: int) -> LiveRun:
        folder = tmp_path / f"exchange{number}"
        async with exchange.served(folder, now) as live:
            facts = FactLog(DAY)
            feed = ExchangeFeed(live.feed._config, live.clock, live.exchange, facts)
            facts.note_supply(0, live.clock.micros(), exchange.SUPPLY * number)

            def step() -> None:
                live.close_hour()
                facts.note(0, "coin", live.clock.micros(), {"holders": number}, ("a",))
                facts.note_supply(1, live.clock.micros(), exchange.SUPPLY)

            return await record(store, feed, live.clock, [step] * hours)

    first = asyncio.run(session(exchange.NOW, 4, 1))
    again = asyncio.run(session(exchange.NOW + 5 * HOUR, 3, 2))
    decided = require_same_decisions(store, exported(store, tmp_path / "tape"))
    assert len(decided) == first.decisions + again.decisions > 8
