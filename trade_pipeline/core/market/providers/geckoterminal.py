"""GeckoTerminal: pools by chain and token; keyless.  Every number is a text."""

from __future__ import annotations

from datetime import datetime

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.errors import TokenNotListed
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Answer, Fields, ProviderClient
from trade_pipeline.core.market.providers.observation import (
    Amount,
    Bounds,
    Moment,
    Name,
    TokenObservation,
    positive,
    provider_chain,
    same_contract,
)

URL = "https://api.geckoterminal.com/api/v2"
CHAIN_NAMES = {
    "ethereum": "eth",
    "bsc": "bsc",
    "base": "base",
    "arbitrum": "arbitrum",
    "optimism": "optimism",
    "polygon": "polygon_pos",
    "avalanche": "avax",
    "solana": "solana",
}
# Twenty pools a page.
PAGES = 3


class _Day(Fields):
    h24: Amount


class _Attributes(Fields):
    address: str
    name: Name
    base_token_price_usd: Amount
    fdv_usd: Amount
    market_cap_usd: Amount
    reserve_in_usd: Amount
    volume_usd: _Day
    pool_created_at: Moment | None


class _Id(Fields):
    id: str


class _Related(Fields):
    data: _Id


class _Relationships(Fields):
    base_token: _Related


class _Pool(Fields):
    attributes: _Attributes
    relationships: _Relationships

    def contract(self) -> str:
        # The id is "network_address"; a network's name may hold "_" itself.
        return self.relationships.base_token.data.id.rpartition("_")[2]


class _Pools(Fields):
    data: list[_Pool]


class GeckoTerminal:
    """Price, liquidity and volume of a token's deepest pool, and the pools that trade most."""

    provider = "geckoterminal"

    def __init__(self, clock: Clock, *, url: str = URL, config: ClientConfig | None = None) -> None:
        self.client = ProviderClient(self.provider, url, clock, config or ClientConfig(requests=25))

    async def token(self, chain: str, contract: str) -> TokenObservation:
        """A token by its contract.

        Raises:
            ProviderError: see the client; `TokenNotListed` where it has no pool.
        """
        network = provider_chain(self.provider, CHAIN_NAMES, chain)
        answer = await self.client.get(f"/networks/{network}/tokens/{contract}/pools")
        pools = [p for p in answer.read(_Pools).data if same_contract(p.contract(), contract)]
        if not pools:
            raise TokenNotListed(self.provider, f"contract={contract!r}: no pool on {chain}")
        deepest = max(pools, key=lambda pool: pool.attributes.reserve_in_usd or 0.0)
        return self._observation(answer, chain, deepest)

    async def low_caps(self, chain: str, bounds: Bounds) -> list[TokenObservation]:
        """Tokens within the bounds among the chain's pools with most volume; a token once."""
        network = provider_chain(self.provider, CHAIN_NAMES, chain)
        found: dict[str, TokenObservation] = {}
        for page in range(1, PAGES + 1):
            answer = await self.client.get(
                f"/networks/{network}/pools", {"page": page, "sort": "h24_volume_usd_desc"}
            )
            for pool in answer.read(_Pools).data:
                seen = self._observation(answer, chain, pool)
                if bounds.admit(seen.market_cap_usd, seen.volume_24h_usd):
                    found.setdefault(pool.contract(), seen)
        return list(found.values())

    def _observation(self, answer: Answer, chain: str, pool: _Pool) -> TokenObservation:
        said = pool.attributes
        cap = positive(said.market_cap_usd)
        estimated = positive(said.fdv_usd) if cap is None else cap
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            chain=chain,
            contract=pool.contract(),
            symbol=said.name.partition(" / ")[0] or None,
            pool=said.address,
            price_usd=positive(said.base_token_price_usd),
            liquidity_usd=said.reserve_in_usd,
            volume_24h_usd=said.volume_usd.h24,
            market_cap_usd=estimated,
            created_at=_micros(said.pool_created_at),
            facts=TokenFacts(market_cap_estimated=None if estimated is None else cap is None),
        )


def _micros(moment: datetime | None) -> int | None:
    return None if moment is None else micros(moment)
