"""GoPlus: what a contract can do and who holds its token; keyless.

Every number and truth is a text, "" is unknown, and a token without a pool has no ``dex`` and no
``lp_holders`` at all.  Shares and taxes are fractions, ``burn_percent`` (Solana) is 0..100.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import Field

from trade_pipeline.core.clock import Clock
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.errors import ProviderUnavailable, TokenNotListed
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.http import Answer, Fields, ProviderClient
from trade_pipeline.core.market.providers.observation import (
    BURNED,
    Amount,
    Count,
    Flag,
    Name,
    Percent,
    Share,
    TokenObservation,
    canonical_contract,
    fraction,
    provider_chain,
    total_share,
)

URL = "https://api.gopluslabs.io/api/v1"
CHAIN_NAMES = {
    "ethereum": "1",
    "bsc": "56",
    "base": "8453",
    "arbitrum": "42161",
    "optimism": "10",
    "polygon": "137",
    "avalanche": "43114",
    "solana": "solana",
}
_TOO_MANY_REQUESTS = 4029
# What it warns of, where the flag is set.
_WARNINGS = (
    "is_honeypot", "cannot_buy", "cannot_sell_all", "hidden_owner", "can_take_back_ownership",
    "owner_change_balance", "selfdestruct", "transfer_pausable", "is_blacklisted",
    "slippage_modifiable", "personal_slippage_modifiable", "trading_cooldown",
    "honeypot_with_same_creator",
)  # fmt: skip


class _Holder(Fields):
    address: str | None = None
    account: str | None = None
    percent: Share
    is_locked: Flag = None

    @property
    def who(self) -> str:
        return canonical_contract(self.address or self.account or "")


class _Dex(Fields):
    pair: str | None = None
    liquidity: Amount = None
    burn_percent: Percent = None
    tvl: Amount = None


class _Status(Fields):
    status: Flag


class _Envelope(Fields):
    code: int
    result: dict[str, Any] | None = None


class _Evm(Fields):
    is_open_source: Flag = None
    is_mintable: Flag = None
    buy_tax: Share = None
    sell_tax: Share = None
    holder_count: Count = None
    creator_address: str | None = None
    creator_percent: Share = None
    owner_address: str | None = None
    owner_percent: Share = None
    token_symbol: Name | None = None
    holders: list[_Holder] | None = None
    lp_holders: list[_Holder] | None = None
    dex: list[_Dex] = Field(default_factory=list)
    is_honeypot: Flag = None
    cannot_buy: Flag = None
    cannot_sell_all: Flag = None
    hidden_owner: Flag = None
    can_take_back_ownership: Flag = None
    owner_change_balance: Flag = None
    selfdestruct: Flag = None
    transfer_pausable: Flag = None
    is_blacklisted: Flag = None
    slippage_modifiable: Flag = None
    personal_slippage_modifiable: Flag = None
    trading_cooldown: Flag = None
    honeypot_with_same_creator: Flag = None


class _Solana(Fields):
    mintable: _Status
    freezable: _Status
    non_transferable: Flag
    holder_count: Count
    holders: list[_Holder] | None = None
    dex: list[_Dex] = Field(default_factory=list)


class _EvmResult(Fields):
    result: dict[str, _Evm]


class _SolanaResult(Fields):
    result: dict[str, _Solana]


class GoPlus:
    """Facts about a token's contract, holders and liquidity providers."""

    provider = "goplus"

    def __init__(self, clock: Clock, *, url: str = URL, config: ClientConfig | None = None) -> None:
        self.client = ProviderClient(
            self.provider, url, clock, config or ClientConfig(requests=25, cache_seconds=60)
        )

    async def token(self, chain: str, contract: str) -> TokenObservation:
        """A token by its contract.

        Raises:
            ProviderError: see the client; `TokenNotListed` where it knows nothing.
        """
        network = provider_chain(self.provider, CHAIN_NAMES, chain)
        key = canonical_contract(contract)
        path = "/solana/token_security" if network == "solana" else f"/token_security/{network}"
        answer = await self.client.get(path, {"contract_addresses": key}, check=_require_not_busy)
        envelope = answer.read(_Envelope)
        if key not in (envelope.result or {}):
            raise TokenNotListed(
                self.provider, f"contract={contract!r}: nothing known (code {envelope.code})"
            )
        if network == "solana":
            return self._solana(answer, contract, answer.read(_SolanaResult).result[key])
        return self._evm(answer, chain, contract, answer.read(_EvmResult).result[key])

    def _evm(self, answer: Answer, chain: str, contract: str, said: _Evm) -> TokenObservation:
        deepest = max(said.dex, key=lambda dex: dex.liquidity or 0.0, default=_Dex())
        pools = {canonical_contract(dex.pair) for dex in said.dex if dex.pair}
        creator = canonical_contract(said.creator_address or "")
        owner = canonical_contract(said.owner_address or "")
        developer = [said.creator_percent, said.owner_percent if owner != creator else None]
        lp = said.lp_holders
        cannot_sell = said.is_honeypot or said.cannot_sell_all
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            chain=chain,
            contract=contract,
            symbol=said.token_symbol,
            pool=deepest.pair,
            liquidity_usd=deepest.liquidity,
            facts=TokenFacts(
                holders=said.holder_count,
                top_holders_share=_top_share(said.holders, pools),
                developer_share=(None if said.creator_percent is None else total_share(developer)),
                lp_creator_share=_share(lp, lambda h: bool(creator) and h.who == creator),
                lp_locked_share=_share(lp, lambda h: bool(h.is_locked) and h.who not in BURNED),
                lp_burned_share=_share(lp, lambda h: h.who in BURNED),
                contract_verified=said.is_open_source,
                mintable=said.is_mintable,
                buy_tax=said.buy_tax,
                sell_tax=said.sell_tax,
                # That it sees no honeypot says nothing of real sales.
                failed_sell_share=1.0 if cannot_sell else None,
            ),
            warnings=frozenset(name for name in _WARNINGS if getattr(said, name)),
        )

    def _solana(self, answer: Answer, contract: str, said: _Solana) -> TokenObservation:
        deepest = max(said.dex, key=lambda dex: dex.tvl or 0.0, default=_Dex())
        return TokenObservation(
            provider=self.provider,
            answers=(answer,),
            chain="solana",
            contract=contract,
            facts=TokenFacts(
                holders=said.holder_count,
                top_holders_share=_top_share(said.holders, set()),
                lp_burned_share=fraction(deepest.burn_percent),
                mintable=said.mintable.status,
                failed_sell_share=1.0 if said.non_transferable else None,
            ),
            warnings=frozenset({"freezable"} if said.freezable.status else ()),
        )


def _require_not_busy(answer: Answer) -> None:
    """It says with HTTP 200 that there were too many requests."""
    if answer.read(_Envelope).code == _TOO_MANY_REQUESTS:
        raise ProviderUnavailable(answer.provider, "too many requests (code 4029)")


def _top_share(holders: list[_Holder] | None, pools: set[str]) -> float | None:
    """The supply that the ten largest holders could sell: no pools, no burned or locked tokens."""
    return _share(
        holders, lambda h: h.who not in pools and h.who not in BURNED and not h.is_locked, 10
    )


def _share(
    holders: list[_Holder] | None, counts: Callable[[_Holder], bool], most: int | None = None
) -> float | None:
    """The share of those that count; None where there is no list."""
    if not holders:
        return None
    shares = sorted((h.percent or 0.0 for h in holders if counts(h)), reverse=True)
    return total_share(shares[:most])
