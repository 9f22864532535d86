"""The one market event type, in columns.

A `MarketBatch` holds events in the order in which this system could know them.  Columns that a
market does not have are NaN: an AMM pool has reserves, an exchange has bars.  Times are
microseconds since 1970-01-01 UTC, amounts are USD unless the name says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

HOUR = 3_600_000_000
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Instrument:
    """What can be traded: a pool's token or an exchange's pair.

    Attributes:
        name: unique in its market; the records' ``instrument``.
        symbol: what people call it; not unique.
        contract_address: the token's contract, where it has one.
        created_at: when its trading began, where known.
    """

    name: str
    symbol: str | None = None
    contract_address: str | None = None
    created_at: int | None = None


@dataclass(frozen=True, slots=True)
class MarketEvent:
    """One row of a `MarketBatch`; see there for the units."""

    token: int
    event_time: int
    known_at: int
    price_usd: float
    open_usd: float
    high_usd: float
    low_usd: float
    volume_usd: float
    flow_usd: float
    liquidity_usd: float
    liquidity_change_usd: float
    market_cap_usd: float
    reserve_quote: float
    reserve_token: float
    quote_usd: float


@dataclass(frozen=True, slots=True)
class MarketBatch:
    """Events in columns, sorted by ``known_at``, ties in the order in which they happened.

    Attributes:
        token: index into the feed's instruments.
        event_time: when it happened (a bar: when it closed).
        known_at: when this system could have known it; never before ``event_time``.
        price_usd: the last price, before anybody's own impact.
        open_usd, high_usd, low_usd: of a bar.
        volume_usd: what this event traded, either side.
        flow_usd: the same, signed: bought minus sold.
        liquidity_usd: both sides of a pool.
        liquidity_change_usd: both sides that were added (or, negative, removed) by this event.
        market_cap_usd: price times the supply as it was known.
        reserve_quote, reserve_token: a pool's reserves after the event, whole units.
        quote_usd: the USD price of one unit of the quote token.
    """

    token: npt.NDArray[np.int32]
    event_time: Ints
    known_at: Ints
    price_usd: Floats
    open_usd: Floats
    high_usd: Floats
    low_usd: Floats
    volume_usd: Floats
    flow_usd: Floats
    liquidity_usd: Floats
    liquidity_change_usd: Floats
    market_cap_usd: Floats
    reserve_quote: Floats
    reserve_token: Floats
    quote_usd: Floats

    def __len__(self) -> int:
        return len(self.token)

    def event(self, row: int) -> MarketEvent:
        """One row as plain Python numbers."""
        return MarketEvent(*(getattr(self, f.name)[row].item() for f in fields(self)))

    def rows(self, start: int, stop: int) -> MarketBatch:
        """The events of a range of rows (views, no copy)."""
        return MarketBatch(*(getattr(self, f.name)[start:stop] for f in fields(self)))

    def take(self, rows: npt.NDArray[np.intp]) -> MarketBatch:
        """The events of some rows, in the order of these (copies)."""
        return MarketBatch(*(getattr(self, f.name)[rows] for f in fields(self)))


def unknown_column(length: int) -> Floats:
    """A column that a market does not have: NaN, without memory of its own."""
    return np.broadcast_to(np.float64(np.nan), (length,))


@dataclass(frozen=True, slots=True)
class TokenFacts:
    """What is known at one moment about a token besides its trades; None is unknown.

    Shares are fractions of 1.  ``sentiment`` has a level in 0..1 by source (0.5 is neutral).
    """

    holders: int | None = None
    top_holders_share: float | None = None
    developer_share: float | None = None
    lp_creator_share: float | None = None
    lp_locked_share: float | None = None
    lp_burned_share: float | None = None
    contract_verified: bool | None = None
    audited: bool | None = None
    mintable: bool | None = None
    buy_tax: float | None = None
    sell_tax: float | None = None
    failed_sell_share: float | None = None
    market_cap_estimated: bool | None = None
    sentiment: Mapping[str, float] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """The known facts by name, without the sentiment."""
        return {name: value for name in FACT_NAMES if (value := getattr(self, name)) is not None}

    @classmethod
    def from_columns(cls, columns: Mapping[str, Floats], row: int) -> TokenFacts:
        """One row of the columns of `MarketFeed.facts_at`."""
        known = {
            name: value
            for name in FACT_NAMES
            if name in columns and not math.isnan(value := float(columns[name][row]))
        }
        levels = {
            name.removeprefix(SENTIMENT): float(levels[row])
            for name, levels in columns.items()
            if name.startswith(SENTIMENT)
        }
        given: dict[str, Any] = {
            name: int(value) if name == "holders" else bool(value) if name in _FLAGS else value
            for name, value in known.items()
        }
        sentiment = {source: level for source, level in levels.items() if not math.isnan(level)}
        return cls(**given, sentiment=sentiment)


FACT_NAMES = tuple(f.name for f in fields(TokenFacts) if f.name != "sentiment")
# Columns of a sentiment are named by this and the source.
SENTIMENT = "sentiment:"
_FLAGS = ("contract_verified", "audited", "mintable", "market_cap_estimated")


@dataclass(frozen=True, slots=True)
class TradeRules:
    """What a token's contract truly does to a trade: for the venue, never for the strategy.

    Attributes:
        buy_tax, sell_tax: fraction of the tokens that the contract keeps.
        sells_blocked_from: from this moment nobody but the developer can sell (a honeypot).
    """

    buy_tax: float = 0.0
    sell_tax: float = 0.0
    sells_blocked_from: int | None = None
