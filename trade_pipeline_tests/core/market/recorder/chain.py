"""A made chain with Uniswap V2 on it, and a node that tells of it by JSON-RPC."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

from trade_pipeline.core.market.recorder.contracts import PAIR_CREATED, SYNC, Deployment
from trade_pipeline_tests.core.market.providers.server import Reply, Request

PLACE = Deployment()
START_TIME = 1_700_000_000
SECONDS = 12
# token0() and token1() of a pool.
_SIDES = ("0x0dfe1681", "0xd21220a7")


def word(number: int) -> str:
    return f"{number:064x}"


def address(number: int) -> str:
    return f"0x{number:040x}"


@dataclass
class Node:
    """Answers as its chain is now.

    Attributes:
        head: newest block; the final one lies 10 before.
        fork: blocks from here on have other hashes than the first chain's.
        most_blocks: more at once are refused.
        busy: how many requests are refused first.
        pairs: whether WETH is a pool's first token, and its other one, for those that are asked.
        keeps_states: whether it knows states of old blocks.
    """

    head: int = 5_000
    fork: int | None = None
    most_blocks: int = 10_000
    busy: int = 0
    keeps_states: bool = True
    logs: list[dict[str, Any]] = field(default_factory=list)
    tokens: dict[str, tuple[str, int, int]] = field(default_factory=dict)
    pairs: dict[str, tuple[bool, str]] = field(default_factory=dict)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    http_requests: int = 0

    def hash(self, block: int) -> str:
        version = 0 if self.fork is None or block < self.fork else self.fork
        return "0x" + hashlib.sha256(f"{block} {version}".encode()).hexdigest()

    def emit(self, block: int, where: str, topics: list[str], data: str) -> None:
        log = {"address": where, "topics": topics, "data": "0x" + data, "block": block}
        self.logs.append(log | {"index": len(self.logs)})

    def create(self, block: int, pool: str, token: str, *, weth_first: bool = True) -> None:
        pair = [PLACE.weth, token] if weth_first else [token, PLACE.weth]
        topics = [PAIR_CREATED, *("0x" + word(int(a, 16)) for a in pair)]
        self.emit(block, PLACE.factory, topics, word(int(pool, 16)) + word(1))

    def sync(self, block: int, pool: str, reserve0: int, reserve1: int) -> None:
        self.emit(block, pool, [SYNC], word(reserve0) + word(reserve1))

    def price(self, block: int, usd: float) -> None:
        """The ETH price from a block on."""
        self.sync(block, PLACE.price_pool, round(usd * 1000 * 10**6), 1000 * 10**18)

    def serve(self, request: Request) -> Reply:
        self.http_requests += 1
        if self.busy > 0:
            self.busy -= 1
            if self.busy % 2:
                return Reply(status=429)
            error = {"code": -32005, "message": "daily request count exceeded, rate limited"}
            return Reply({"jsonrpc": "2.0", "id": None, "error": error})
        asked = json.loads(request.body)
        return Reply([{"jsonrpc": "2.0", "id": a["id"], **self.answer(a)} for a in asked])

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        method, params = asked["method"], asked["params"]
        if method == "eth_getLogs":
            return self.get_logs(params[0])
        if method == "eth_getBlockByNumber":
            named = {"latest": self.head, "finalized": self.head - 10}
            block = named[params[0]] if params[0] in named else int(params[0], 16)
            if block > self.head:
                return {"result": None}
            stamp = hex(START_TIME + block * SECONDS)
            return {"result": {"number": hex(block), "hash": self.hash(block), "timestamp": stamp}}
        assert method == "eth_call"
        return self.call(params[0]["to"], params[0]["data"], int(params[1], 16))

    def get_logs(self, wanted: dict[str, Any]) -> dict[str, Any]:
        first, last = int(wanted["fromBlock"], 16), int(wanted["toBlock"], 16)
        if last - first + 1 > self.most_blocks:
            return {"error": {"code": -32005, "message": "query returned more than 10000 results"}}
        self.ranges.append((first, last))
        found = [
            {
                "address": log["address"],
                "topics": log["topics"],
                "data": log["data"],
                "blockNumber": hex(log["block"]),
                "blockHash": self.hash(log["block"]),
                "logIndex": hex(log["index"]),
                "removed": False,
            }
            for log in self.logs
            if first <= log["block"] <= last and log["topics"][0] in wanted["topics"][0]
        ]
        return {"result": found[::-1]}

    def call(self, to: str, selector: str, block: int) -> dict[str, Any]:
        if not self.keeps_states and block < self.head - 128:
            return {"error": {"code": -32000, "message": "missing trie node 00ab"}}
        if selector in _SIDES:
            if to not in self.pairs:
                return {"error": {"code": 3, "message": "execution reverted"}}
            weth_first, token = self.pairs[to]
            is_weth = weth_first == (selector == _SIDES[0])
            return {"result": "0x" + word(int(PLACE.weth if is_weth else token, 16))}
        symbol, decimals, supply = self.tokens.get(to, ("", -1, 0))
        if decimals < 0:
            return {"error": {"code": 3, "message": "execution reverted"}}
        text = symbol.encode()
        if symbol.isupper():
            told = word(32) + word(len(text)) + text.hex().ljust(64, "0")
        else:
            told = text.hex().ljust(64, "0")  # as old tokens do
        return {
            "result": "0x"
            + {
                "0x313ce567": word(decimals),
                "0x95d89b41": told,
                "0x18160ddd": word(supply),
            }[selector]
        }


def small_chain() -> Node:
    """Three pools from block 2,000 on: one on each side of WETH, one whose token tells nothing."""
    node = Node()
    for block in range(700, 5_000, 150):
        node.price(block, 2_000 + block / 10)
    node.tokens = {
        address(1): ("ONE", 9, 1_000_000 * 10**9),
        address(2): ("two", 18, 500 * 10**18),
    }
    node.create(1_500, address(0xA0), address(9))  # before the range
    node.sync(2_100, address(0xA0), 10**18, 10**18)
    node.create(2_000, address(0xA1), address(1))
    node.sync(2_000, address(0xA1), 10 * 10**18, 900_000 * 10**9)
    node.create(2_600, address(0xA2), address(2), weth_first=False)
    node.sync(2_600, address(0xA2), 400 * 10**18, 5 * 10**18)
    node.create(2_700, address(0xA3), address(3))
    node.sync(2_700, address(0xA3), 1, 1)
    node.emit(2_800, address(0xBAD), [SYNC], word(1) + word(1))  # of another exchange
    for block in range(2_010, 4_500, 37):
        node.sync(block, address(0xA1), (10**19) + block * 10**15, 900_000 * 10**9 - block * 10**9)
    return node
