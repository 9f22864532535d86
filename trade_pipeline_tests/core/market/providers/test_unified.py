"""All providers as one: order, disagreements, failures, and the raw answers behind it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any, TypeVar

import pytest
from pydantic import SecretStr

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.coinmarketcap import CoinMarketCap
from trade_pipeline.core.market.providers.dexscreener import DexScreener
from trade_pipeline.core.market.providers.errors import NoProviderAnswered
from trade_pipeline.core.market.providers.geckoterminal import GeckoTerminal
from trade_pipeline.core.market.providers.goplus import GoPlus
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.honeypot_is import HoneypotIs
from trade_pipeline.core.market.providers.http import Answer
from trade_pipeline.core.market.providers.merge import merge
from trade_pipeline.core.market.providers.observation import TokenObservation
from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider, providers_of
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, Request
from trade_pipeline_tests.core.market.providers.test_adapters import INFO, PATHS, made_answer
from trade_pipeline_tests.core.market.providers.test_http import CANARY, FAST, NOON

T = TypeVar("T")
SIX = ("dexscreener", "geckoterminal", "coingecko", "coinmarketcap", "goplus", "honeypot_is")


def asked(
    server: LocalServer,
    question: Callable[[UnifiedMarketProvider], Coroutine[Any, Any, T]],
    *,
    store: Store | None = None,
    deadline_seconds: float = 20.0,
) -> T:
    """What the six providers of Ethereum together answer."""
    clock, url = MarketClock(NOON), server.url
    config, key = ClientConfig(**FAST, attempts=2, timeout_seconds=1.0), SecretStr(CANARY)
    providers = [
        DexScreener(clock, url=url, config=config),
        GeckoTerminal(clock, url=url, config=config),
        CoinGecko(clock, url=url, config=config, key=key),
        CoinMarketCap(clock, url=url, config=config, key=key),
        GoPlus(clock, url=url, config=config),
        HoneypotIs(clock, url=url, config=config),
    ]

    async def ask() -> T:
        async with UnifiedMarketProvider(
            providers, store=store, deadline_seconds=deadline_seconds
        ) as unified:
            return await question(unified)

    return asyncio.run(ask())


@pytest.fixture
def all_well(server_of_answers: LocalServer) -> LocalServer:
    server_of_answers.routes = {
        **INFO,
        **{PATHS[name]: Reply(made_answer(name)) for name in SIX},
        "/coins/list": Reply(made.coingecko_list()),
        "/coins/markets": [Reply(made.coingecko_markets()), Reply([])],
        "/networks/eth/pools": Reply(made.geckoterminal()),
        "/v1/cryptocurrency/listings/latest": Reply(
            {"data": [made.coinmarketcap_coin(), made.coinmarketcap_coin(cap=9e9)]}
        ),
    }
    return server_of_answers


def test_each_field_is_of_the_first_provider_that_knows_it(all_well: LocalServer) -> None:
    token = asked(all_well, lambda unified: unified.token("ethereum", made.TOKEN))
    assert token.failures == {}
    assert (token.price_usd, token.sources["price_usd"]) == (0.02, "dexscreener")
    assert (token.liquidity_usd, token.pool) == (80_000.0, made.POOL)
    # By the circulating supply, before the estimate of the first in the order.
    assert (token.market_cap_usd, token.sources["market_cap_usd"]) == (1_900_000, "coingecko")
    assert token.facts.market_cap_estimated is False
    # The simulated purchase and GoPlus agree on one tax, only the simulation knows the other.
    assert (token.facts.buy_tax, token.facts.sell_tax) == (0.03, 0.045)
    assert (token.facts.lp_locked_share, token.sources["lp_locked_share"]) == (0.6, "goplus")
    assert (token.facts.holders, token.sources["holders"]) == (1600, "honeypot_is")
    assert token.warnings == ("goplus: hidden_owner",)
    assert token.disagreements == ()
    assert token.observed_at == NOON


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Reply(status=500), "HTTP 500"),
        (Reply(status=403), "HTTP 403"),
        (Reply(b"<html>", 200), "body="),
        (Reply([*made.dexscreener()[:1], {"chainId": "ethereum"}]), "1.pairAddress="),
        (Reply([], cut=True), "RemoteProtocolError"),
        (Reply([], delay_seconds=1.2), "no answer within 0.4 s"),
    ],
    ids=["500", "403", "html", "changed", "cut", "slow"],
)
def test_one_provider_that_fails_stops_no_other_and_is_named(
    all_well: LocalServer, fault: Reply, why: str
) -> None:
    all_well.routes[PATHS["dexscreener"]] = fault
    deadline = 0.4 if why.startswith("no answer") else 20.0
    token = asked(
        all_well,
        lambda unified: unified.token("ethereum", made.TOKEN),
        deadline_seconds=deadline,
    )
    assert list(token.failures) == ["dexscreener"]
    assert why in token.failures["dexscreener"]
    assert (token.price_usd, token.sources["price_usd"]) == (0.0201, "geckoterminal")


def test_nobodys_answer_is_an_error_that_says_why(server_of_answers: LocalServer) -> None:
    with pytest.raises(NoProviderAnswered) as caught:
        asked(server_of_answers, lambda unified: unified.token("ethereum", made.TOKEN))
    assert set(caught.value.failures) == set(SIX)


def test_a_chain_that_nobody_knows_is_a_mistake_of_the_user(server_of_answers: LocalServer) -> None:
    with pytest.raises(BadConfig, match="chain='eth'"):
        asked(server_of_answers, lambda unified: unified.token("eth", made.TOKEN))


def test_disagreement_is_noted_by_field_with_all_values(all_well: LocalServer) -> None:
    all_well.routes[PATHS["geckoterminal"]] = Reply(made.geckoterminal(price="0.0300"))
    all_well.routes[PATHS["goplus"]] = Reply(
        made.goplus(buy_tax="0.5", is_open_source="0", is_honeypot="1")
    )
    token = asked(all_well, lambda unified: unified.token("ethereum", made.TOKEN))
    found = {d.field: d.values for d in token.disagreements}
    assert found["price_usd"] == {
        "dexscreener": 0.02, "geckoterminal": 0.03, "coingecko": 0.0199, "coinmarketcap": 0.02,
    }  # fmt: skip
    assert found["contract_verified"] == {"goplus": False, "honeypot_is": True}
    assert found["buy_tax"] == {"goplus": 0.5, "honeypot_is": 0.03}
    assert found["failed_sell_share"] == {"goplus": 1.0, "honeypot_is": 0.05}
    assert set(found) == {"price_usd", "contract_verified", "buy_tax", "failed_sell_share"}
    # The price keeps to the order, of the facts the one that warns more is taken.
    assert token.price_usd == 0.02
    assert (token.facts.buy_tax, token.facts.contract_verified) == (0.5, False)
    assert (token.facts.failed_sell_share, token.sources["failed_sell_share"]) == (1.0, "goplus")


def observation(provider: str, **known: Any) -> TokenObservation:
    return TokenObservation(provider, (Answer(provider, provider.encode(), NOON),), **known)


def test_liquidity_is_compared_within_one_pool_only() -> None:
    one = observation("dexscreener", pool="0xAA", liquidity_usd=100.0)
    same = observation("geckoterminal", pool="0xaa", liquidity_usd=300.0)
    other = observation("goplus", pool="0xbb", liquidity_usd=9_000.0)
    assert merge([one, other], {}).disagreements == ()
    (apart,) = merge([one, same, other], {}).disagreements
    assert apart.values == {"dexscreener": 100.0, "geckoterminal": 300.0}


def test_an_estimated_cap_gives_way_to_a_circulating_one_whatever_the_order() -> None:
    guess = observation(
        "coinmarketcap", market_cap_usd=5.0, facts=TokenFacts(market_cap_estimated=True)
    )
    sure = observation(
        "dexscreener", market_cap_usd=4.0, facts=TokenFacts(market_cap_estimated=False)
    )
    merged = merge([guess, sure], {})
    assert (merged.market_cap_usd, merged.facts.market_cap_estimated) == (4.0, False)
    assert merge([guess], {}).facts.market_cap_estimated is True


def test_what_nobody_knows_stays_unknown() -> None:
    merged = merge([observation("rugcheck")], {})
    assert (merged.price_usd, merged.liquidity_usd, merged.market_cap_usd) == (None, None, None)
    assert merged.facts == TokenFacts()


def test_discovered_tokens_are_merged_by_contract_whatever_its_case(all_well: LocalServer) -> None:
    found = asked(all_well, lambda unified: unified.discover("ethereum"))
    assert found.failures == {}
    (token,) = found.tokens
    assert {o.provider for o in token.observations} == {
        "coingecko", "geckoterminal", "coinmarketcap",
    }  # fmt: skip


def test_a_scan_asks_every_provider_about_what_was_discovered(all_well: LocalServer) -> None:
    all_well.routes["/v1/cryptocurrency/listings/latest"] = Reply(status=500)
    found = asked(all_well, lambda unified: unified.scan_low_caps("ethereum"))
    assert list(found.failures) == ["coinmarketcap"]
    (token,) = found.tokens
    assert token.facts.sell_tax == 0.045
    # What is no low cap by all that is known now is left out.
    all_well.routes[PATHS["coingecko"]] = Reply(made.coingecko_coin(cap=70_000_000))
    all_well.routes["/coins/markets"] = [Reply(made.coingecko_markets()), Reply([])]
    assert asked(all_well, lambda unified: unified.scan_low_caps("ethereum")).tokens == ()


def test_every_raw_answer_is_an_artifact_for_a_year_and_no_key_is_in_any_of_them(
    all_well: LocalServer,
    database: Database,
    artifacts: ArtifactStore,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)

    def with_the_key(request: Request) -> Reply:
        return Reply(made.coingecko_coin() | {"echo": request.headers})

    all_well.routes[PATHS["coingecko"]] = with_the_key
    token = asked(
        all_well,
        lambda unified: unified.token("ethereum", made.TOKEN),
        store=Store(database, artifacts),
    )
    # CoinMarketCap is asked twice.
    assert len(token.raw) == len(SIX) + 1
    assert {a for o in token.observations for a in o.raw} == set(token.raw)
    for address in token.raw:
        assert CANARY.encode() not in artifacts.get(address)
    with database.connect() as connection:
        rows = connection.execute(
            "SELECT address, expires_at, media_type FROM trade.artifacts WHERE address = ANY(%s)",
            (list(token.raw),),
        ).fetchall()
    year = moment_of(NOON) + timedelta(days=365)
    assert {(a, e, m) for a, e, m in rows} == {(a, year, "application/json") for a in token.raw}
    assert CANARY not in caplog.text + repr(token)
    assert any(CANARY in str(r.headers) for r in all_well.requests)


def test_without_a_key_the_providers_that_need_none_serve() -> None:
    clock = MarketClock(NOON)
    without = providers_of(Settings(_env_file=None), clock)
    names = [p.provider for p in without]
    assert names == [
        "dexscreener", "geckoterminal", "coingecko", "honeypot_is", "goplus", "rugcheck",
    ]  # fmt: skip
    given = Settings(_env_file=None, coinmarketcap_api_key=SecretStr("k"))
    assert [p.provider for p in providers_of(given, clock)][-1] == "coinmarketcap"
