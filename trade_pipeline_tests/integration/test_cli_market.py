"""Tokens as providers know them, on the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.cli import main
from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.market.providers.coingecko import CoinGecko
from trade_pipeline.core.market.providers.dexscreener import DexScreener
from trade_pipeline.core.market.providers.geckoterminal import GeckoTerminal
from trade_pipeline.core.market.providers.guard import ClientConfig
from trade_pipeline.core.market.providers.unified import UnifiedMarketProvider
from trade_pipeline_tests.core.market.providers import made
from trade_pipeline_tests.core.market.providers.server import LocalServer, Reply, local_server

FAST = ClientConfig(attempts=2, wait_initial_seconds=0.001, timeout_seconds=5, open_seconds=0)
CONTRACT = "0x" + "ab" * 20


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LocalServer]:
    """A local server that is asked in place of the providers."""
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    with local_server() as served:

        def opened(*_: Any) -> UnifiedMarketProvider:
            clock = SystemClock()
            kinds = (DexScreener, CoinGecko, GeckoTerminal)
            return UnifiedMarketProvider(
                [kind(clock, url=served.url, config=FAST) for kind in kinds]
            )

        monkeypatch.setattr(UnifiedMarketProvider, "open", opened)
        yield served


def run(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str
) -> tuple[Any, str, str]:
    monkeypatch.setattr("sys.argv", ["trade-pipeline", "market", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capfd.readouterr()
    return ended.value.code, out, err


def test_a_token_is_printed_with_its_sources_and_with_who_failed(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server.routes = {
        f"/token-pairs/v1/ethereum/{CONTRACT}": Reply(made.dexscreener(contract=CONTRACT)),
        f"/coins/ethereum/contract/{CONTRACT}": Reply(made.coingecko_coin()),
    }
    code, out, err = run(monkeypatch, capfd, "token", "ethereum", CONTRACT, "--json")
    facts = json.loads(out)
    assert code in (0, None)
    assert facts["contract"] == CONTRACT
    assert facts["sources"]["price_usd"] == "dexscreener"
    assert facts["failures"].keys() == {"geckoterminal"}
    assert len(facts["raw"]) == 2, "the addresses of both answers"
    assert "observations" not in facts

    code, out, err = run(monkeypatch, capfd, "token", "ethereum", CONTRACT)
    assert code in (0, None)
    assert "price_usd" in out
    assert "dexscreener" in out
    assert "no answer: geckoterminal: " in err


def test_retries_never_reach_what_a_program_reads(
    server: LocalServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    broken = Reply({"error": "busy"}, status=503)
    server.routes = {
        f"/token-pairs/v1/ethereum/{CONTRACT}": Reply(made.dexscreener(contract=CONTRACT)),
        f"/coins/ethereum/contract/{CONTRACT}": broken,
    }
    _, out, _ = run(monkeypatch, capfd, "token", "ethereum", CONTRACT, "--json")
    assert "coingecko" in json.loads(out)["failures"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("token", "mars", CONTRACT), "chain='mars': expected one of ethereum"),
        (("scan", "mars"), "chain='mars': expected one of ethereum"),
        (("token", "ethereum", CONTRACT), "no provider answered: dexscreener"),
        (("pair", "PEPE/USDT"), "TRADE_PIPELINE_EXCHANGE"),
        (("scan", "base"), "no provider answered"),
    ],
)
def test_what_cannot_be_answered_is_said_in_one_line(
    server: LocalServer,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    why: str,
) -> None:
    code, out, err = run(monkeypatch, capfd, *arguments)
    assert code == 2
    assert out == ""
    assert why in " ".join(err.split())
    assert "Traceback" not in err
