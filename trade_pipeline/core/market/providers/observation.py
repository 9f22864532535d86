"""What one provider said about one token, in units that are the same for all providers.

None is unknown, never zero.  Money is USD, shares and taxes are fractions of 1.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field

from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.errors import TokenNotListed
from trade_pipeline.core.market.providers.http import Answer
from trade_pipeline.core.validation import shown_name

# The chains by our names; each adapter knows its provider's.
CHAINS = (
    "ethereum", "bsc", "base", "arbitrum", "optimism", "polygon", "avalanche", "solana",
)  # fmt: skip


# Nobody's: what lies there is burned.
BURNED = ("0x" + "0" * 40, "0x" + "0" * 36 + "dead", "1nc1nerator11111111111111111111111111111111")

# No token was traded before, and none can have been later.
_FIRST_YEAR, _END_YEAR = 2009, 2200


def provider_chain(provider: str, names: Mapping[str, str], chain: str) -> str:
    """A provider's name of a chain.

    Raises:
        TokenNotListed: it does not know the chain.
    """
    if chain not in names:
        raise TokenNotListed(provider, f"chain={chain!r} is not one of {', '.join(names)}")
    return names[chain]


def _unknown_if_empty(value: Any) -> Any:
    return None if value == "" else value


def _number(value: Any) -> Any:
    # Pydantic would take true for 1.
    if isinstance(value, bool):
        raise ValueError("a number is expected, not a truth")
    return _unknown_if_empty(value)


# A number or a text that holds one; "" and null are unknown.
Amount = Annotated[
    Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, BeforeValidator(_number)
]
Share = Annotated[Annotated[float, Field(ge=0, le=1.0001)] | None, BeforeValidator(_number)]
Percent = Annotated[Annotated[float, Field(ge=0, le=100.01)] | None, BeforeValidator(_number)]
Count = Annotated[Annotated[int, Field(ge=0, lt=1 << 53)] | None, BeforeValidator(_number)]
# What a token, or whoever made it, is called.
Name = Annotated[str, AfterValidator(lambda text: shown_name(text) or "")]


def _moment(value: datetime) -> datetime:
    if not _FIRST_YEAR <= value.year < _END_YEAR:
        raise ValueError(f"a time between {_FIRST_YEAR} and {_END_YEAR} is expected")
    return value


Moment = Annotated[AwareDatetime, AfterValidator(_moment)]
# Milliseconds since 1970-01-01 UTC, before the year 2200.
Milliseconds = Annotated[
    Annotated[int, Field(ge=0, lt=7_258_118_400_000)] | None, BeforeValidator(_number)
]
# GoPlus writes truths as "0" and "1".
Flag = Annotated[bool | None, BeforeValidator(_unknown_if_empty)]


def positive(value: float | None) -> float | None:
    """A price or market cap: zero means that the provider does not know."""
    return value or None


def fraction(percent: float | None) -> float | None:
    """A percentage as a fraction of 1."""
    return None if percent is None else min(1.0, percent / 100.0)


def total_share(shares: Iterable[float | None]) -> float:
    """A sum of shares; their rounding never makes it more than all."""
    return min(1.0, math.fsum(share or 0.0 for share in shares))


@dataclass(frozen=True, slots=True)
class TokenObservation:
    """What a provider said about a token.

    Attributes:
        chain: one of `CHAINS`; None for an exchange's pair, or a coin whose chain is not told.
        contract: the token's contract, or None.
        instrument: an exchange's pair or an aggregator's id of the coin.
        pool: whose price, liquidity and volume they are (the deepest pool); None: of all markets.
        market_cap_usd: ``facts.market_cap_estimated`` where its supply is not the circulating one.
        created_at: when trading began, microseconds since 1970-01-01 UTC.
        warnings: what the provider warns of, in its words.
        answers: the answers that it was read from.
    """

    provider: str
    answers: Sequence[Answer] = field(repr=False)
    chain: str | None = None
    contract: str | None = None
    instrument: str | None = None
    symbol: str | None = None
    pool: str | None = None
    price_usd: float | None = None
    liquidity_usd: float | None = None
    volume_24h_usd: float | None = None
    market_cap_usd: float | None = None
    created_at: int | None = None
    facts: TokenFacts = field(default_factory=TokenFacts)
    warnings: frozenset[str] = frozenset()

    @property
    def observed_at(self) -> int:
        """When the newest of its answers came, microseconds since 1970-01-01 UTC."""
        return max(answer.received_at for answer in self.answers)

    @property
    def raw(self) -> tuple[str, ...]:
        """The content addresses of its answers."""
        return tuple(answer.address for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Bounds:
    """Which tokens are looked for, USD; both ends belong to them."""

    market_cap_min: float = 100_000.0
    market_cap_max: float = 50_000_000.0
    volume_24h_min: float = 100_000.0

    def admit(self, market_cap_usd: float | None, volume_24h_usd: float | None) -> bool:
        """Whether a token lies within; what is unknown does not."""
        return (
            market_cap_usd is not None
            and volume_24h_usd is not None
            and self.market_cap_min <= market_cap_usd <= self.market_cap_max
            and self.volume_24h_min <= volume_24h_usd
        )


def same_contract(one: str | None, other: str | None) -> bool:
    """Whether two addresses are one: hexadecimal ones may differ in case, base58 ones may not."""
    if one is None or other is None:
        return False
    return canonical_contract(one) == canonical_contract(other)


def canonical_contract(contract: str) -> str:
    """An address in the one form that is compared and sent."""
    return contract.lower() if contract.startswith(("0x", "0X")) else contract
