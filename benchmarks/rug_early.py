"""Rugs among pools of which only the first hours are known; used by ``rug.py``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from early_life import early_life

from trade_pipeline.core.features.rug_classifier import Fold, RugSettings
from trade_pipeline.core.market.event import DAY, HOUR, Floats, Ints
from trade_pipeline.core.market.lp_ownership import ZERO_ADDRESS
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape

TRAIN_SHARE = 0.7
FOLDS = 6
# A pool has collapsed once it holds less than this share of the most WETH it held, if that was
# more than dust.
COLLAPSED = 0.05
DUST_WETH = 0.3
# Creations that a pool is compared with.
PEERS_DAYS = 7
# Markets change: rows of the last two months before the training ends count several times.
RECENT_DAYS = 60
RECENT_WEIGHT = 5.0
# A pool that lives counts as none in proportion to how long it has been watched, up to this.
WATCHED_DAYS = 30
LP_SHARES = ("lp_creator_share", "lp_locked_share", "lp_burned_share")
NOT_FEATURES = ("pool", "horizon_h", "first_seen", "label", "hours_to_rug")
SETTINGS = RugSettings(
    rising=("creator_collapsed_pools", "peers_collapsed_share", "near_peers_collapsed_share"),
    falling=("lp_burned_share", "lp_locked_share", "lp_others_share"),
)


@dataclass(frozen=True)
class Horizon:
    """The pools that are looked at some hours after their creation, by creation.

    Attributes:
        given: the columns of the published table; ``features``: ours.
        seen_at: when each pool is judged; ``rug_at``: when its rug became known, infinity if never.
        train: how many pools, the oldest ones, are for training.
    """

    hours: int
    given: pd.DataFrame
    features: pd.DataFrame
    rug: npt.NDArray[np.bool_]
    created_at: Ints
    seen_at: Ints
    rug_at: Floats
    train: int

    @property
    def test_begins(self) -> int:
        return int(self.created_at[self.train])


def read_horizons(data: Path) -> list[Horizon]:
    """The horizons of the published table with features computed from the tape."""
    table = pd.read_parquet(data / "rug_benchmarks" / "early_uniswap_v2.parquet")
    pools = _Pools(data / "uniswap_v2")
    found = []
    for hours, rows in table.groupby("horizon_h"):
        rows = rows.sort_values(["first_seen", "pool"]).reset_index(drop=True)
        number = pools.numbers(rows["pool"])
        seen_at = pools.created_at + int(hours) * HOUR
        # hours_to_rug counts from the moment at which a pool is judged.
        rug_at = seen_at[number] + rows["hours_to_rug"].to_numpy(np.float64) * HOUR
        found.append(
            Horizon(
                hours=int(hours),
                given=rows.drop(columns=list(NOT_FEATURES)),
                features=pools.features(number, seen_at),
                rug=rows["label"].to_numpy() == 1,
                created_at=pools.created_at[number],
                seen_at=seen_at[number],
                rug_at=np.where(rows["label"] == 1, rug_at, np.inf),
                train=int(TRAIN_SHARE * len(rows)),
            )
        )
    return found


def time_folds(rows: int, count: int = FOLDS) -> list[Fold]:
    """Contiguous blocks of rows that are in the order of time; one row is one pool."""
    blocks = np.array_split(np.arange(rows), count)
    return [(np.setdiff1d(np.arange(rows), block), block) for block in blocks]


def recency(created_at: Ints, at: int) -> Floats:
    return np.where(at - created_at < RECENT_DAYS * DAY, RECENT_WEIGHT, 1.0)


def known_by(horizon: Horizon, at: int) -> tuple[Ints, npt.NDArray[np.bool_], Floats]:
    """What one could train on at a moment, with no word from later.

    Returns:
        The rows judged by then, whether their rug was known by then, and their weights.
    """
    rows = np.flatnonzero(horizon.seen_at <= at)
    rug = horizon.rug_at[rows] <= at
    watched = (at - horizon.seen_at[rows]) / (WATCHED_DAYS * DAY)
    weight = np.where(rug, 1.0, np.minimum(watched, 1.0))
    return rows, rug, weight * recency(horizon.created_at[rows], at)


class _Pools:
    """All recorded pools; a pool's number is its place in the recording."""

    def __init__(self, folder: Path) -> None:
        self._tape = UniswapV2Tape(folder)
        names = [i.name for i in self._tape.instruments]
        self._index = pd.Index(names)
        start, end = self._tape.span()
        batches = list(self._tape.batches(start, end + 1))
        pool = np.concatenate([b.token for b in batches])
        order = np.argsort(pool, kind="stable")
        self._bounds = np.searchsorted(pool[order], np.arange(len(names) + 1))
        self._time = np.concatenate([b.known_at for b in batches])[order]
        self._weth = np.concatenate([b.reserve_quote for b in batches])[order]
        self._tokens = np.concatenate([b.reserve_token for b in batches])[order]
        self.created_at = self._time[self._bounds[:-1]]
        self._initial = self._weth[self._bounds[:-1]]
        self._collapsed_at = self._collapses()
        self._creator = self._creators(folder / "lp_transfers.parquet")
        self._by_creation = np.argsort(self.created_at, kind="stable")

    def numbers(self, pools: pd.Series) -> Ints:
        return self._index.get_indexer(pools).astype(np.int64)

    def features(self, number: Ints, seen_at: Ints) -> pd.DataFrame:
        """Of some pools, each at its moment; nothing known later is used."""
        own = early_life(self._bounds, self._time, self._weth, self._tokens, seen_at)
        own_rows = pd.DataFrame(own).iloc[number].reset_index(drop=True)
        around = [self._around(i, int(seen_at[i])) for i in number.tolist()]
        held = self._tape.facts_at(number.astype(np.int32), seen_at[number])
        shares = pd.DataFrame({name: held[name] for name in LP_SHARES})
        shares["lp_others_share"] = 1.0 - shares.sum(axis=1, skipna=False)
        return pd.concat([own_rows, pd.DataFrame(around), shares], axis=1)

    def _around(self, pool: int, at: int) -> dict[str, float]:
        """Other pools created before this one."""
        created = self.created_at[self._by_creation]
        born = self.created_at[pool]
        first, day, last = np.searchsorted(created, [born - PEERS_DAYS * DAY, born - DAY, born])
        peers = self._by_creation[first:last]
        collapsed = self._collapsed_at[peers] <= at
        ratio = (self._initial[peers] + 1e-6) / (self._initial[pool] + 1e-6)
        same, near = np.abs(ratio - 1.0) < 0.01, np.abs(np.log(ratio)) < 0.25
        found = {
            "pools_last_day": float(last - day),
            "same_liquidity_peers": float(same.sum()),
            "same_liquidity_share": float(same.mean()) if len(peers) else np.nan,
            "peers_collapsed_share": float(collapsed[same].mean()) if same.sum() >= 3 else np.nan,
            "near_peers_collapsed_share": (
                float(collapsed[near].mean()) if near.sum() >= 5 else np.nan
            ),
        }
        found |= {"creator_pools": np.nan, "creator_collapsed_pools": np.nan}
        if self._creator[pool] is not None:
            earlier = self._by_creation[:last]
            theirs = earlier[self._creator[earlier] == self._creator[pool]]
            found["creator_pools"] = float(len(theirs))
            found["creator_collapsed_pools"] = float((self._collapsed_at[theirs] <= at).sum())
        return found

    def _collapses(self) -> Floats:
        """When each pool was first seen collapsed; infinity if never."""
        found = np.full(len(self.created_at), np.inf)
        for pool, (start, stop) in enumerate(zip(self._bounds, self._bounds[1:], strict=False)):
            weth = self._weth[start:stop]
            peak = np.maximum.accumulate(weth)
            rows = np.flatnonzero((weth < COLLAPSED * peak) & (peak > DUST_WETH))
            if len(rows):
                found[pool] = self._time[start + rows[0]]
        return found

    def _creators(self, path: Path) -> npt.NDArray[np.object_]:
        """Who received each pool's first LP tokens; None where that is not recorded."""
        transfers = pd.read_parquet(path, columns=["pool", "from_address", "to_address"]).astype(
            str
        )
        mints = transfers[
            (transfers["from_address"] == ZERO_ADDRESS) & (transfers["to_address"] != ZERO_ADDRESS)
        ].drop_duplicates("pool")
        found = np.full(len(self._index), None, dtype=object)
        found[self.numbers(mints["pool"])] = mints["to_address"].to_numpy()
        return found
