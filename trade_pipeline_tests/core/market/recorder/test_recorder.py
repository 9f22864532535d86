"""Recording a tape from a node: what it holds, limits, kills, reorganisations, and its use."""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.providers.errors import ProviderError, ProviderUnavailable
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.recorder.contracts import SYNC
from trade_pipeline.core.market.recorder.node import EthereumNode, RangeRefused
from trade_pipeline.core.market.recorder.uniswap_v2 import Recording, UniswapV2Recorder
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, Request
from trade_pipeline_tests.core.market.recorder.chain import (
    SECONDS,
    START_TIME,
    Node,
    address,
    small_chain,
)

CANARY = "canary-5f1c9d"
FILES = ("tape.parquet", "pools.parquet", "eth_usd.parquet")


class Killed(Exception):
    """The process ends here."""


@pytest.fixture
def node() -> Node:
    return small_chain()


@pytest.fixture
def url(server_of_answers: LocalServer, node: Node) -> str:
    path = f"/{CANARY}"
    server_of_answers.routes[path] = node.serve
    return server_of_answers.url + path


def record(
    url: str,
    folder: Path,
    first: int = 2_000,
    last: int = 4_600,
    *,
    kill_at: int | None = None,
    eth_usd: Path | None = None,
    attempts: int = 4,
) -> Recording:
    def progress(done: int, total: int) -> None:
        if kill_at is not None and done >= kill_at:
            raise Killed

    async def run() -> Recording:
        config = ClientConfig(
            requests=10_000, attempts=attempts, wait_initial_seconds=0, timeout_seconds=5
        )
        async with EthereumNode(SecretStr(url), MarketClock(0), config) as node:
            return await UniswapV2Recorder(node, folder, eth_usd=eth_usd).record(
                first, last, progress
            )

    return asyncio.run(run())


def digest(folder: Path) -> list[str]:
    return [hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES]


def at(block: int) -> int:
    return (START_TIME + block * SECONDS) * 1_000_000


def test_the_tape_holds_the_pools_of_the_range_and_every_change_of_their_reserves(
    url: str, tmp_path: Path
) -> None:
    told = record(url, tmp_path)
    assert told == Recording(2_000, 4_600, told.events, 2, left_out=1, unknown_supplies=0)
    tape = UniswapV2Tape(tmp_path)
    one, two = tape.instruments
    assert (one.name, one.contract_address, one.symbol) == (address(0xA1), address(1), "ONE")
    assert (two.symbol, two.created_at) == ("two", at(2_600))
    (batch,) = tape.batches(0, 2**62)
    assert len(batch) == told.events == 70
    first = batch.event(0)
    assert (first.known_at, first.reserve_quote, first.reserve_token) == (at(2_000), 10, 900_000)
    # An hour that has ended closes at its last price: block 1,750's, 1,900's hour still runs.
    assert first.quote_usd in {2_000 + b / 10 for b in range(700, 2_000, 150)}
    assert first.market_cap_usd == pytest.approx(first.price_usd * 1_000_000)
    second = next(batch.event(i) for i in range(len(batch)) if batch.token[i] == 1)
    assert (second.reserve_quote, second.reserve_token) == (5.0, 400.0)


