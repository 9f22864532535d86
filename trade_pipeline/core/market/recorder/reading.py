"""Read a range of blocks: the pools that were created in it, and every change of known ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trade_pipeline.core.market.recorder.contracts import (
    PAIR_CREATED,
    SYNC,
    Deployment,
    Pool,
    created_pool,
    described,
)
from trade_pipeline.core.market.recorder.node import EthereumNode, Header, Log


class ChainChanged(Exception):
    """What was read is not of one chain."""


@dataclass(frozen=True, slots=True)
class ReadBlocks:
    """What happened in a range of blocks.

    Attributes:
        syncs: changes of reserves in order, each with its pool.
        left_out: pools created in it whose token tells no decimals.
        headers: of the blocks in which something happened, and of the last one.
    """

    created: Sequence[Pool]
    left_out: int
    syncs: Sequence[tuple[Log, Pool]]
    headers: Mapping[int, Header]


def price_pool(deployment: Deployment) -> Pool:
    """The pool that gives the ETH price, as if its stable coin were the token."""
    return Pool(
        deployment.price_pool, "", deployment.stable_is_token0, 0,
        decimals=deployment.stable_decimals,
    )  # fmt: skip


async def read_blocks(
    node: EthereumNode,
    start: int,
    end: int,
    deployment: Deployment,
    tracked: Mapping[str, Pool],
    *,
    created_from: int = 0,
    before: Mapping[int, str] | None = None,
) -> ReadBlocks:
    """Both ends included.

    Args:
        tracked: pools by address whose changes are wanted besides those of new ones.
        created_from: pools created before this block are none of the market's.
        before: hashes of earlier blocks, which the chain must still have.

    Raises:
        ChainChanged: the chain is another one, or changed while it was read.
        RangeRefused, ProviderError: see `EthereumNode`.
    """
    logs = await node.logs(start, end, [PAIR_CREATED, SYNC])
    if any(log.removed for log in logs):
        raise ChainChanged
    created = [
        pool
        for log in logs
        if log.block >= created_from and (pool := created_pool(log, deployment)) is not None
    ]
    pools = {pool.address: pool for pool in await described(node, created)}
    wanted = {**tracked, **pools}
    syncs = [
        (log, pool)
        for log in logs
        if log.topics[0] == SYNC and (pool := wanted.get(log.address.lower())) is not None
    ]
    blocks = {log.block for log, _ in syncs} | {pool.created_block for pool in pools.values()}
    headers = await node.headers(sorted(blocks | {end} | set(before or {})))
    if any(headers[block].hash != known for block, known in (before or {}).items()) or any(
        headers[log.block].hash != log.block_hash for log in logs if log.block in headers
    ):
        raise ChainChanged
    return ReadBlocks(list(pools.values()), len(created) - len(pools), syncs, headers)
