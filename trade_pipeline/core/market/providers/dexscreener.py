"""DEX Screener: pools of a token on any chain; keyless.  Prices are texts, the rest numbers."""

from __future__ import annotations

from pydantic import Field

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.errors import TokenNotListed
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Fields, ProviderClient
from trade_pipeline.core.market.providers.observation import (
    CHAINS,
    Amount,
    Milliseconds,
    Name,
    TokenObservation,
    positive,
    provider_chain,
    same_contract,
)

URL = "https://api.dexscreener.com"
CHAIN_NAMES = {name: name for name in CHAINS}


class _Token(Fields):
    address: str
    symbol: Name


class _Day(Fields):
    h24: Amount = None


class _Liquidity(Fields):
    usd: Amount = None


class _Pair(Fields):
    chain: str = Field(alias="chainId")
    address: str = Field(alias="pairAddress")
    base: _Token = Field(alias="baseToken")
    # Missing where the quote token has no price in USD.
    price_usd: Amount = Field(alias="priceUsd", default=None)
    volume: _Day
    # Missing where the pool's reserves are not known.
    liquidity: _Liquidity = _Liquidity()
    fdv: Amount = None
    market_cap: Amount = Field(alias="marketCap", default=None)
    created: Milliseconds = Field(alias="pairCreatedAt", default=None)


class DexScreener:
    """Price, liquidity and volume of a token's deepest pool."""

    provider = "dexscreener"

    def __init__(self, clock: Clock, *, url: str = URL, config: ClientConfig | None = None) -> None:
        self.client = ProviderClient(
            self.provider, url, clock, config or ClientConfig(requests=250)
        )

    async def token(self, chain: str, contract: str) -> TokenObservation:
        """A token by its contract.

        Raises:
            ProviderError: see the client; `TokenNotListed` where it has no pool.
        """
        network = provider_chain(self.provider, CHAIN_NAMES, chain)
        answer = await self.client.get(f"/token-pairs/v1/{network}/{contract}")
        pairs = [
            pair
            for pair in answer.read(list[_Pair])
            if pair.chain == network and same_contract(pair.base.address, contract)
        ]
        if not pairs:
            raise TokenNotListed(self.provider, f"contract={contract!r}: no pool on {chain}")
        deepest = max(pairs, key=lambda pair: pair.liquidity.usd or 0.0)
        cap = positive(deepest.market_cap)
        estimated = positive(deepest.fdv) if cap is None else cap
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            chain=chain,
            contract=contract,
            symbol=deepest.base.symbol,
            pool=deepest.address,
            price_usd=positive(deepest.price_usd),
            liquidity_usd=deepest.liquidity.usd,
            volume_24h_usd=deepest.volume.h24,
            market_cap_usd=estimated,
            created_at=None if deepest.created is None else deepest.created * 1000,
            facts=TokenFacts(
                market_cap_estimated=None if estimated is None else cap is None,
            ),
        )
