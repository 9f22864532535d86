"""Each provider's answers as the one typed result: units, unknowns, and what is refused."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.coinmarketcap import CoinMarketCap
from trade_pipeline.core.market.providers.dexscreener import DexScreener
from trade_pipeline.core.market.providers.errors import (
    ProviderAnswerInvalid,
    ProviderUnavailable,
    TokenNotListed,
)
from trade_pipeline.core.market.providers.geckoterminal import GeckoTerminal
from trade_pipeline.core.market.providers.goplus import GoPlus
from trade_pipeline.core.market.providers.honeypot_is import HoneypotIs
from trade_pipeline.core.market.providers.observation import Bounds, TokenObservation
from trade_pipeline.core.market.providers.rugcheck import RugCheck
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, Route
from trade_pipeline_tests.core.market.providers.test_http import NOON

KEY = SecretStr("key")
MAKERS: dict[str, Callable[..., Any]] = {
    "dexscreener": DexScreener,
    "geckoterminal": GeckoTerminal,
    "coingecko": CoinGecko,
    "coinmarketcap": lambda clock, url: CoinMarketCap(clock, key=KEY, url=url),
    "goplus": GoPlus,
    "honeypot_is": HoneypotIs,
    "rugcheck": RugCheck,
}
ADDRESS = made.TOKEN
PATHS = {
    "dexscreener": f"/token-pairs/v1/ethereum/{ADDRESS}",
    "geckoterminal": f"/networks/eth/tokens/{ADDRESS}/pools",
    "coingecko": f"/coins/ethereum/contract/{ADDRESS}",
    "coinmarketcap": "/v2/cryptocurrency/quotes/latest",
    "goplus": "/token_security/1",
    "honeypot_is": "/v2/IsHoneypot",
    "rugcheck": f"/tokens/{made.MINT}/report",
}
INFO: dict[str, Route] = {
    "/v2/cryptocurrency/info": Reply(
        {"data": {"77": {"id": 77, "platform": {"slug": "ethereum", "token_address": ADDRESS}}}}
    )
}


def made_answer(provider: str) -> Any:
    answers: dict[str, Callable[[], Any]] = {
        "dexscreener": made.dexscreener,
        "geckoterminal": made.geckoterminal,
        "coingecko": made.coingecko_coin,
        "coinmarketcap": lambda: {"data": {"77": made.coinmarketcap_coin()}},
        "goplus": made.goplus,
        "honeypot_is": made.honeypot_is,
        "rugcheck": made.rugcheck,
    }
    return answers[provider]()


def observe(
    server: LocalServer,
    provider: str,
    body: Any,
    chain: str = "ethereum",
    contract: str = ADDRESS,
    path: str | None = None,
) -> TokenObservation:
    server.routes = {**INFO, path or PATHS[provider]: Reply(body)}

    async def ask() -> TokenObservation:
        adapter = MAKERS[provider](MarketClock(NOON), url=server.url)
        async with adapter.client:
            found: TokenObservation = await adapter.token(chain, contract)
            return found

    return asyncio.run(ask())


def test_dexscreener_tells_of_the_deepest_pool(server_of_answers: LocalServer) -> None:
    seen = observe(server_of_answers, "dexscreener", made.dexscreener())
    assert (seen.pool, seen.price_usd, seen.liquidity_usd) == (made.POOL, 0.02, 80_000.0)
    assert (seen.volume_24h_usd, seen.symbol) == (150_000.5, "MADE")
    assert seen.created_at == 1_700_000_000_123_000
    # The fully diluted value stands in for the cap, and says so.
    assert (seen.market_cap_usd, seen.facts.market_cap_estimated) == (3_000_000, True)
    assert seen.observed_at == NOON


def test_geckoterminal_reads_texts_as_numbers(server_of_answers: LocalServer) -> None:
    seen = observe(server_of_answers, "geckoterminal", made.geckoterminal())
    assert (seen.price_usd, seen.liquidity_usd, seen.volume_24h_usd) == (
        0.0201, 79_000.5, 151_000.25,
    )  # fmt: skip
    assert (seen.market_cap_usd, seen.facts.market_cap_estimated) == (2_000_000, False)
    assert seen.created_at == 1_700_000_000_000_000
    assert seen.symbol == "MADE"


def test_a_market_cap_of_zero_is_unknown_and_not_nothing(server_of_answers: LocalServer) -> None:
    seen = observe(server_of_answers, "coingecko", made.coingecko_coin(cap=0))
    assert seen.market_cap_usd is None
    assert seen.facts.market_cap_estimated is None
    assert (seen.price_usd, seen.volume_24h_usd, seen.pool) == (0.0199, 400_000, None)


def test_coinmarketcaps_reported_cap_is_an_estimate(server_of_answers: LocalServer) -> None:
    seen = observe(server_of_answers, "coinmarketcap", {"data": {"77": made.coinmarketcap_coin()}})
    assert (seen.market_cap_usd, seen.facts.market_cap_estimated) == (2_500_000, True)
    assert len(seen.raw) == 2
    assert all(r.headers["x-cmc_pro_api_key"] == "key" for r in server_of_answers.requests)
    verified = made.coinmarketcap_coin(cap=1_000_000)
    seen = observe(server_of_answers, "coinmarketcap", {"data": {"77": verified}})
    assert (seen.market_cap_usd, seen.facts.market_cap_estimated) == (1_000_000, False)


def test_goplus_texts_become_facts_and_an_empty_text_is_unknown(
    server_of_answers: LocalServer,
) -> None:
    seen = observe(server_of_answers, "goplus", made.goplus())
    assert seen.facts == TokenFacts(
        holders=1580,
        top_holders_share=0.04,  # no pool, nothing burned, nothing locked
        developer_share=0.04,  # creator and owner are one
        lp_creator_share=0.3,
        lp_locked_share=0.6,
        lp_burned_share=0.1,
        contract_verified=True,
        mintable=True,
        buy_tax=0.03,
        sell_tax=None,
    )
    assert (seen.liquidity_usd, seen.pool) == (81_000.5, made.POOL)
    assert seen.warnings == {"hidden_owner"}


def test_goplus_knows_no_liquidity_of_a_token_without_a_pool(
    server_of_answers: LocalServer,
) -> None:
    body = made.goplus()
    said = body["result"][ADDRESS.lower()]
    del said["dex"], said["lp_holders"]
    seen = observe(server_of_answers, "goplus", body)
    assert (seen.liquidity_usd, seen.pool) == (None, None)
    assert (seen.facts.lp_locked_share, seen.facts.lp_creator_share) == (None, None)
    assert seen.facts.holders == 1580


@pytest.mark.parametrize("flag", ["is_honeypot", "cannot_sell_all"])
def test_goplus_says_that_no_sale_works(server_of_answers: LocalServer, flag: str) -> None:
    seen = observe(server_of_answers, "goplus", made.goplus(**{flag: "1"}))
    assert seen.facts.failed_sell_share == 1.0
    assert flag in seen.warnings


def test_goplus_that_is_busy_says_so_with_http_200(server_of_answers: LocalServer) -> None:
    with pytest.raises(ProviderUnavailable, match="4029"):
        observe(server_of_answers, "goplus", {"code": 4029, "message": "too many", "result": None})


def test_honeypot_is_percentages_become_shares(server_of_answers: LocalServer) -> None:
    seen = observe(server_of_answers, "honeypot_is", made.honeypot_is())
    assert (seen.facts.buy_tax, seen.facts.sell_tax) == (0.03, 0.045)
    assert seen.facts.failed_sell_share == 0.05
    assert (seen.facts.holders, seen.facts.contract_verified) == (1600, True)
    (request,) = server_of_answers.requests
    assert request.query == {"address": ADDRESS, "chainID": "1"}


def test_a_honeypot_fails_every_sale_and_its_taxes_are_unknown_where_none_was_simulated(
    server_of_answers: LocalServer,
) -> None:
    seen = observe(server_of_answers, "honeypot_is", made.honeypot_is(True, simulated=False))
    assert seen.facts.failed_sell_share == 1.0
    assert (seen.facts.buy_tax, seen.facts.sell_tax) == (None, None)
    assert seen.warnings == {"is_honeypot"}


def test_rugcheck_takes_the_deepest_market_and_leaves_out_pools(
    server_of_answers: LocalServer,
) -> None:
    seen = observe(server_of_answers, "rugcheck", made.rugcheck(), "solana", made.MINT)
    assert seen.facts == TokenFacts(
        holders=700,
        top_holders_share=0.07,
        developer_share=0.05,
        lp_locked_share=0.95,
        mintable=False,
    )
    assert seen.warnings == {"Low Liquidity", "rugged"}


def test_low_caps_are_those_of_the_chain_within_the_bounds(server_of_answers: LocalServer) -> None:
    server_of_answers.routes = {
        "/coins/list": Reply(made.coingecko_list()),
        "/coins/markets": [Reply(made.coingecko_markets()), Reply([])],
    }

    async def ask() -> list[TokenObservation]:
        adapter = CoinGecko(MarketClock(NOON), url=server_of_answers.url)
        async with adapter.client:
            return await adapter.low_caps("ethereum", Bounds())

    assert [(s.instrument, s.contract) for s in asyncio.run(ask())] == [("made", ADDRESS)]


def test_a_pool_of_geckoterminal_counts_once_a_token(server_of_answers: LocalServer) -> None:
    server_of_answers.routes = {"/networks/eth/pools": Reply(made.geckoterminal())}

    async def ask(bounds: Bounds) -> list[TokenObservation]:
        adapter = GeckoTerminal(MarketClock(NOON), url=server_of_answers.url)
        async with adapter.client:
            return await adapter.low_caps("ethereum", bounds)

    assert len(asyncio.run(ask(Bounds()))) == 1
    assert asyncio.run(ask(Bounds(market_cap_min=2_000_001))) == []
    assert asyncio.run(ask(Bounds(market_cap_max=1_999_999))) == []
    assert asyncio.run(ask(Bounds(volume_24h_min=151_001))) == []


# Where to break each made answer: (place, wrong value; None: the field is taken away).
BROKEN: list[tuple[str, tuple[Any, ...], Any]] = [
    ("dexscreener", (0, "pairAddress"), None),
    ("dexscreener", (1, "priceUsd"), "12 USD"),
    ("dexscreener", (1, "liquidity", "usd"), -5),
    ("geckoterminal", ("data", 0, "attributes", "reserve_in_usd"), None),
    ("geckoterminal", ("data", 0, "attributes", "base_token_price_usd"), {"usd": "1"}),
    ("coingecko", ("market_data", "current_price"), None),
    ("coingecko", ("sentiment_votes_up_percentage",), 180.0),
    ("coinmarketcap", ("data", "77", "quote", "USD"), None),
    ("goplus", ("result", ADDRESS.lower(), "buy_tax"), "7"),
    ("goplus", ("result", ADDRESS.lower(), "holders"), "none"),
    ("goplus", ("result", ADDRESS.lower(), "is_honeypot"), "maybe"),
    ("honeypot_is", ("simulationSuccess",), None),
    ("honeypot_is", ("simulationResult", "sellTax"), 450.0),
    ("rugcheck", ("mintAuthority",), None),
    ("rugcheck", ("topHolders", 0, "pct"), "most"),
]


@pytest.mark.parametrize(
    ("provider", "place", "value"), BROKEN, ids=[f"{p}-{at[-1]}" for p, at, _ in BROKEN]
)
def test_a_changed_field_is_refused_by_name(
    server_of_answers: LocalServer, provider: str, place: tuple[Any, ...], value: Any
) -> None:
    body = copy.deepcopy(made_answer(provider))
    at = body
    for step in place[:-1]:
        at = at[step]
    if value is None:
        del at[place[-1]]
    else:
        at[place[-1]] = value
    chain, contract = ("solana", made.MINT) if provider == "rugcheck" else ("ethereum", ADDRESS)
    with pytest.raises(ProviderAnswerInvalid) as caught:
        observe(server_of_answers, provider, body, chain, contract)
    assert caught.value.provider == provider
    assert str(place[-1]) in caught.value.field
    if value is not None:
        assert caught.value.value == value


# CoinMarketCap is asked by the contract alone.
@pytest.mark.parametrize("provider", sorted(set(MAKERS) - {"coinmarketcap"}))
def test_an_unknown_chain_is_not_listed(server_of_answers: LocalServer, provider: str) -> None:
    with pytest.raises(TokenNotListed, match="chain='dogechain'"):
        observe(server_of_answers, provider, {}, "dogechain")


@pytest.mark.parametrize(
    ("provider", "body"),
    [
        ("dexscreener", []),
        ("dexscreener", made.dexscreener(contract="0x" + "99" * 20)),
        ("geckoterminal", {"data": []}),
        ("goplus", {"code": 1, "result": {}}),
        ("goplus", {"code": 2, "result": None}),
        ("coinmarketcap", {"data": {}}),
    ],
)
def test_a_token_that_a_provider_does_not_have_is_not_listed(
    server_of_answers: LocalServer, provider: str, body: Any
) -> None:
    with pytest.raises(TokenNotListed):
        observe(server_of_answers, provider, body)


@pytest.mark.parametrize("provider", ["coingecko", "honeypot_is", "rugcheck"])
def test_a_404_is_a_token_that_is_not_listed(server_of_answers: LocalServer, provider: str) -> None:
    chain = "solana" if provider == "rugcheck" else "ethereum"
    with pytest.raises(TokenNotListed):
        observe(server_of_answers, provider, {}, chain, path="/nowhere")
