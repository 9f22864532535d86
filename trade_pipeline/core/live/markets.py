"""Settings of real markets that sessions trade as they arrive."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from trade_pipeline.core.market.bars import QUOTE
from trade_pipeline.core.market.providers.observation import CHAINS

_ADDRESS = re.compile(r"0x[0-9a-f]{40}")


class _Settings(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FactsConfig(_Settings):
    """How live providers are asked about the market's tokens."""

    seconds: float = Field(900, ge=0, description="a token is asked about so often; 0: never")
    max_age_seconds: float = Field(
        14_400, gt=0, description="what was known longer ago counts as unknown"
    )
    sentiment: bool = Field(False, description="whether the sources of sentiment are asked, too")


class SymbolConfig(_Settings):
    """A pair, and where its coin is known."""

    symbol: str = Field(description="the pair, such as PEPE/USDT")
    coingecko: str | None = Field(None, description="CoinGecko's id of the coin, for its supply")
    chain: str | None = Field(None, description="chain of the coin's contract")
    contract: str | None = Field(None, description="the coin's contract, for its facts")

    @field_validator("symbol")
    @classmethod
    def _is_pair(cls, symbol: str) -> str:
        base, slash, quote = symbol.partition("/")
        if not base or not slash or quote != QUOTE:
            raise ValueError(f"expected a pair like PEPE/{QUOTE}")
        return symbol

    @model_validator(mode="after")
    def _is_whole(self) -> SymbolConfig:
        if (self.chain is None) != (self.contract is None):
            raise ValueError("chain and contract belong together")
        if self.chain is not None and self.chain not in CHAINS:
            raise ValueError(f"chain={self.chain!r}: expected one of {', '.join(CHAINS)}")
        return self


def _symbol(given: Any) -> Any:
    return {"symbol": given} if isinstance(given, str) else given


class ExchangeMarketConfig(_Settings):
    """Hourly bars of an exchange's pairs, as they close."""

    kind: Literal["spot-1h"] = "spot-1h"
    exchange: str | None = Field(None, description="ccxt's id; none: the setting EXCHANGE")
    url: str | None = Field(None, description="another server that speaks its dialect")
    symbols: list[Annotated[SymbolConfig, BeforeValidator(_symbol)]] = Field(
        min_length=1, description="pairs, such as PEPE/USDT"
    )
    requests_per_minute: int = Field(600, ge=1, description="the exchange's limit, or less")
    parallel: int = Field(8, ge=1, description="pairs that are asked for at once")
    delay_seconds: float = Field(2, ge=0, description="after the hour, until bars are asked for")
    gather_seconds: float = Field(
        15, ge=0, description="bars that arrive within are told as of one moment"
    )
    retry_seconds: float = Field(5, gt=0, description="until a missing bar is asked for again")
    late_seconds: float = Field(
        180, gt=0, description="without any bar for longer, the reader counts as behind"
    )
    look_seconds: float = Field(0.5, gt=0, description="between two looks at the clock")
    facts: FactsConfig = FactsConfig()

    @model_validator(mode="after")
    def _are_different(self) -> ExchangeMarketConfig:
        names = [one.symbol for one in self.symbols]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"symbols: {', '.join(twice)} more than once")
        return self


class ChainMarketConfig(_Settings):
    """Uniswap V2's pools of WETH, from a node's newest blocks."""

    kind: Literal["uniswap-v2"] = "uniswap-v2"
    chain: str = Field("ethereum", description="the node's chain, as providers are asked")
    pool_days: float = Field(7, ge=0, le=90, description="pools that were created so long before")
    pools: list[str] = Field([], description="addresses of older pools")
    confirmations: int = Field(
        1, ge=0, le=64, description="blocks on top of one until it is read; 0: the newest is"
    )
    poll_seconds: float = Field(3, gt=0, description="between two looks at the node")
    late_seconds: float = Field(
        60, gt=0, description="when the newest block is older, the reader counts as behind"
    )
    facts_min_liquidity_usd: float = Field(
        20_000, ge=0, description="providers are asked about pools that hold more, USD"
    )
    facts: FactsConfig = FactsConfig()

    @field_validator("chain")
    @classmethod
    def _is_chain(cls, chain: str) -> str:
        if chain not in CHAINS:
            raise ValueError(f"expected one of {', '.join(CHAINS)}")
        return chain

    @field_validator("pools")
    @classmethod
    def _are_addresses(cls, pools: list[str]) -> list[str]:
        found = [pool.lower() for pool in pools]
        for pool in found:
            if not _ADDRESS.fullmatch(pool):
                raise ValueError(f"{pool!r}: expected an address of 40 hexadecimal digits")
        return found


MarketConfig = Annotated[ExchangeMarketConfig | ChainMarketConfig, Field(discriminator="kind")]
