"""Pools from a node's newest blocks: what arrives is what a tape of the same blocks holds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.live import chain_feed
from trade_pipeline.core.live.chain_feed import ChainFeed
from trade_pipeline.core.live.facts import FactLog
from trade_pipeline.core.live.markets import ChainMarketConfig
from trade_pipeline.core.live.ports import LiveBatch
from trade_pipeline.core.market.event import DAY, MarketBatch
from trade_pipeline.core.market.moments import joined
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.recorder.node import EthereumNode
from trade_pipeline.core.market.recorder.uniswap_v2 import UniswapV2Recorder
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
from trade_pipeline_tests.core.market.providers.server import (
    LocalServer,
    Reply,
    Request,
    local_server,
)
from trade_pipeline_tests.core.market.recorder.chain import (
    SECONDS,
    START_TIME,
    address,
    small_chain,
)

FIRST, LAST = 2_000, 4_600
FAST = ClientConfig(
    requests=100_000, attempts=2, wait_initial_seconds=0, timeout_seconds=0.3, open_seconds=0
)
NAMES = [field.name for field in fields(MarketBatch)]
Route = Callable[[Request], Reply]


def at(block: int) -> int:
    return (START_TIME + block * SECONDS) * 1_000_000


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine tells no batch too early."""
    monkeypatch.setattr(chain_feed, "_GATHERED", 30.0)


class Live:
    """A node that is read, whose clock stands a second after its newest block."""

    def __init__(self, server: LocalServer, head: int, **config: Any) -> None:
        self.node = small_chain()
        self.server, self.url = server, server.url + "/node"
        server.routes["/node"] = self.node.serve
        given = {"pool_days": 0, "confirmations": 0, "poll_seconds": 0.002} | config
        self.clock = MarketClock(0)
        self.feed = ChainFeed(
            ChainMarketConfig.model_validate(given),
            self.clock,
            lambda: EthereumNode(SecretStr(self.url), self.clock, FAST),
            FactLog(DAY),
        )
        self.move(head)

    def move(self, head: int) -> None:
        self.node.head = head
        self.clock.advance(at(head) + 1_000_000)

    def read(
        self, resume: int, *steps: int | Callable[[], None], since: int = FIRST, to: int = LAST
    ) -> list[LiveBatch]:
        """The batches until a block has been told of; each step moves the head, or changes."""
        waiting = list(steps)

        async def run() -> list[LiveBatch]:
            found: list[LiveBatch] = []
            reading = self.feed.read(at(since), at(resume))
            async for batch in reading:
                found.append(batch)
                if batch.warm_up:
                    continue
                if waiting:
                    step = waiting.pop(0)
                    self.move(step) if isinstance(step, int) else step()
                elif max(_last(one) for one in found) >= at(to):
                    break
                else:
                    # The clock goes on, so that quiet batches come.
                    self.clock.advance(self.clock.micros() + 60_000_000)
            await reading.aclose()  # type: ignore[attr-defined]
            return found

        return asyncio.run(asyncio.wait_for(run(), 30))


def _last(batch: LiveBatch) -> int:
    return int(batch.events.event_time.max(initial=0))


def whole(batches: list[LiveBatch]) -> MarketBatch:
    parts = [one.events for one in batches if len(one.events)]
    result = parts[0]
    for part in parts[1:]:
        result = joined(result, part)
    return result


def assert_same(found: MarketBatch, tape: MarketBatch, *, but: tuple[str, ...] = ()) -> None:
    """Bit for bit; NaN is equal to NaN."""
    assert len(found) == len(tape)
    for name in set(NAMES) - set(but):
        one, other = getattr(found, name), getattr(tape, name)
        assert np.asarray(one).tobytes() == np.asarray(other).tobytes(), name


@pytest.fixture
def server() -> Iterator[LocalServer]:
    with local_server() as served:
        yield served


# The newest event of the chain, which all readings wait for.
NEWEST = max(range(2_010, 4_500, 37))


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> UniswapV2Tape:
    folder = tmp_path_factory.mktemp("tape")
    with local_server() as served:
        served.routes["/node"] = small_chain().serve

        async def record() -> None:
            url = SecretStr(served.url + "/node")
            async with EthereumNode(url, MarketClock(0), FAST) as node:
                await UniswapV2Recorder(node, folder).record(FIRST, LAST)

        asyncio.run(record())
    return UniswapV2Tape(folder)


@pytest.fixture
def events(tape: UniswapV2Tape) -> MarketBatch:
    (batch,) = tape.batches(0, 2**62)
    return batch


def test_history_is_what_a_tape_of_the_same_blocks_holds(
    server: LocalServer, tape: UniswapV2Tape, events: MarketBatch
) -> None:
    live = Live(server, LAST)
    batches = live.read(LAST, to=NEWEST)
    assert [one.warm_up for one in batches][-1:] == [False]
    assert_same(whole(batches), events)
    assert live.feed.instruments == tape.instruments


def test_what_arrives_is_what_a_tape_holds_but_known_when_it_arrived(
    server: LocalServer, tape: UniswapV2Tape, events: MarketBatch
) -> None:
    live = Live(server, 2_200)
    heads = [2_300, 2_307, 2_601, 2_650, 2_700, *range(2_900, LAST + 1, 200)]
    batches = live.read(2_200, *heads, to=NEWEST)
    found = whole(batches)
    assert_same(found, events, but=("known_at",))
    assert live.feed.instruments == tape.instruments, "the second pool was created meanwhile"
    new = [one for one in batches if not one.warm_up]
    assert len(new) > 10
    for one in new:
        assert (one.events.known_at == one.upto - 1).all()
        assert one.behind == 0
    assert (np.diff(found.known_at) >= 0).all()
    assert (found.known_at >= found.event_time).all()