def test_the_eth_price_of_an_hour_is_its_last_one_and_known_once_it_has_ended(
    url: str, tmp_path: Path
) -> None:
    record(url, tmp_path)
    rows = pq.read_table(tmp_path / "eth_usd.parquet").to_pylist()
    prices = {at(b) // 3_600_000_000: 2_000 + b / 10 for b in range(850, 5_000, 150)}
    for row in rows:
        begin = micros(row["timestamp"])
        assert begin % 3_600_000_000 == 0
        assert begin + 3_600_000_000 <= at(4_600)
        assert row["eth_usd"] == prices[begin // 3_600_000_000]
    assert len(rows) == len({r["timestamp"] for r in rows}) > 10


def test_a_node_that_refuses_large_ranges_is_asked_for_smaller_ones(
    url: str, node: Node, tmp_path: Path
) -> None:
    record(url, tmp_path / "whole")
    node.most_blocks, node.ranges = 170, []
    record(url, tmp_path / "small")
    assert digest(tmp_path / "small") == digest(tmp_path / "whole")
    covered = [block for first, last in node.ranges for block in range(first, last + 1)]
    assert covered == list(range(800, 4_601))
    assert max(last - first + 1 for first, last in node.ranges) <= 170


def test_a_node_that_refuses_a_single_block_is_an_error_with_its_words(
    url: str, node: Node, tmp_path: Path
) -> None:
    node.most_blocks = 0
    with pytest.raises(RangeRefused, match="query returned more than 10000 results"):
        record(url, tmp_path)


@pytest.mark.parametrize("kill_at", [1, 1_500, 3_000, 3_801])
def test_a_recording_that_was_killed_goes_on_where_it_stood(
    url: str, node: Node, tmp_path: Path, kill_at: int
) -> None:
    record(url, tmp_path / "whole")
    node.most_blocks, node.ranges = 400, []
    with pytest.raises(Killed):
        record(url, tmp_path / "killed", kill_at=kill_at)
    (tmp_path / "killed" / ".recording" / "left.tmp").write_bytes(b"half")
    record(url, tmp_path / "killed")
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    assert [f for f, _ in node.ranges] == sorted({f for f, _ in node.ranges}), "read twice"


def test_a_recording_can_be_continued_to_a_later_block(url: str, tmp_path: Path) -> None:
    record(url, tmp_path / "whole")
    record(url, tmp_path / "grown", last=3_000)
    record(url, tmp_path / "grown")
    assert digest(tmp_path / "grown") == digest(tmp_path / "whole")


@pytest.mark.parametrize(
    ("fork", "until"),
    [(900, 4_000), (2_500, 4_000), (3_950, 4_000), (3_950, 4_600)],
    ids=["before all", "in the middle", "in the last part", "of a whole recording"],
)
def test_what_was_read_of_a_chain_that_is_no_more_is_read_again(
    url: str, node: Node, tmp_path: Path, fork: int, until: int
) -> None:
    node.most_blocks = 400
    record(url, tmp_path / "forked", last=until)
    node.fork = fork
    node.logs = [
        log
        for log in node.logs
        if log["block"] < fork or log["block"] % 2 or log["topics"][0] != SYNC
    ]
    record(url, tmp_path / "forked")
    record(url, tmp_path / "fresh")
    assert digest(tmp_path / "forked") == digest(tmp_path / "fresh")


def test_a_reorganisation_between_logs_and_headers_is_noticed(
    server_of_answers: LocalServer,
    node: Node,
    url: str,
    tmp_path: Path,
) -> None:
    record(url, tmp_path / "old")
    reads = 0

    def forks_once(request: Request) -> Reply:
        nonlocal reads
        reply = node.serve(request)
        if b"eth_getLogs" in request.body:
            reads += 1
            if reads == 2:
                node.fork = 1_900
        return reply

    server_of_answers.routes[f"/{CANARY}"] = forks_once
    record(url, tmp_path / "new")
    assert reads > 3
    hashes = {
        json.loads(pq.read_schema(p).metadata[b"recording"])["last_hash"]
        for p in (tmp_path / "new" / ".recording").glob("*.parquet")
    }
    assert hashes <= {node.hash(block) for block in range(800, 4_601)}


def test_a_busy_node_is_asked_again(url: str, node: Node, tmp_path: Path) -> None:
    record(url, tmp_path / "calm")
    node.busy = 3
    record(url, tmp_path / "busy")
    assert digest(tmp_path / "busy") == digest(tmp_path / "calm")


def test_a_node_that_stays_busy_is_an_error_that_tells_no_url(
    url: str, node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    node.busy = 10**6
    with pytest.raises(ProviderUnavailable) as caught:
        record(url, tmp_path)
    told: BaseException | None = caught.value
    while told is not None:
        assert CANARY not in repr(told)
        told = told.__cause__ or told.__context__
    assert CANARY not in caplog.text


def test_a_node_without_old_states_leaves_supplies_unknown(
    url: str, node: Node, tmp_path: Path
) -> None:
    node.keeps_states = False
    assert record(url, tmp_path).unknown_supplies == 2
    tape = UniswapV2Tape(tmp_path)
    assert [i.symbol for i in tape.instruments] == ["ONE", "two"]
    (batch,) = tape.batches(0, 2**62)
    assert all(math.isnan(cap) for cap in batch.market_cap_usd)
    assert batch.event(0).reserve_token == 900_000


def test_prices_of_a_file_replace_the_price_pool(url: str, node: Node, tmp_path: Path) -> None:
    record(url, tmp_path / "a")
    given = tmp_path / "a" / "eth_usd.parquet"
    node.ranges = []
    record(url, tmp_path / "b", eth_usd=given)
    assert min(first for first, _ in node.ranges) == 2_000
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


@pytest.mark.parametrize(
    ("first", "last", "message"),
    [
        (2_000, 1_999, "from_block=2000, to_block=1999"),
        (2_000, 4_991, "to_block=4991: the newest block that is final is 4990"),
    ],
)
def test_an_impossible_range_is_refused(
    url: str, tmp_path: Path, first: int, last: int, message: str
) -> None:
    with pytest.raises(BadConfig, match=message):
        record(url, tmp_path, first, last)


def test_a_folder_with_another_recording_is_left_alone(url: str, tmp_path: Path) -> None:
    record(url, tmp_path)
    before = digest(tmp_path)
    with pytest.raises(BadConfig, match="block 2000"):
        record(url, tmp_path, first=2_500)
    assert digest(tmp_path) == before


def test_a_range_without_pools_is_an_error(url: str, tmp_path: Path) -> None:
    with pytest.raises(BadMarketData, match="no pool of WETH"):
        record(url, tmp_path, 3_000, 3_100)


@pytest.mark.parametrize(
    "reply",
    [Reply([]), Reply([{"id": 0}]), Reply(b"<html>"), Reply([{"id": 0, "result": "no"}])],
)
def test_a_node_that_answers_nonsense_is_refused(
    server_of_answers: LocalServer,
    url: str,
    tmp_path: Path,
    reply: Reply,
) -> None:
    server_of_answers.routes[f"/{CANARY}"] = reply
    with pytest.raises(ProviderError):
        record(url, tmp_path)
