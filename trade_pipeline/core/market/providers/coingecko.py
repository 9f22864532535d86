"""CoinGecko: coins over all their markets, and what their community votes; keyless or with a key.

A market cap of 0 means that the circulating supply is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field, SecretStr

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.event import DAY, TokenFacts
from trade_pipeline.core.market.providers.errors import ProviderRefused, TokenNotListed
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Answer, Fields, ProviderClient
from trade_pipeline.core.market.providers.observation import (
    CHAINS,
    Amount,
    Bounds,
    Count,
    Name,
    Percent,
    TokenObservation,
    positive,
    provider_chain,
)

URL = "https://api.coingecko.com/api/v3"
PRO_URL = "https://pro-api.coingecko.com/api/v3"
CHAIN_NAMES = {
    "ethereum": "ethereum",
    "bsc": "binance-smart-chain",
    "base": "base",
    "arbitrum": "arbitrum-one",
    "optimism": "optimistic-ethereum",
    "polygon": "polygon-pos",
    "avalanche": "avalanche",
    "solana": "solana",
}
# 250 coins a page, by volume.
PAGES = 4


class _Usd(Fields):
    usd: Amount = None


class _MarketData(Fields):
    current_price: _Usd
    market_cap: _Usd
    total_volume: _Usd


class _Community(Fields):
    twitter_followers: Count = None
    reddit_subscribers: Count = None
    telegram_channel_user_count: Count = None


class _Coin(Fields):
    id: str
    symbol: Name
    market_data: _MarketData
    votes_up: Percent = Field(alias="sentiment_votes_up_percentage")
    community_data: _Community | None = None


class _Listed(Fields):
    id: str
    symbol: Name
    current_price: Amount
    market_cap: Amount
    total_volume: Amount


class _Platforms(Fields):
    id: str
    platforms: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class Community:
    """What a coin's community says.

    Attributes:
        votes_up: share of the votes that are up, 0..1; None without votes.
        followers: members of its channels, where they are told.
    """

    answer: Answer
    votes_up: float | None
    followers: int | None


class CoinGecko:
    """Price, volume and market cap over all markets, low caps by volume, and the community.

    Args:
        key: a demo key, or with ``pro`` a key of a plan that is paid.
    """

    provider = "coingecko"

    def __init__(
        self,
        clock: Clock,
        *,
        key: SecretStr | None = None,
        pro: bool = False,
        url: str | None = None,
        config: ClientConfig | None = None,
    ) -> None:
        header = "x-cg-pro-api-key" if pro else "x-cg-demo-api-key"
        self._clock = clock
        self._contracts: dict[str, tuple[str, str]] = {}
        self._contracts_answer: Answer | None = None
        self.client = ProviderClient(
            self.provider,
            url or (PRO_URL if pro else URL),
            clock,
            # A coin's answer is cached by them for a minute at least.
            config or ClientConfig(requests=25 if key else 5, cache_seconds=60),
            {} if key is None else {header: key},
        )

    async def token(self, chain: str, contract: str) -> TokenObservation:
        """A token by its contract.

        Raises:
            ProviderError: see the client; `TokenNotListed` where it is not listed.
        """
        answer, coin = await self._coin(chain, contract)
        data = coin.market_data
        return self._observation(
            answer, coin.id, coin.symbol, chain, contract, data.current_price.usd,
            data.market_cap.usd, data.total_volume.usd,
        )  # fmt: skip

    async def coin(self, coin: str) -> TokenObservation:
        """A coin by its id here, such as ``bitcoin``.

        Raises:
            ProviderError: see the client; `TokenNotListed` where there is none of this id.
        """
        answer, found = await self._read_coin(f"/coins/{coin}", f"coin={coin!r}: not listed")
        data = found.market_data
        return self._observation(
            answer, found.id, found.symbol, None, None, data.current_price.usd,
            data.market_cap.usd, data.total_volume.usd,
        )  # fmt: skip

    async def community(self, chain: str, contract: str) -> Community:
        """Votes and members of a token's community; from the same answer as `token`."""
        answer, coin = await self._coin(chain, contract)
        votes, members = coin.votes_up, coin.community_data or _Community()
        known = [
            count
            for count in (
                members.twitter_followers,
                members.reddit_subscribers,
                members.telegram_channel_user_count,
            )
            if count is not None
        ]
        return Community(
            answer,
            None if votes is None else min(1.0, votes / 100.0),
            sum(known) if known else None,
        )

    async def low_caps(self, chain: str, bounds: Bounds) -> list[TokenObservation]:
        """Coins of a chain within the bounds, among the thousand with most volume."""
        await self._read_contracts()
        assert self._contracts_answer is not None
        found = []
        for page in range(1, PAGES + 1):
            answer = await self.client.get(
                "/coins/markets",
                {"vs_currency": "usd", "order": "volume_desc", "per_page": 250, "page": page},
            )
            for coin in answer.read(list[_Listed]):
                where, contract = self._contracts.get(coin.id, (None, None))
                if where != chain:
                    continue
                seen = self._observation(
                    answer, coin.id, coin.symbol, where, contract, coin.current_price,
                    coin.market_cap, coin.total_volume,
                )  # fmt: skip
                if bounds.admit(seen.market_cap_usd, seen.volume_24h_usd):
                    found.append(seen)
        return found

    async def _coin(self, chain: str, contract: str) -> tuple[Answer, _Coin]:
        platform = provider_chain(self.provider, CHAIN_NAMES, chain)
        return await self._read_coin(
            f"/coins/{platform}/contract/{contract}",
            f"contract={contract!r}: not listed on {chain}",
        )

    async def _read_coin(self, path: str, missing: str) -> tuple[Answer, _Coin]:
        try:
            answer = await self.client.get(path)
        except ProviderRefused as error:
            if error.status == 404:
                raise TokenNotListed(self.provider, missing) from None
            raise
        return answer, answer.read(_Coin)

    async def _read_contracts(self) -> None:
        """The contract of every coin; a big answer, which is kept for a day."""
        old = self._contracts_answer
        if old is not None and self._clock.micros() - old.received_at < DAY:
            return
        answer = await self.client.get("/coins/list", {"include_platform": "true"})
        names = {theirs: ours for ours, theirs in CHAIN_NAMES.items()}
        contracts = {}
        for coin in answer.read(list[_Platforms]):
            places = {
                names[theirs]: contract
                for theirs, contract in coin.platforms.items()
                if theirs in names and contract
            }
            if places:
                chain = min(places, key=CHAINS.index)
                contracts[coin.id] = chain, places[chain]
        self._contracts, self._contracts_answer = contracts, answer

    def _observation(
        self,
        answer: Answer,
        coin: str,
        symbol: str,
        chain: str | None,
        contract: str | None,
        price: float | None,
        market_cap: float | None,
        volume: float | None,
    ) -> TokenObservation:
        cap = positive(market_cap)
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            chain=chain,
            contract=contract,
            instrument=coin,
            symbol=symbol.upper(),
            price_usd=positive(price),
            volume_24h_usd=volume,
            market_cap_usd=cap,
            facts=TokenFacts(market_cap_estimated=None if cap is None else False),
        )
