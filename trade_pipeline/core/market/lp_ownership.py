"""Who owned a pool's liquidity, from the transfers of its LP tokens."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market import parquet
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.market.facts import FactTable
from trade_pipeline.core.market.parquet import INTEGER, NUMBER, TEXT, TIME, required

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"
DEAD_ADDRESS = "0x000000000000000000000000000000000000dead"
LOCKERS = (
    "0x663a5c229c09b049e36dcc11a9b0d4a8eb9db214",  # UNCX (Unicrypt)
    "0xe2fe530c047f2d85298b07d9333c05737f1435fb",  # Team Finance
)
# Doubles that were added and subtracted: this share of a pool's largest LP supply is nothing.
DUST = 1e-9

_SHARES = ("lp_creator_share", "lp_locked_share", "lp_burned_share")

_TRANSFERS = pa.schema(
    [
        required("pool", TEXT),
        required("block", INTEGER),
        required("log_index", INTEGER),
        required("timestamp", TIME),
        required("from_address", TEXT),
        required("to_address", TEXT),
        required("lp_tokens", NUMBER),
    ]
)


class LpOwnership:
    """The shares of every pool's LP supply over time, computed at their first use.

    A transfer from the zero address mints, one to it burns (the pool's minimum, minted to the zero
    address, is negligible).  LP tokens that a pool or a router holds count for nobody.
    """

    def __init__(self, path: Path, pools: Sequence[str], until: int | None = None) -> None:
        self._path = path
        self._pools = pools
        self._table = parquet.rows_until(parquet.read(path, _TRANSFERS), "timestamp", until)
        pool = parquet.codes(path, self._table, "pool", pools)
        parquet.amounts(path, self._table, "lp_tokens", lambda row: f"of pool {pools[pool[row]]}")
        self._times = parquet.log_times(path, self._table)
        self._rows = np.argsort(pool, kind="stable")
        self._pool_of_row = pool[self._rows]

    def facts_at(self, pool: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """The shares after every transfer with ``timestamp <= at``; NaN where there is none.

        Raises:
            BadMarketData: somebody sends more than they have: transfers are missing.
        """
        return self._table_of_shares.as_of(pool, at)

    @cached_property
    def _table_of_shares(self) -> FactTable:
        pools = np.unique(self._pool_of_row)
        steps = [self._steps_of(pool) for pool in pools.tolist()]
        # Until the first transfer there is none.
        times = np.concatenate([np.empty(0, np.int64), *(times for times, _ in steps)])
        shares = np.concatenate([np.empty((0, len(_SHARES))), *(shares for _, shares in steps)])
        pool = self._pool_of_row.astype(np.int32)
        # The transfers of one moment in their order: the last of them holds.
        return FactTable(pool, times, times, dict(zip(_SHARES, shares.T, strict=True)))

    def _steps_of(self, pool: int) -> tuple[Ints, Floats]:
        """The times of a pool's transfers, and the shares after each, a row of `_SHARES`."""
        first, last = np.searchsorted(self._pool_of_row, [pool, pool + 1])
        rows = self._rows[first:last]
        transfers = zip(
            rows.tolist(),
            *(
                self._table[name].take(rows).to_pylist()
                for name in ("from_address", "to_address", "lp_tokens")
            ),
            strict=True,
        )
        shares = []
        balance: dict[str, float] = {}
        creator: str | None = None
        supply = largest = 0.0
        for row, sender, receiver, amount in transfers:
            if sender == ZERO_ADDRESS:
                supply += amount
                if creator is None and receiver != ZERO_ADDRESS:
                    creator = receiver
            else:
                balance[sender] = balance.get(sender, 0.0) - amount
            if receiver == ZERO_ADDRESS:
                supply -= amount
            else:
                balance[receiver] = balance.get(receiver, 0.0) + amount
            largest = max(largest, supply)
            if balance.get(sender, 0.0) < -DUST * largest:
                raise BadMarketData(
                    f"{self._path}: row {row}: lp_tokens {amount} of pool {self._pools[pool]}: "
                    f"{sender} sends more than it received; a transfer before is missing"
                )
            if creator is None or supply <= DUST * largest:
                shares.append((np.nan, np.nan, np.nan))
            else:
                shares.append(_shares(balance, creator, supply))
        return self._times[rows], np.array(shares)


def _shares(balance: dict[str, float], creator: str, supply: float) -> tuple[float, float, float]:
    def share(*holders: str) -> float:
        held = sum(balance.get(holder, 0.0) for holder in holders)
        return min(max(held / supply, 0.0), 1.0)

    return share(creator), share(*LOCKERS), share(DEAD_ADDRESS)
