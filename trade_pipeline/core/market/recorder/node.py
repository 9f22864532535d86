"""An Ethereum node by JSON-RPC: logs, block headers and calls.

A node's URL often holds a key: no error and no log tells it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.providers.errors import (
    ProviderAnswerInvalid,
    ProviderError,
    ProviderRefused,
    ProviderUnavailable,
)
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Answer, Fields, ProviderClient

BATCH = 100
# A chain without finalized blocks: how deep a block must lie.
CONFIRMATIONS = 64
_TOO_MUCH = (-32005, -32029, -32097)
# What nodes call a contract that refuses, and a state that they no longer have.
_NO_VALUE = ("revert", "missing trie", "state", "header not found", "invalid opcode", "out of gas")


class RangeRefused(ProviderError):
    """The node does not give the logs of so many blocks at once."""


def _whole(value: Any) -> int:
    if not isinstance(value, str):
        raise ValueError("a hexadecimal number is expected")
    return int(value, 16)


def _bytes(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("hexadecimal bytes are expected")
    return bytes.fromhex(value.removeprefix("0x"))


Whole = Annotated[int, BeforeValidator(_whole)]
Hex = Annotated[bytes, BeforeValidator(_bytes)]


class Log(Fields):
    """One event that a contract emitted."""

    address: str
    topics: list[str]
    data: Hex
    block: Whole = Field(alias="blockNumber")
    block_hash: str = Field(alias="blockHash")
    log_index: Whole = Field(alias="logIndex")
    removed: bool = False


class Header(Fields):
    """A block: ``timestamp`` is in seconds since 1970-01-01 UTC."""

    number: Whole
    hash: str
    timestamp: Whole


class _Problem(Fields):
    code: int
    message: str = ""

    def means_busy(self) -> bool:
        """Too many requests; the same codes also mean too many logs."""
        text = self.message.lower()
        return self.code == 429 or (
            self.code in _TOO_MUCH and ("rate" in text or "request" in text)
        )


class _Reply(Fields):
    id: int | None
    result: Any = None
    error: _Problem | None = None


class _Logs(Fields):
    result: list[Log]


@dataclass(frozen=True, slots=True)
class Call:
    """A question to a contract as of a block."""

    to: str
    data: str
    block: int


class EthereumNode:
    """Asks one node.  Use with ``async with``.

    Raises, from every question:
        ProviderError: see `ProviderClient`.
    """

    provider = "node"

    def __init__(self, url: SecretStr, clock: Clock, config: ClientConfig | None = None) -> None:
        self._client = ProviderClient(
            self.provider,
            url.get_secret_value(),
            clock,
            config or ClientConfig(requests=20, per_seconds=1.0, timeout_seconds=60, attempts=6),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()

    async def logs(
        self, first: int, last: int, topics: Sequence[str], address: str | None = None
    ) -> list[Log]:
        """The events of some kinds in a range of blocks, both ends included, in order.

        Args:
            address: of the one contract whose events are wanted; None: of all.

        Raises:
            RangeRefused: too many at once.
        """
        wanted: dict[str, Any] = {
            "fromBlock": hex(first), "toBlock": hex(last), "topics": [list(topics)],
        }  # fmt: skip
        if address is not None:
            wanted["address"] = address
        try:
            (reply,), answer = await self._ask([("eth_getLogs", [wanted])])
        except ProviderRefused as error:
            if error.status in (400, 413):
                raise RangeRefused(self.provider, str(error)) from None
            raise
        if reply.error is not None:
            raise RangeRefused(self.provider, f"eth_getLogs: {reply.error.message[:200]}")
        (logs,) = answer.read(list[_Logs])
        return sorted(logs.result, key=lambda log: (log.block, log.log_index))

    async def headers(self, blocks: Sequence[int]) -> dict[int, Header]:
        """The headers of some blocks by number."""
        replies = await self._many(
            [("eth_getBlockByNumber", [hex(block), False]) for block in blocks]
        )
        found = {}
        for block, reply in zip(blocks, replies, strict=True):
            found[block] = self._header(reply, str(block))
        return found

    async def newest_block(self) -> Header:
        """The newest block, which a reorganisation may still take back."""
        (latest,) = await self._many([("eth_getBlockByNumber", ["latest", False])])
        return self._header(latest, "latest")

    async def final_block(self) -> int:
        """The newest block that no reorganisation takes back."""
        finalized, latest = await self._many(
            [("eth_getBlockByNumber", [name, False]) for name in ("finalized", "latest")]
        )
        if finalized.error is None and finalized.result is not None:
            return self._header(finalized, "finalized").number
        return self._header(latest, "latest").number - CONFIRMATIONS

    async def calls(self, calls: Sequence[Call]) -> list[bytes | None]:
        """What contracts answered; None where one refuses or the node has no such old state."""
        replies = await self._many(
            [("eth_call", [{"to": call.to, "data": call.data}, hex(call.block)]) for call in calls]
        )
        return [self._value(reply) for reply in replies]

    def _value(self, reply: _Reply) -> bytes | None:
        if reply.error is None:
            try:
                return _bytes(reply.result)
            except ValueError as error:
                raise ProviderAnswerInvalid(
                    self.provider, "eth_call.result", reply.result, str(error)
                ) from None
        message = reply.error.message.lower()
        if reply.error.code == 3 or any(text in message for text in _NO_VALUE):
            return None
        raise ProviderRefused(self.provider, f"eth_call: {reply.error.message[:200]}")

    def _header(self, reply: _Reply, block: str) -> Header:
        if reply.error is not None or reply.result is None:
            raise ProviderRefused(self.provider, f"block {block}: the node does not have it")
        try:
            return Header.model_validate(reply.result)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            name = ".".join(map(str, ("block", *problem["loc"])))
            raise ProviderAnswerInvalid(
                self.provider, name, problem["input"], problem["msg"]
            ) from None

    async def _many(self, questions: Sequence[tuple[str, list[Any]]]) -> list[_Reply]:
        replies: list[_Reply] = []
        for start in range(0, len(questions), BATCH):
            replies += (await self._ask(questions[start : start + BATCH]))[0]
        return replies

    async def _ask(self, questions: Sequence[tuple[str, list[Any]]]) -> tuple[list[_Reply], Answer]:
        batch = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in enumerate(questions)
        ]

        def check(answer: Answer) -> None:
            for reply in _replies(answer):
                if reply.error is not None and reply.error.means_busy():
                    raise ProviderUnavailable(self.provider, "too many requests")

        answer = await self._client.request("POST", "", json=batch, check=check)
        replies = _replies(answer)
        by_number = {reply.id: reply for reply in replies}
        if len(replies) != len(batch) or set(by_number) != set(range(len(batch))):
            raise ProviderAnswerInvalid(self.provider, "id", sorted(by_number, key=str), "all ids")
        return [by_number[number] for number in range(len(batch))], answer


def _replies(answer: Answer) -> list[_Reply]:
    """A node that refuses the whole batch answers with one object."""
    if answer.content.lstrip()[:1] == b"{":
        return [answer.read(_Reply)]
    return answer.read(list[_Reply])
