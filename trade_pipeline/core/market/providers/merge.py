"""Observations of one token as one: whose value is taken, and where they disagree.

- Money: the first provider in `MARKET_ORDER` that knows it.  A market cap by the circulating supply
  comes before one by another supply (`CAP_ORDER`).
- Facts of the contract: the first in `SAFETY_ORDER`; of `RISKIER` the value that warns more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trade_pipeline.core.market.event import FACT_NAMES, TokenFacts
from trade_pipeline.core.market.providers.observation import TokenObservation, canonical_contract

MARKET_ORDER = (
    "dexscreener", "geckoterminal", "coingecko", "coinmarketcap", "honeypot_is", "goplus",
    "rugcheck",
)  # fmt: skip
CAP_ORDER = ("coingecko", "coinmarketcap", "dexscreener", "geckoterminal")
SAFETY_ORDER = ("honeypot_is", "goplus", "rugcheck")
RISKIER: dict[str, Callable[..., Any]] = {
    "buy_tax": max,
    "sell_tax": max,
    "failed_sell_share": max,
    "mintable": max,
    "contract_verified": min,
}
# How far values may lie apart: as a share of the largest, or (facts that are shares) as they are.
RELATIVE = {
    "price_usd": 0.05,
    "liquidity_usd": 0.25,
    "volume_24h_usd": 0.5,
    "market_cap_usd": 0.25,
    "holders": 0.2,
}
ABSOLUTE = {"buy_tax": 0.02, "sell_tax": 0.02}
SHARE_APART = 0.1
_MONEY = ("price_usd", "liquidity_usd", "volume_24h_usd")
# It goes with the cap that is taken.
_OF_THE_CAP = "market_cap_estimated"


@dataclass(frozen=True, slots=True)
class Disagreement:
    """A field on which providers differ by more than may be.

    Attributes:
        values: by provider.
    """

    field: str
    values: Mapping[str, float | bool]


@dataclass(frozen=True, slots=True)
class LiveToken:
    """A token as all providers together know it; None is unknown.

    Attributes:
        observed_at: when the newest answer came, microseconds since 1970-01-01 UTC.
        sources: whose value each field is.
        failures: why, by provider that told nothing.
        warnings: of all providers, each as ``provider: warning``.
        raw: the addresses of all answers, for a research document's ``raw_answers``.
    """

    chain: str | None
    contract: str | None
    symbol: str | None
    pool: str | None
    observed_at: int
    created_at: int | None
    price_usd: float | None
    liquidity_usd: float | None
    volume_24h_usd: float | None
    market_cap_usd: float | None
    facts: TokenFacts
    sources: Mapping[str, str]
    disagreements: tuple[Disagreement, ...]
    failures: Mapping[str, str]
    warnings: tuple[str, ...]
    raw: tuple[str, ...]
    observations: tuple[TokenObservation, ...]


def merge(seen: Sequence[TokenObservation], failures: Mapping[str, str]) -> LiveToken:
    """One token of what providers said about it, at least one of them."""
    market = _ordered(seen, MARKET_ORDER)
    sources: dict[str, str] = {}
    money = {name: _first(market, name, sources) for name in _MONEY}
    caps = sorted(_ordered(seen, CAP_ORDER), key=lambda one: bool(one.facts.market_cap_estimated))
    cap = _first(caps, "market_cap_usd", sources)
    facts = {name: _fact(seen, name, sources) for name in FACT_NAMES if name != _OF_THE_CAP}
    if (whose := sources.get("market_cap_usd")) is not None:
        facts[_OF_THE_CAP] = next(
            one.facts.market_cap_estimated for one in caps if one.provider == whose
        )
    contract = _first(market, "contract")
    return LiveToken(
        chain=_first(market, "chain"),
        contract=None if contract is None else canonical_contract(contract),
        symbol=_first(market, "symbol"),
        pool=_first(market, "pool"),
        observed_at=max(one.observed_at for one in seen),
        created_at=_first(market, "created_at", sources),
        price_usd=money["price_usd"],
        liquidity_usd=money["liquidity_usd"],
        volume_24h_usd=money["volume_24h_usd"],
        market_cap_usd=cap,
        facts=TokenFacts(**facts),
        sources=sources,
        disagreements=tuple(_disagreements(seen)),
        failures=dict(failures),
        warnings=tuple(sorted(f"{one.provider}: {w}" for one in seen for w in one.warnings)),
        raw=tuple(dict.fromkeys(address for one in seen for address in one.raw)),
        observations=tuple(seen),
    )


def _ordered(seen: Sequence[TokenObservation], order: Sequence[str]) -> list[TokenObservation]:
    """The observations by an order; providers that it does not name come last."""
    place = {provider: number for number, provider in enumerate(order)}
    return sorted(seen, key=lambda one: place.get(one.provider, len(place)))


def _first(
    seen: Sequence[TokenObservation], name: str, sources: dict[str, str] | None = None
) -> Any:
    for one in seen:
        if (value := getattr(one, name)) is not None:
            if sources is not None:
                sources[name] = one.provider
            return value
    return None


def _fact(seen: Sequence[TokenObservation], name: str, sources: dict[str, str]) -> Any:
    known = [
        (value, one.provider)
        for one in _ordered(seen, SAFETY_ORDER)
        if (value := getattr(one.facts, name)) is not None
    ]
    if not known:
        return None
    riskier = RISKIER.get(name)
    # Both max and min keep the first of equal ones.
    value, provider = known[0] if riskier is None else riskier(known, key=lambda pair: pair[0])
    sources[name] = provider
    return value


def _disagreements(seen: Sequence[TokenObservation]) -> list[Disagreement]:
    found = []
    for name in (*_MONEY, "market_cap_usd", *FACT_NAMES):
        if name == _OF_THE_CAP:
            continue
        groups: dict[str, dict[str, Any]] = {}
        for one in seen:
            value = getattr(one.facts if name in FACT_NAMES else one, name)
            if value is not None:
                groups.setdefault(_kind(name, one), {})[one.provider] = value
        found += [Disagreement(name, group) for group in groups.values() if _apart(name, group)]
    return found


def _kind(name: str, one: TokenObservation) -> str:
    """Like is compared with like: within one pool, or by one kind of supply."""
    if name in ("liquidity_usd", "volume_24h_usd"):
        return canonical_contract(one.pool or "")
    return str(one.facts.market_cap_estimated) if name == "market_cap_usd" else ""


def _apart(name: str, values: Mapping[str, Any]) -> bool:
    low, high = min(values.values()), max(values.values())
    if isinstance(low, bool):
        return bool(low != high)
    allowed = RELATIVE[name] * high if name in RELATIVE else ABSOLUTE.get(name, SHARE_APART)
    return bool(high - low > allowed)
