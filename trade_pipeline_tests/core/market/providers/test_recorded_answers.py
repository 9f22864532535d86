"""The real answers of each provider, read by the real clients from a local server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.market.event import TokenFacts
from trade_pipeline.core.market.providers.coingecko import _Listed, _Platforms
from trade_pipeline.core.market.providers.coinmarketcap import _Listing
from trade_pipeline.core.market.providers.errors import ProviderAnswerInvalid
from trade_pipeline.core.market.providers.http import Answer
from trade_pipeline_tests.core.market.providers.server import LocalServer
from trade_pipeline_tests.core.market.providers.test_adapters import observe
from trade_pipeline_tests.core.market.providers.test_http import NOON


@pytest.fixture
def answers(recordings: Path) -> Path:
    return recordings / "api_fixtures"


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def test_dexscreener(server_of_answers: LocalServer, answers: Path) -> None:
    contract = "6p6xgHyF7AeE6TZkSmFsko444wqoP15icUSqi2jfGiPN"
    body = read(answers / "dexscreener/latest_dex_pairs_solana_TRUMP.json")["pairs"]
    path = f"/token-pairs/v1/solana/{contract}"
    seen = observe(server_of_answers, "dexscreener", body, "solana", contract, path)
    assert (seen.price_usd, seen.liquidity_usd) == (17.62, 7430144.86)
    assert (seen.market_cap_usd, seen.facts.market_cap_estimated) == (3524731870, False)


def test_geckoterminal(server_of_answers: LocalServer, answers: Path) -> None:
    contract = "6WzjEvAUvWQxBAnc8s7F4DjLwssg8F1VQ4wUGbSyVnEQ"
    body = read(answers / "geckoterminal/pools_solana_new.json")
    path = f"/networks/solana/tokens/{contract}/pools"
    seen = observe(server_of_answers, "geckoterminal", body, "solana", contract, path)
    assert seen.price_usd == 0.000929392864780465
    assert (seen.liquidity_usd, seen.volume_24h_usd) == (357246.7066, 430.581406)
    assert (seen.market_cap_usd, seen.facts.market_cap_estimated) == (192291, True)


def test_coingecko_coins(server_of_answers: LocalServer, answers: Path) -> None:
    contract = "0xf4c8e32eadec4bfe97e0f595add0f4450a863a11"
    body = read(answers / "coingecko/coins_thena.json")
    path = f"/coins/binance-smart-chain/contract/{contract}"
    seen = observe(server_of_answers, "coingecko", body, "bsc", contract, path)
    assert (seen.price_usd, seen.market_cap_usd) == (0.679703, 37465839)
    assert seen.volume_24h_usd == 92503647


def test_coingecko_listings(answers: Path) -> None:
    folder = answers / "coingecko"
    listed = Answer("coingecko", (folder / "coins_markets_50_lowcap.json").read_bytes(), NOON)
    assert len(listed.read(list[_Listed])) == 50
    places = (folder / "coins_list_include_platform_100.json").read_bytes()
    assert len(Answer("coingecko", places, NOON).read(list[_Platforms])) == 100


def test_coinmarketcap(answers: Path) -> None:
    folder = answers / "coinmarketcap"
    old = (folder / "listings_latest_2019-02-08.json").read_bytes()
    coins = Answer("coinmarketcap", old, NOON).read(_Listing).data
    assert [coin.symbol for coin in coins] == ["BTC", "XRP", "ETH"]
    # It was asked for USDT: no USD is there to be read.
    tether = (folder / "listings_latest_2025-06-10.json").read_bytes()
    with pytest.raises(ProviderAnswerInvalid, match=r"data\.0\.quote\.USD"):
        Answer("coinmarketcap", tether, NOON).read(_Listing)


def test_goplus(server_of_answers: LocalServer, answers: Path) -> None:
    body = read(answers / "goplus/token_security_1_JUJU.json")
    (contract,) = body["result"]
    seen = observe(server_of_answers, "goplus", body, "ethereum", contract)
    assert seen.liquidity_usd == 2762.3885426
    assert seen.facts == TokenFacts(
        holders=158, top_holders_share=0.0, developer_share=0.0, lp_creator_share=0.0,
        lp_locked_share=pytest.approx(1.0), lp_burned_share=0.0, contract_verified=True,
        mintable=False, buy_tax=0.0, sell_tax=0.0,
    )  # fmt: skip
    assert seen.warnings == {"slippage_modifiable"}


def test_goplus_without_a_pool(server_of_answers: LocalServer, answers: Path) -> None:
    body = read(answers / "goplus/token_security_1_not_in_dex.json")
    (contract,) = body["result"]
    facts = observe(server_of_answers, "goplus", body, "ethereum", contract).facts
    assert (facts.buy_tax, facts.sell_tax, facts.mintable) == (0.05, 0.0493, True)
    assert facts.lp_locked_share is None
    assert facts.top_holders_share == pytest.approx(0.01)


def test_goplus_on_solana(server_of_answers: LocalServer, answers: Path) -> None:
    said = read(answers / "goplus/solana_token_security_shape.json")
    body = {"code": 1, "result": {"Mint": said}}
    seen = observe(server_of_answers, "goplus", body, "solana", "Mint", "/solana/token_security")
    assert seen.facts == TokenFacts(
        holders=21048, top_holders_share=0.04, lp_burned_share=1.0, mintable=False
    )


def test_honeypot_is(server_of_answers: LocalServer, answers: Path) -> None:
    body = read(answers / "honeypot_is/v2_IsHoneypot_GPU.json")
    seen = observe(server_of_answers, "honeypot_is", body)
    assert seen.facts.holders == 16203
    assert seen.facts.buy_tax == pytest.approx(0.04)
    assert seen.facts.failed_sell_share == pytest.approx(1 / 11771)
    assert seen.liquidity_usd == 2383331.4361114814


def test_rugcheck(server_of_answers: LocalServer, answers: Path) -> None:
    body = read(answers / "rugcheck/report_shape_trimmed.json")
    path = "/tokens/Mint/report"
    seen = observe(server_of_answers, "rugcheck", body, "solana", "Mint", path)
    assert seen.facts == TokenFacts(
        holders=38485, top_holders_share=pytest.approx(0.073), developer_share=0.0,
        lp_locked_share=1.0, mintable=False,
    )  # fmt: skip
    # The summary is another answer: it is refused, not half read.
    summary = read(answers / "rugcheck/report_summary_real.json")
    with pytest.raises(ProviderAnswerInvalid):
        observe(server_of_answers, "rugcheck", summary, "solana", "Mint", path)
