"""RugCheck: authorities, holders and locked liquidity of Solana tokens; keyless.

Percentages are 0..100; an authority that was given up is null.
"""

from __future__ import annotations

from pydantic import Field

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.errors import ProviderRefused, TokenNotListed
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Fields, ProviderClient
from trade_pipeline.core.market.providers.observation import (
    Amount,
    Count,
    Name,
    Percent,
    TokenObservation,
    fraction,
    provider_chain,
    total_share,
)

URL = "https://api.rugcheck.xyz/v1"
CHAIN_NAMES = {"solana": "solana"}
_NOT_PEOPLE = ("AMM", "LOCKER")


class _Token(Fields):
    supply: Amount


class _Holder(Fields):
    owner: str | None = None
    percent: Percent = Field(alias="pct")


class _Lp(Fields):
    locked: Percent = Field(alias="lpLockedPct")
    base_usd: Amount = Field(alias="baseUSD", default=None)
    quote_usd: Amount = Field(alias="quoteUSD", default=None)

    @property
    def usd(self) -> float:
        return (self.base_usd or 0.0) + (self.quote_usd or 0.0)


class _Market(Fields):
    pool: str | None = Field(alias="pubkey", default=None)
    lp: _Lp | None = None


class _Risk(Fields):
    name: Name


class _Account(Fields):
    type: str


class _Report(Fields):
    token: _Token
    creator_balance: Amount = Field(alias="creatorBalance")
    mint_authority: str | None = Field(alias="mintAuthority")
    top_holders: list[_Holder] | None = Field(alias="topHolders")
    markets: list[_Market] | None
    holders: Count = Field(alias="totalHolders")
    liquidity: Amount = Field(alias="totalMarketLiquidity")
    risks: list[_Risk] | None
    rugged: bool
    known: dict[str, _Account] | None = Field(alias="knownAccounts", default=None)


class RugCheck:
    """Facts about a Solana token's mint, holders and liquidity."""

    provider = "rugcheck"

    def __init__(self, clock: Clock, *, url: str = URL, config: ClientConfig | None = None) -> None:
        self.client = ProviderClient(
            self.provider, url, clock, config or ClientConfig(requests=25, cache_seconds=60)
        )

    async def token(self, chain: str, contract: str) -> TokenObservation:
        """A token by its mint.

        Raises:
            ProviderError: see the client; `TokenNotListed` where it knows nothing.
        """
        provider_chain(self.provider, CHAIN_NAMES, chain)
        try:
            answer = await self.client.get(f"/tokens/{contract}/report")
        except ProviderRefused as error:
            if error.status in (400, 404):
                raise TokenNotListed(self.provider, f"contract={contract!r}: not known") from None
            raise
        said = answer.read(_Report)
        pools = [market.lp for market in said.markets or [] if market.lp is not None]
        deepest = max(pools, key=lambda lp: lp.usd, default=None)
        supply = said.token.supply
        balance = said.creator_balance
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            chain=chain,
            contract=contract,
            liquidity_usd=said.liquidity,
            facts=TokenFacts(
                holders=said.holders,
                top_holders_share=_top_share(said),
                developer_share=(
                    min(1.0, balance / supply) if supply and balance is not None else None
                ),
                lp_locked_share=None if deepest is None else fraction(deepest.locked),
                mintable=said.mint_authority is not None,
            ),
            warnings=frozenset(risk.name for risk in said.risks or ())
            | frozenset({"rugged"} if said.rugged else ()),
        )


def _top_share(said: _Report) -> float | None:
    """What the ten largest holders have, without pools and lockers where it names them."""
    if not said.top_holders:
        return None
    others = {who for who, account in (said.known or {}).items() if account.type in _NOT_PEOPLE}
    shares = sorted(
        (fraction(h.percent) or 0.0 for h in said.top_holders if h.owner not in others),
        reverse=True,
    )
    return total_share(shares[:10])
