"""A recorded tape of Uniswap V2 pools that quote in WETH: every change of their reserves.

Nothing looks ahead:

- An event is known at its block's timestamp; within a block the log index orders.
- ``eth_usd.parquet`` stamps an hour's *closing* price with the hour's start (measured: it equals an
  exchange's close of the bar that opens then), so an entry is used only once it has ended, that is
  when the next one begins.  Before 2021-04-04 20:00 its hours repeat the price of the day's start.
- A pool's total supply is a later snapshot.  It is not believed where it is impossible, but where a
  token was minted or burned since then, the market cap is wrong by that much.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from trade_pipeline.core.errors import BadMarketData
from trade_pipeline.core.market import parquet
from trade_pipeline.core.market.event import (
    DAY,
    HOUR,
    Floats,
    Instrument,
    Ints,
    MarketBatch,
    unknown_column,
)
from trade_pipeline.core.market.feed import EventsOnly
from trade_pipeline.core.market.lp_ownership import LpOwnership
from trade_pipeline.core.market.parquet import INTEGER, NUMBER, TEXT, TIME, required, time_text

BATCH_ROWS = 65_536
# A daily entry is known after a day and serves until the next one has ended.
QUOTE_MAX_AGE = 2 * DAY
# The supplies' unit is the one that at least this share of the pools fits.
UNIT_MIN_SHARE = 0.9
# Supplies are doubles that were scaled by powers of ten.
SUPPLY_ROUNDING = 1e-9

_TAPE = pa.schema(
    [
        required("pool", TEXT),
        required("block", INTEGER),
        required("log_index", INTEGER),
        required("timestamp", TIME),
        required("weth_reserve", NUMBER),
        required("token_reserve", NUMBER),
    ]
)
_POOLS = pa.schema(
    [
        required("pool", TEXT),
        required("token", TEXT),
        pa.field("symbol", TEXT),
        required("decimals", INTEGER),
        required("created_at", TIME),
        pa.field("total_supply", NUMBER),
    ]
)


@dataclass(frozen=True, slots=True)
class _Tape:
    """The whole tape in columns; changes are against the same pool's event before."""

    time: Ints
    token: npt.NDArray[np.int32]
    weth: Floats
    tokens: Floats
    weth_change: Floats
    tokens_change: Floats
    first_tokens: Floats  # by pool: its first token reserve, NaN without events


