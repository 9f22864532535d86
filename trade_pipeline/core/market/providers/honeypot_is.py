"""honeypot.is: a purchase and a sale, simulated now, and the sales of real holders; keyless.

Taxes are percentages, counts are texts.
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
)

URL = "https://api.honeypot.is"
CHAIN_NAMES = {"ethereum": "1", "bsc": "56", "base": "8453"}


class _Token(Fields):
    symbol: Name | None = None
    holders: Count = Field(alias="totalHolders", default=None)


class _Verdict(Fields):
    is_honeypot: bool = Field(alias="isHoneypot")


class _Simulation(Fields):
    buy_tax: Percent = Field(alias="buyTax")
    sell_tax: Percent = Field(alias="sellTax")


class _Holders(Fields):
    holders: Count
    failed: Count
    siphoned: Count


class _Code(Fields):
    open_source: bool | None = Field(alias="openSource", default=None)


class _Pair(Fields):
    liquidity: Amount = None


class _Report(Fields):
    token: _Token
    simulated: bool = Field(alias="simulationSuccess")
    # Both are missing where the simulation failed.
    verdict: _Verdict | None = Field(alias="honeypotResult", default=None)
    simulation: _Simulation | None = Field(alias="simulationResult", default=None)
    sales: _Holders | None = Field(alias="holderAnalysis", default=None)
    code: _Code | None = Field(alias="contractCode", default=None)
    pair: _Pair | None = None
    pool: str | None = Field(alias="pairAddress", default=None)

    def failed_share(self) -> float | None:
        """Sales that fail or lose all: each of them in a honeypot."""
        if self.verdict is not None and self.verdict.is_honeypot:
            return 1.0
        sales = self.sales
        if sales is None or not sales.holders or sales.failed is None:
            return None
        return min(1.0, (sales.failed + (sales.siphoned or 0)) / sales.holders)


class HoneypotIs:
    """Whether a token can be sold, and what it costs."""

    provider = "honeypot_is"

    def __init__(self, clock: Clock, *, url: str = URL, config: ClientConfig | None = None) -> None:
        self.client = ProviderClient(
            self.provider, url, clock, config or ClientConfig(requests=30, cache_seconds=60)
        )

    async def token(self, chain: str, contract: str) -> TokenObservation:
        """A token by its contract.

        Raises:
            ProviderError: see the client; `TokenNotListed` where it finds no pool.
        """
        network = provider_chain(self.provider, CHAIN_NAMES, chain)
        try:
            answer = await self.client.get(
                "/v2/IsHoneypot", {"address": contract, "chainID": network}
            )
        except ProviderRefused as error:
            if error.status == 404:
                raise TokenNotListed(self.provider, f"contract={contract!r}: no pool") from None
            raise
        said = answer.read(_Report)
        simulation = said.simulation if said.simulated else None
        honeypot = said.verdict is not None and said.verdict.is_honeypot
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            chain=chain,
            contract=contract,
            symbol=said.token.symbol,
            pool=said.pool,
            liquidity_usd=None if said.pair is None else said.pair.liquidity,
            facts=TokenFacts(
                holders=said.token.holders,
                contract_verified=None if said.code is None else said.code.open_source,
                buy_tax=None if simulation is None else fraction(simulation.buy_tax),
                sell_tax=None if simulation is None else fraction(simulation.sell_tax),
                failed_sell_share=said.failed_share(),
            ),
            warnings=frozenset({"is_honeypot"} if honeypot else ()),
        )
