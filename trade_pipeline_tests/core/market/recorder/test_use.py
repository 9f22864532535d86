"""What was recorded is used: by the command line that records it, and by a backtest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.cli import main
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core.market.providers.server import LocalServer
from trade_pipeline_tests.core.market.recorder.chain import Node, address, small_chain
from trade_pipeline_tests.core.market.recorder.test_recorder import CANARY, at, record


def typed(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["trade-pipeline", "ingest", "uniswap-v2", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_the_command_records_a_tape_and_tells_its_facts(
    server_of_answers: LocalServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server_of_answers.routes[f"/{CANARY}"] = small_chain().serve
    monkeypatch.setenv("TRADE_PIPELINE_RPC_URL", f"{server_of_answers.url}/{CANARY}")
    place = ["--from-block", "2000", "--out", str(tmp_path), "--json"]
    assert typed(monkeypatch, *place, "--to-block", "4600") == 0
    facts = json.loads(capsys.readouterr().out)
    assert (facts["pools"], facts["events"], facts["left_out"]) == (2, 70, 1)
    assert len(UniswapV2Tape(tmp_path).instruments) == 2
    assert typed(monkeypatch, *place, "--to-block", "9999") == 2
    told = capsys.readouterr()
    assert "the newest block that is final is 4990" in told.err
    assert CANARY not in told.out + told.err


def test_a_node_must_be_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRADE_PIPELINE_RPC_URL", raising=False)
    assert typed(monkeypatch, "--from-block", "1", "--to-block", "2", "--out", "tape") == 2
    assert "TRADE_PIPELINE_RPC_URL" in capsys.readouterr().err


def trading_chain() -> Node:
    """Two days of one pool that the strategy may trade."""
    node = Node(head=16_000)
    node.tokens = {address(1): ("ONE", 18, 10**6 * 10**18)}
    for block in range(900, 16_000, 250):
        node.price(block, 2_000)
    node.create(2_000, address(0xA1), address(1))
    weth, tokens = 100.0, 500_000.0
    node.sync(2_000, address(0xA1), int(weth * 1e18), int(tokens * 1e18))
    for number, block in enumerate(range(2_010, 15_900, 20)):
        k = weth * tokens
        weth += 3.0 if number % 5 else -11.0
        tokens = k / weth
        node.sync(block, address(0xA1), int(weth * 1e18), int(tokens * 1e18))
    return node


def test_a_backtest_runs_on_what_was_recorded(
    server_of_answers: LocalServer,
    tmp_path: Path,
    database: Database,
    artifacts: ArtifactStore,
) -> None:
    server_of_answers.routes["/"] = trading_chain().serve
    record(server_of_answers.url, tmp_path, 2_000, 15_900)
    config: dict[str, Any] = {"strategy": {"signal": {"min_confidence": 0.0}}}
    done = run_backtest(
        database,
        artifacts,
        UniswapV2Tape(tmp_path),
        start=moment_of(at(2_000)),
        end=moment_of(at(15_900)),
        seed=1,
        config=TradingConfig.parse(config),
    )
    with database.connect("trade_reader") as connection:
        row = connection.execute(
            "SELECT count(*) FROM trade.candidates WHERE chain_id = %s",
            (done.session.session_id,),
        ).fetchone()
    assert row is not None
    assert row[0] > 0