class UniswapV2Tape(EventsOnly):
    """A folder with ``tape.parquet``, ``pools.parquet``, ``eth_usd.parquet`` and, optionally,
    ``lp_transfers.parquet`` (without it, who owns a pool's liquidity is unknown).

    The pools are read and checked at once, everything else as a whole at its first use.

    Args:
        until: leave out what was not known by this moment; None: nothing.

    Raises:
        BadMarketData: a file is missing, or a pool is wrong.
    """

    kind = "uniswap-v2"

    def __init__(self, folder: Path, until: int | None = None) -> None:
        self._folder = folder
        self._until = until
        self._tape_path = folder / "tape.parquet"
        self._pools_path = folder / "pools.parquet"
        self._quotes_path = folder / "eth_usd.parquet"
        self._transfers_path = folder / "lp_transfers.parquet"
        for path in (self._tape_path, self._pools_path, self._quotes_path):
            if not path.is_file():
                raise BadMarketData(
                    f"{path}: the file is missing; give the folder of a recording, which holds "
                    "tape.parquet, pools.parquet and eth_usd.parquet"
                )
        table = parquet.read(self._pools_path, _POOLS)
        self._pools: list[str] = table["pool"].to_pylist()
        self._decimals = parquet.integers(table, "decimals")
        self._stored_supply = parquet.numbers(table, "total_supply")
        self._check_pools()
        self.instruments: Sequence[Instrument] = [
            Instrument(pool, symbol, token, created_at)
            for pool, symbol, token, created_at in zip(
                self._pools,
                table["symbol"].to_pylist(),
                table["token"].to_pylist(),
                parquet.integers(table, "created_at").tolist(),
                strict=True,
            )
        ]

    def content_address(self) -> str:
        """The address of the files that are read, all of them, with their names."""
        paths = [self._tape_path, self._pools_path, self._quotes_path]
        if self._transfers_path.is_file():
            paths.append(self._transfers_path)
        return parquet.content_address(self._folder, paths)

    def span(self) -> tuple[int, int]:
        """The first and the last block's time."""
        return parquet.time_range(self._tape_path, "timestamp")

    def batches(self, start: int, end: int) -> Iterator[MarketBatch]:
        """Events with ``start <= known_at < end``, in order, at most 65,536 at a time."""
        first, last = np.searchsorted(self._tape.time, [start, end])
        for row in range(first, last, BATCH_ROWS):
            yield self._batch(slice(row, min(row + BATCH_ROWS, last)))

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """Who owned the pools' liquidity at some moments."""
        ownership = self._lp_ownership
        return {} if ownership is None else ownership.facts_at(token, at)

    def until(self, moment: int) -> UniswapV2Tape:
        """The recording as it stood at a moment; the pools' static facts are those of its file."""
        cut = UniswapV2Tape(self._folder, moment)
        # Their unit is decided once from the whole file.
        cut._supply = self._supply
        return cut

    def _batch(self, rows: slice) -> MarketBatch:
        tape = self._tape
        time, token = tape.time[rows], tape.token[rows]
        weth, tokens = tape.weth[rows], tape.tokens[rows]
        return pool_batch(
            token, time, time, weth, tokens, tape.weth_change[rows], tape.tokens_change[rows],
            quote=self._quote_usd(time), supply=self._supply[token],
        )  # fmt: skip

    def _check_pools(self) -> None:
        path, pools = self._pools_path, self._pools
        decimals, supply = self._decimals, self._stored_supply
        first_row = {pool: row for row, pool in reversed(list(enumerate(pools)))}
        parquet.refuse(
            path,
            np.array([first_row[pool] != row for row, pool in enumerate(pools)]),
            lambda row: f"pool {pools[row]} is listed twice",
        )
        parquet.refuse(
            path,
            (decimals < 0) | (decimals > 77),  # 10**77 is the last power in a contract's integers
            lambda row: f"decimals {decimals[row]} of pool {pools[row]}: expected 0..77",
        )
        parquet.refuse(
            path,
            (supply < 0) | np.isinf(supply),
            lambda row: (
                f"total_supply {supply[row]} of pool {pools[row]}: expected a finite amount >= 0, "
                "or none where it is unknown"
            ),
        )

    @cached_property
    def _tape(self) -> _Tape:
        path = self._tape_path
        table = parquet.rows_until(parquet.read(path, _TAPE), "timestamp", self._until)
        token = parquet.codes(path, table, "pool", self._pools)
        block = table["block"]

        def where(row: int) -> str:
            return f"of pool {self._pools[token[row]]} in block {block[row]}"

        weth = parquet.amounts(path, table, "weth_reserve", where)
        tokens = parquet.amounts(path, table, "token_reserve", where)
        by_pool = np.argsort(token, kind="stable")
        is_first = np.diff(token[by_pool], prepend=-1) != 0
        first_rows = by_pool[is_first]
        first_tokens = np.full(len(self._pools), np.nan)
        first_tokens[token[first_rows]] = tokens[first_rows]
        return _Tape(
            time=parquet.log_times(path, table),
            token=token,
            weth=weth,
            tokens=tokens,
            weth_change=_changes(weth, by_pool, is_first),
            tokens_change=_changes(tokens, by_pool, is_first),
            first_tokens=first_tokens,
        )

    @cached_property
    def _supply(self) -> Floats:
        """Total supplies in whole tokens, NaN where unknown.

        A recorder may have divided a contract's supply by 10**decimals once (whole tokens) or
        twice.  A pool cannot hold more than the supply, which tells the one from the other.  It is
        decided once from the whole file, later pools included: the unit is a property of the
        recorder, like a column's type, and tells nothing of what a market did later.
        """
        stored, first = self._stored_supply, self._tape.first_tokens
        scaled = stored * 10.0**self._decimals
        known = np.isfinite(stored) & np.isfinite(first)
        if not known.any():
            return stored
        stored_fits = stored * (1 + SUPPLY_ROUNDING) >= first
        scaled_fits = scaled * (1 + SUPPLY_ROUNDING) >= first
        stored_share, scaled_share = stored_fits[known].mean(), scaled_fits[known].mean()
        if stored_share >= UNIT_MIN_SHARE:
            return stored
        if scaled_share >= UNIT_MIN_SHARE:
            # A few pools of such a file fit as they stand: if these were divided only once, scaling
            # makes their market cap up to 10**18 times too large.  Nobody can tell: unknown.
            return np.where(stored_fits & (scaled != stored), np.nan, scaled)
        raise BadMarketData(
            f"{self._pools_path}: column total_supply: the unit cannot be told. Read as whole "
            f"tokens it covers the first token reserve of {stored_share:.1%} of the pools, read as "
            f"divided by 10**decimals once more of {scaled_share:.1%}: expected at least "
            f"{UNIT_MIN_SHARE:.0%} for one of them"
        )

    @cached_property
    def _quotes(self) -> tuple[Ints, Floats]:
        """When each ETH price had ended, and the price."""
        path = self._quotes_path
        # pandas stores an index without a name under the second one.
        stored = parquet.column_names(path)
        name = "timestamp" if "timestamp" in stored else "__index_level_0__"
        schema = pa.schema([required(name, TIME), required("eth_usd", NUMBER)])
        table = parquet.read(path, schema)
        begin = parquet.integers(table, name)
        price = parquet.amounts(
            path, table, "eth_usd", lambda row: f"at {time_text(begin[row])}", positive=True
        )
        parquet.refuse(
            path,
            np.diff(begin, prepend=begin[0] - 1) <= 0,
            lambda row: f"{name} {time_text(begin[row])} is not after {time_text(begin[row - 1])}",
        )
        last_length = begin[-1] - begin[-2] if len(begin) > 1 else HOUR
        ended = np.append(begin[1:], begin[-1] + last_length)
        if self._until is not None:
            # In a file with gaps only the entry after it tells when one ended: the cut comes last.
            ended = ended[ended <= self._until]
        return ended, price[: len(ended)]

    def _quote_usd(self, time: Ints) -> Floats:
        ended, price = self._quotes
        entry = np.searchsorted(ended, time, side="right") - 1
        missing = time[(entry < 0) | (time - ended[entry] > QUOTE_MAX_AGE)]
        if len(missing):
            raise BadMarketData(
                f"{self._quotes_path}: column eth_usd: no entry ended in the two days before the "
                f"event at {time_text(missing[0])}"
            )
        return price[entry]

    @cached_property
    def _lp_ownership(self) -> LpOwnership | None:
        path = self._transfers_path
        return LpOwnership(path, self._pools, self._until) if path.is_file() else None


