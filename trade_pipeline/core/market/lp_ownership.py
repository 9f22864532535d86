"""Who owned a pool's liquidity, from the transfers of its LP tokens."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market import parquet
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.parquet import INTEGER, NUMBER, TEXT, TIME, required

ZERO_ADDRESS = "0x0000000000000000000000000000000000000000"
DEAD_ADDRESS = "0x000000000000000000000000000000000000dead"
LOCKERS = (
    "0x663a5c229c09b049e36dcc11a9b0d4a8eb9db214",  # UNCX (Unicrypt)
    "0xe2fe530c047f2d85298b07d9333c05737f1435fb",  # Team Finance
)
# Doubles that were added and subtracted: this share of a pool's largest LP supply is nothing.
DUST = 1e-9

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
    """The shares of every pool's LP supply over time; a pool's steps are computed at first use.

    A transfer from the zero address mints, one to it burns (the pool's minimum, minted to the zero
    address, is negligible).  LP tokens that a pool or a router holds count for nobody.
    """

    def __init__(self, path: Path, pools: Sequence[str]) -> None:
        self._path = path
        self._pools = pools
        self._table = parquet.read(path, _TRANSFERS)
        pool = parquet.codes(path, self._table, "pool", pools)
        parquet.amounts(path, self._table, "lp_tokens", lambda row: f"of pool {pools[pool[row]]}")
        self._times = parquet.log_times(path, self._table)
        self._rows = np.argsort(pool, kind="stable")
        self._pool_of_row = pool[self._rows]
        self._steps: dict[int, tuple[list[int], list[TokenFacts]]] = {}

    def facts(self, pool: int, at: int) -> TokenFacts:
        """The shares after every transfer with ``timestamp <= at``; unknown where there is none.

        Raises:
            BadMarketData: somebody sends more than they have: transfers are missing.
        """
        steps = self._steps.get(pool)
        if steps is None:
            steps = self._steps[pool] = self._steps_of(pool)
        times, facts = steps
        return facts[bisect_right(times, at)]

    def _steps_of(self, pool: int) -> tuple[list[int], list[TokenFacts]]:
        """The times of a pool's transfers, and the facts before the first and after each."""
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
        facts = [TokenFacts()]
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
                facts.append(TokenFacts())
            else:
                facts.append(_shares(balance, creator, supply))
        return self._times[rows].tolist(), facts


def _shares(balance: dict[str, float], creator: str, supply: float) -> TokenFacts:
    def share(*holders: str) -> float:
        held = sum(balance.get(holder, 0.0) for holder in holders)
        return min(max(held / supply, 0.0), 1.0)

    return TokenFacts(
        lp_creator_share=share(creator),
        lp_locked_share=share(*LOCKERS),
        lp_burned_share=share(DEAD_ADDRESS),
    )
