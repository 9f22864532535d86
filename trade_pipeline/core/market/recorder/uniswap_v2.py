"""Record a tape of Uniswap V2 from a node: the WETH pools that are created in a range of blocks.

A recording that is interrupted goes on where it stood.  Only blocks that are final are read; should
the chain change all the same, what was read of the old one is read again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trade_pipeline.core.errors import BadConfig, BadMarketData
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.parquet import TIME
from trade_pipeline.core.market.recorder.contracts import Deployment
from trade_pipeline.core.market.recorder.node import EthereumNode, RangeRefused
from trade_pipeline.core.market.recorder.parts import Part, Parts, write_whole
from trade_pipeline.core.market.recorder.reading import ChainChanged, price_pool, read_blocks

# Blocks before the first one in which the ETH price is read: about four hours.
WARM_UP_BLOCKS = 1_200
FIRST_RANGE = 1_000
LARGEST_RANGE = 10_000
# How often a range is read again that changed while it was read.
TRIALS = 5
SECOND = 1_000_000
HOUR = 3_600

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Recording:
    """What a folder holds now.

    Attributes:
        left_out: pools whose token tells no decimals.
        unknown_supplies: pools whose supply at their creation the node does not know; their market
            cap stays unknown.
    """

    first: int
    last: int
    events: int
    pools: int
    left_out: int
    unknown_supplies: int


class UniswapV2Recorder:
    """Records into a folder that `UniswapV2Tape` opens.

    Args:
        eth_usd: a file of ETH prices instead of the price pool's.
    """

    def __init__(
        self,
        node: EthereumNode,
        folder: Path,
        *,
        deployment: Deployment | None = None,
        eth_usd: Path | None = None,
    ) -> None:
        self._node = node
        self._folder = folder
        self._deployment = deployment or Deployment()
        self._eth_usd = eth_usd

    async def record(
        self, first: int, last: int, progress: Progress = lambda done, total: None
    ) -> Recording:
        """Read what is missing of a range of blocks and write the tape.

        Raises:
            BadConfig: an impossible range, or the folder holds another recording.
            BadMarketData: nothing happened in the range, or its ETH price is not known.
            ProviderError: the node fails; what was read stays and the rest follows next time.
        """
        if not 0 <= first <= last:
            raise BadConfig(f"from_block={first}, to_block={last}: expected 0 <= from <= to")
        if self._eth_usd is not None and not self._eth_usd.is_file():
            raise BadConfig(f"eth_usd={str(self._eth_usd)!r}: no such file")
        final = await self._node.final_block()
        if last > final:
            raise BadConfig(f"to_block={last}: the newest block that is final is {final}")
        parts = Parts(self._folder / ".recording", first, self._deployment)
        begin = first if self._eth_usd is not None else max(0, first - WARM_UP_BLOCKS)
        known = parts.read()
        await self._drop_changed(parts, known)
        size, trials = FIRST_RANGE, 0
        while (start := known[-1].last + 1 if known else begin) <= last:
            end = min(last, start + size - 1)
            try:
                part, rows = await self._read(start, end, first, known)
            except RangeRefused:
                if start == end:
                    raise
                size = (end - start + 1) // 2
                continue
            except ChainChanged:
                trials += 1
                if trials == TRIALS:
                    raise BadMarketData(
                        f"blocks {start} to {end}: the chain changed while they were read, "
                        f"{TRIALS} times"
                    ) from None
                await self._drop_changed(parts, known)
                continue
            parts.add(part, rows)
            known.append(part)
            size, trials = min(LARGEST_RANGE, size + size // 4 + 1), 0
            progress(part.last - begin + 1, last - begin + 1)
        return self._write(parts, known, first, last)

    async def _drop_changed(self, parts: Parts, known: list[Part]) -> None:
        """Forget the newest parts whose last block the chain no longer has."""
        while known:
            newest = known[-1]
            headers = await self._node.headers([newest.last])
            if headers[newest.last].hash == newest.last_hash:
                return
            parts.drop(known.pop())

    async def _read(
        self, start: int, end: int, first: int, known: list[Part]
    ) -> tuple[Part, list[dict[str, Any]]]:
        tracked = {p.address: p for part in known for p, _ in part.pools}
        if self._eth_usd is None:
            tracked[self._deployment.price_pool] = price_pool(self._deployment)
        read = await read_blocks(
            self._node, start, end, self._deployment, tracked, created_from=first,
            before={known[-1].last: known[-1].last_hash} if known else None,
        )  # fmt: skip
        headers = read.headers
        rows = []
        for log, pool in read.syncs:
            weth, token = pool.reserves(log)
            rows.append(
                {
                    "pool": pool.address,
                    "block": log.block,
                    "log_index": log.log_index,
                    "timestamp": headers[log.block].timestamp * SECOND,
                    "weth_reserve": weth,
                    "token_reserve": token,
                }
            )
        part = Part(
            first=start,
            last=end,
            last_hash=headers[end].hash,
            last_time=headers[end].timestamp,
            pools=[(p, headers[p.created_block].timestamp) for p in read.created],
            left_out=read.left_out,
        )
        return part, rows

    def _write(self, parts: Parts, known: list[Part], first: int, last: int) -> Recording:
        # A folder may hold more than is asked for now.
        rows = parts.rows(known)
        of_price = pc.equal(rows["pool"], self._deployment.price_pool)
        tape = rows.filter(pc.invert(of_price))
        pools = [pool for part in known for pool in part.pools]
        if not tape.num_rows:
            raise BadMarketData(
                f"blocks {first} to {last}: no pool of WETH was created that holds anything"
            )
        if self._eth_usd is None:
            self._write_price(rows.filter(of_price), known[-1].last_time)
        else:
            write_whole(self._folder / "eth_usd.parquet", self._eth_usd.read_bytes())
        _write_table(
            self._folder / "pools.parquet",
            pa.table(
                {
                    "pool": [p.address for p, _ in pools],
                    "token": [p.token for p, _ in pools],
                    "symbol": pa.array([p.symbol for p, _ in pools], pa.string()),
                    "decimals": pa.array([p.decimals for p, _ in pools], pa.int64()),
                    "created_block": pa.array([p.created_block for p, _ in pools], pa.int64()),
                    "created_at": pa.array([time * SECOND for _, time in pools], TIME),
                    "total_supply": pa.array([p.total_supply for p, _ in pools], pa.float64()),
                }
            ),
        )
        # Last: a folder with a tape is whole.
        _write_table(self._folder / "tape.parquet", tape)
        return Recording(
            first=first,
            last=known[-1].last,
            events=tape.num_rows,
            pools=len(pools),
            left_out=sum(part.left_out for part in known),
            unknown_supplies=sum(p.total_supply is None for p, _ in pools),
        )

    def _write_price(self, syncs: pa.Table, last_time: int) -> None:
        """The closing price of every hour that has ended, stamped with its beginning."""
        closes: dict[int, float] = {}
        for row in syncs.to_pylist():
            if row["weth_reserve"] > 0 and row["token_reserve"] > 0:
                hour = int(row["timestamp"].timestamp()) // HOUR
                closes[hour] = row["token_reserve"] / row["weth_reserve"]
        ended = last_time // HOUR
        hours = range(min(closes, default=ended), ended)
        prices: list[float] = []
        for hour in hours:
            # An hour without a trade closes where the one before it did.
            prices.append(closes.get(hour, prices[-1] if prices else 0.0))
        if not prices:
            raise BadMarketData(
                f"price pool {self._deployment.price_pool}: no whole hour before "
                f"{moment_of(last_time * SECOND).isoformat()}; give a file of ETH prices"
            )
        _write_table(
            self._folder / "eth_usd.parquet",
            pa.table(
                {
                    "timestamp": pa.array([hour * HOUR * SECOND for hour in hours], TIME),
                    "eth_usd": pa.array(prices, pa.float64()),
                }
            ),
        )


def _write_table(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    write_whole(path, sink.getvalue().to_pybytes())