def pool_batch(
    token: npt.NDArray[np.int32],
    event_time: Ints,
    known_at: Ints,
    weth: Floats,
    tokens: Floats,
    weth_change: Floats,
    tokens_change: Floats,
    *,
    quote: Floats,
    supply: Floats,
) -> MarketBatch:
    """Changes of pools' reserves as events.

    Args:
        weth, tokens: reserves after the event, whole units; the changes are against the same
            pool's event before.
        quote: the ETH price that was known, USD.
        supply: of the token, whole units; NaN is unknown.
    """
    price = np.full(len(token), np.nan)
    np.divide(weth, tokens, out=price, where=(weth > 0) & (tokens > 0))
    price *= quote
    # Opposite signs are a swap, the same sign is liquidity.  Where one side is unchanged (a
    # donation, a skim, a sync) it is neither.  Before its first event a pool was empty, so that
    # the first event adds liquidity.
    change_usd = weth_change * quote
    direction = np.sign(weth_change) * np.sign(tokens_change)
    flow = np.where(direction < 0, change_usd, 0.0)
    possible = supply * (1 + SUPPLY_ROUNDING) >= tokens
    unknown = unknown_column(len(token))
    return MarketBatch(
        token=token,
        event_time=event_time,
        known_at=known_at,
        price_usd=price,
        open_usd=unknown,
        high_usd=unknown,
        low_usd=unknown,
        volume_usd=np.abs(flow),
        flow_usd=flow,
        liquidity_usd=2.0 * weth * quote,
        liquidity_change_usd=np.where(direction > 0, 2.0 * change_usd, 0.0),
        market_cap_usd=np.where(possible, price * supply, np.nan),
        reserve_quote=weth,
        reserve_token=tokens,
        quote_usd=quote,
    )


def _changes(
    reserve: Floats, by_pool: npt.NDArray[np.intp], is_first: npt.NDArray[np.bool_]
) -> Floats:
    """Each reserve against the same pool's before; its first one against an empty pool."""
    grouped = reserve[by_pool]
    before = np.roll(grouped, 1)
    before[is_first] = 0.0
    change = np.empty_like(reserve)
    change[by_pool] = grouped - before
    return change