def test_a_reading_that_begins_again_loses_and_doubles_nothing(
    server: LocalServer, events: MarketBatch
) -> None:
    live = Live(server, 2_900)
    live.read(2_200, 2_950, 3_000, 3_100, to=3_000)
    resume = live.node.head
    live.move(3_500)
    again = live.read(resume, *range(3_600, LAST + 1, 250), to=NEWEST)
    assert_same(whole(again), events, but=("known_at",))
    # Of what was missed only the newest of each pool is looked at, as something that is known now.
    first = next(one for one in again if not one.warm_up)
    assert first.events.token.tolist() == [0]
    assert first.events.known_at.tolist() == [at(3_500) + 1_000_000]
    history = whole([one for one in again if one.warm_up])
    assert (history.known_at == history.event_time).all()


def test_faults_of_the_node_lose_and_double_nothing(
    server: LocalServer, events: MarketBatch
) -> None:
    live = Live(server, 2_200)
    faults: Iterator[Reply | None] = iter(
        [Reply(status=429), None, None, Reply(status=500), None, Reply([], cut=True), None, None,
         Reply(b"<html>"), None, Reply([], delay_seconds=0.4), *[Reply(status=503)] * 6] * 2
    )  # fmt: skip
    begun = 0

    def serve(request: Request) -> Reply:
        nonlocal begun
        begun += 1
        fault = next(faults, None) if begun > 20 else None
        return live.node.serve(request) if fault is None else fault

    server.routes["/node"] = serve
    live.node.most_blocks = 300
    batches = live.read(2_200, *range(2_300, LAST + 1, 230), to=NEWEST)
    assert next(faults, "all") == "all"
    assert_same(whole(batches), events, but=("known_at",))


def test_time_goes_on_while_the_node_is_down_and_the_reader_says_that_it_is_behind(
    server: LocalServer, events: MarketBatch
) -> None:
    live = Live(server, 2_200)
    down = Reply(status=503)

    def fall() -> None:
        server.routes["/node"] = down
        live.clock.advance(live.clock.micros() + 90_000_000)

    def still() -> None:
        assert live.feed.failure is not None
        live.clock.advance(live.clock.micros() + 90_000_000)

    def rise() -> None:
        server.routes["/node"] = live.node.serve
        live.move(LAST)

    batches = live.read(2_200, 2_210, fall, still, rise, to=NEWEST)
    behind = [one.behind for one in batches if not one.warm_up and not len(one.events)]
    assert behind[-2:] == sorted(behind[-2:])
    assert behind[-1] > 150
    assert_same(whole(batches), events, but=("known_at",))
    assert live.feed.failure is None


def test_blocks_that_were_replaced_are_corrected_by_the_newest_state(server: LocalServer) -> None:
    live = Live(server, 3_000)
    node = live.node
    gone = [b for b in range(2_010, 4_500, 37) if 3_000 < b <= 3_050]

    def fork() -> None:
        node.fork = gone[0]
        node.logs = [log for log in node.logs if log["block"] not in gone]
        node.sync(3_051, address(0xA2), 300 * 10**18, 6 * 10**18)
        live.move(3_052)

    batches = live.read(3_000, 3_050, fork, to=3_051)
    assert live.feed.reorganisations == 1
    told = whole(batches)
    rows = np.flatnonzero(told.event_time >= at(gone[0]))
    by_token = {int(told.token[row]): told.event(row) for row in rows}
    before = max(b for b in range(2_010, 3_000, 37))
    assert by_token[0].reserve_quote == (10**19 + before * 10**15) / 10**18, "as if nothing was"
    assert (by_token[0].volume_usd, by_token[0].liquidity_change_usd) == (0, 0)
    assert (by_token[1].reserve_quote, by_token[1].reserve_token) == (6.0, 300.0)
    assert by_token[1].volume_usd == by_token[1].quote_usd, "one WETH more than before"
    assert (np.diff(told.known_at) >= 0).all()


def test_confirmations_hold_blocks_back(server: LocalServer) -> None:
    live = Live(server, NEWEST + 2, confirmations=3)
    batches = live.read(2_200, to=NEWEST - 37)
    assert _last(batches[-1]) < at(NEWEST)
    live = Live(server, NEWEST + 3, confirmations=3)
    assert at(NEWEST) == max(map(_last, live.read(2_200, to=NEWEST)))


def test_older_pools_are_followed_by_their_age_or_by_name(
    server: LocalServer, events: MarketBatch
) -> None:
    for config in ({"pool_days": 1}, {"pools": [address(0xA1)]}):
        live = Live(server, LAST, **config)
        live.node.pairs[address(0xA1)] = (True, address(1))
        found = whole(live.read(LAST, since=3_500, to=NEWEST))
        kept = events.rows(int(events.event_time.searchsorted(at(3_500))), len(events))
        first, later = found.rows(0, 1), found.rows(1, len(found))
        wrong = ("market_cap_usd",) if "pools" in config else ()
        assert_same(later, kept.rows(1, len(kept)), but=wrong)
        assert first.reserve_quote == kept.reserve_quote[0]


def test_an_address_that_is_no_pool_is_refused(server: LocalServer) -> None:
    live = Live(server, LAST, pools=[address(0xBAD)])
    with pytest.raises(BadConfig, match="is no pool of WETH"):
        live.read(LAST)
