"""The contracts of Uniswap V2 and of tokens: what their events and answers mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trade_pipeline.core.market.recorder.node import Call, EthereumNode, Log
from trade_pipeline.core.validation import shown_name

PAIR_CREATED = "0x0d3648bd0f6ba80134a33ba9275ac585d9d315f0ad8355cddefde31afa28d0e9"
SYNC = "0x1c411e9a96e071241c2f21f7726b17ae89e3cab4c78be50e062b03a9fffbbad1"
_DECIMALS, _SYMBOL, _TOTAL_SUPPLY = "0x313ce567", "0x95d89b41", "0x18160ddd"
_TOKEN0, _TOKEN1 = "0x0dfe1681", "0xd21220a7"
_WORD = 32
# 10**77 is the last power in a contract's integers.
_MOST_DECIMALS = 77
WETH_UNIT = 10**18


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the contracts are, in lower case; the defaults are Ethereum's.

    Attributes:
        price_pool: a pool of WETH and a stable coin, which gives the ETH price.
        stable_is_token0, stable_decimals: of that pool.
    """

    factory: str = "0x5c69bee701ef814a2b6a3edd4b1652cb9cc5aa6f"
    weth: str = "0xc02aaa39b223fe8d0a0e5c4f27ead9083c756cc2"
    price_pool: str = "0xb4e16d0168e52d35cacd2c6185b44281ec28c9dc"
    stable_is_token0: bool = True
    stable_decimals: int = 6


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of WETH and a token.

    Attributes:
        total_supply: whole tokens at the end of the block that created the pool, so it was known
            then; None where the node has no such old state.
    """

    address: str
    token: str
    token_is_token0: bool
    created_block: int
    symbol: str | None = None
    decimals: int = 18
    total_supply: float | None = None

    def reserves(self, sync: Log) -> tuple[float, float]:
        """(WETH, token) in whole units after a Sync event."""
        first, second = word(sync.data, 0), word(sync.data, 1)
        weth, token = (second, first) if self.token_is_token0 else (first, second)
        # Division of whole numbers is rounded once, whatever their size.
        return weth / WETH_UNIT, token / 10**self.decimals


def created_pool(log: Log, deployment: Deployment) -> Pool | None:
    """The pool that a PairCreated event tells of; None where it is no pool of WETH."""
    if log.address.lower() != deployment.factory or log.topics[0] != PAIR_CREATED:
        return None
    token0, token1 = (address_in(topic) for topic in log.topics[1:3])
    if deployment.weth not in (token0, token1):
        return None
    token = token1 if token0 == deployment.weth else token0
    return Pool(address_in(log.data[:_WORD].hex()), token, token == token0, log.block)


async def listed_pool(
    node: EthereumNode, address: str, deployment: Deployment, block: int
) -> Pool | None:
    """A pool by its address, without its token's facts; None where it is no pool of WETH.

    Args:
        block: whose state is asked; it stands for the one that created the pool.
    """
    first, second = await node.calls([Call(address, data, block) for data in (_TOKEN0, _TOKEN1)])
    if first is None or second is None or min(len(first), len(second)) < _WORD:
        return None
    token0, token1 = address_in(first.hex()), address_in(second.hex())
    if deployment.weth not in (token0, token1):
        return None
    token = token1 if token0 == deployment.weth else token0
    return Pool(address, token, token == token0, block)


async def described(node: EthereumNode, pools: Sequence[Pool]) -> list[Pool]:
    """Pools with their tokens' facts; one whose token tells no possible decimals is left out."""
    answers = await node.calls(
        [
            Call(pool.token, selector, pool.created_block)
            for pool in pools
            for selector in (_DECIMALS, _SYMBOL, _TOTAL_SUPPLY)
        ]
    )
    missing = [p for i, p in enumerate(pools) if answers[3 * i] is None]
    # A node without old states: decimals and symbol never change, the supply does.
    latest = await node.final_block() if missing else 0
    late = await node.calls(
        [Call(p.token, selector, latest) for p in missing for selector in (_DECIMALS, _SYMBOL)]
    )
    late_of = {p.address: late[2 * i : 2 * i + 2] for i, p in enumerate(missing)}
    found = []
    for i, pool in enumerate(pools):
        decimals, symbol, supply = answers[3 * i : 3 * i + 3]
        decimals, symbol = late_of.get(pool.address, (decimals, symbol))
        if decimals is None or len(decimals) < _WORD or word(decimals, 0) > _MOST_DECIMALS:
            continue
        places = word(decimals, 0)
        known = None if supply is None or len(supply) < _WORD else word(supply, 0) / 10**places
        found.append(
            Pool(
                pool.address,
                pool.token,
                pool.token_is_token0,
                pool.created_block,
                None if symbol is None else text_in(symbol),
                places,
                known,
            )
        )
    return found


def word(data: bytes, number: int) -> int:
    """One of the 32 byte numbers of some data.

    Raises:
        ValueError: it ends before.
    """
    part = data[number * _WORD : (number + 1) * _WORD]
    if len(part) < _WORD:
        raise ValueError(f"{len(data)} bytes: expected at least {(number + 1) * _WORD}")
    return int.from_bytes(part, "big")


def address_in(padded: str) -> str:
    """The address in the last 20 bytes of a word."""
    return "0x" + padded[-40:].lower()


def text_in(data: bytes) -> str | None:
    """A text as a contract returns it: of any length, or (old tokens) in 32 bytes."""
    if len(data) == _WORD:
        raw = data
    elif len(data) >= 2 * _WORD and word(data, 0) == _WORD:
        raw = data[2 * _WORD : 2 * _WORD + word(data, 1)]
    else:
        return None
    return shown_name(raw.decode("utf-8", "replace"))
