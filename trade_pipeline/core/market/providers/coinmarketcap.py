"""CoinMarketCap: coins over all their markets; needs a key.

Where the circulating supply is not verified, the market cap is 0 and the project's own figure
stands beside it: that one is taken as an estimate.
"""

from __future__ import annotations

from pydantic import Field, SecretStr

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.errors import ProviderRefused, TokenNotListed
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Answer, Fields, ProviderClient
from trade_pipeline.core.market.providers.observation import (
    CHAINS,
    Amount,
    Bounds,
    Name,
    TokenObservation,
    positive,
    same_contract,
)

URL = "https://pro-api.coinmarketcap.com"
_CHAIN_OF_SLUG = {
    "ethereum": "ethereum",
    "bnb": "bsc",
    "base": "base",
    "arbitrum": "arbitrum",
    "optimism-ethereum": "optimism",
    "polygon": "polygon",
    "polygon-ecosystem-token": "polygon",
    "avalanche": "avalanche",
    "solana": "solana",
}


class _Quote(Fields):
    price: Amount
    volume_24h: Amount
    market_cap: Amount


class _Quotes(Fields):
    usd: _Quote = Field(alias="USD")


class _Platform(Fields):
    slug: str
    token_address: str


class _Coin(Fields):
    id: int
    slug: str
    symbol: Name
    platform: _Platform | None
    quote: _Quotes
    self_reported_market_cap: Amount = None


class _Listing(Fields):
    data: list[_Coin]


class _ById(Fields):
    data: dict[str, _Coin]


class _Known(Fields):
    id: int
    platform: _Platform | None


class _Info(Fields):
    data: dict[str, _Known]


class CoinMarketCap:
    """Price, volume and market cap over all markets, and low caps by the bounds themselves."""

    provider = "coinmarketcap"

    def __init__(
        self,
        clock: Clock,
        *,
        key: SecretStr,
        url: str = URL,
        config: ClientConfig | None = None,
    ) -> None:
        self.client = ProviderClient(
            self.provider,
            url,
            clock,
            config or ClientConfig(requests=25, cache_seconds=60),
            {"X-CMC_PRO_API_KEY": key},
        )

    async def token(self, chain: str, contract: str) -> TokenObservation:
        """A token by its contract.

        Raises:
            ProviderError: see the client; `TokenNotListed` where it is not listed.
        """
        try:
            info = await self.client.get("/v2/cryptocurrency/info", {"address": contract})
        except ProviderRefused as error:
            # It calls an address that it does not know a bad request.
            if error.status in (400, 404):
                raise TokenNotListed(self.provider, f"contract={contract!r}: not listed") from None
            raise
        for coin in info.read(_Info).data.values():
            if _where(coin.platform) == chain and same_contract(
                coin.platform.token_address if coin.platform else None, contract
            ):
                break
        else:
            raise TokenNotListed(self.provider, f"contract={contract!r}: not listed on {chain}")
        quotes = await self.client.get(
            "/v2/cryptocurrency/quotes/latest", {"id": coin.id, "convert": "USD"}
        )
        quoted = quotes.read(_ById).data.get(str(coin.id))
        if quoted is None:
            raise TokenNotListed(self.provider, f"contract={contract!r}: no quote of {coin.id}")
        return self._observation((info, quotes), quoted)

    async def low_caps(self, chain: str, bounds: Bounds) -> list[TokenObservation]:
        """Coins of a chain within the bounds."""
        answer = await self.client.get(
            "/v1/cryptocurrency/listings/latest",
            {
                "limit": 500,
                "convert": "USD",
                "sort": "volume_24h",
                "market_cap_min": round(bounds.market_cap_min),
                "market_cap_max": round(bounds.market_cap_max),
                "volume_24h_min": round(bounds.volume_24h_min),
            },
        )
        found = [self._observation((answer,), coin) for coin in answer.read(_Listing).data]
        return [
            seen
            for seen in found
            if seen.chain == chain and bounds.admit(seen.market_cap_usd, seen.volume_24h_usd)
        ]

    def _observation(self, answers: tuple[Answer, ...], coin: _Coin) -> TokenObservation:
        quote, platform = coin.quote.usd, coin.platform
        cap = positive(quote.market_cap)
        estimated = positive(coin.self_reported_market_cap) if cap is None else cap
        chain = _where(platform)
        return TokenObservation(
            provider=self.provider,
            answers=answers,
            chain=chain,
            contract=platform.token_address if platform and chain else None,
            instrument=coin.slug,
            symbol=coin.symbol,
            price_usd=positive(quote.price),
            volume_24h_usd=quote.volume_24h,
            market_cap_usd=estimated,
            facts=TokenFacts(market_cap_estimated=None if estimated is None else cap is None),
        )


def _where(platform: _Platform | None) -> str | None:
    chain = None if platform is None else _CHAIN_OF_SLUG.get(platform.slug)
    assert chain is None or chain in CHAINS
    return chain
