"""The examples of the documentation, word for word, one after the other on one store."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path
from typing import Any

import pytest

import trade_pipeline
from trade_pipeline.core.canary.deployments import deployed
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.training.strong import MARKET, store_dataset, store_later_session
from trade_pipeline_tests.documents import README, blocks

# Its other block of Python is a file of `examples/`.
TRACKING_OF_THE_README = blocks(README, "python")[-1]
CREATION = """
candidate = tracker.create_candidate(
    instrument="PEPE/USDT",
    model_version="v1.2.3",
    confidence=0.75,
    params_ptr="params_001",
    created_by="high_vol_strategy"
)
research = ResearchDocument(
    uuid=candidate.uuid,
    contract_address="0x123...",
    initial_market_cap=1000000.0,
    rugpull_heuristic_scores={"risk": 0.3},
    social_sentiment_scores={"twitter": 0.65},
    trade_rationale="High social momentum + low risk",
)
tracker.store_research_document(research)
execution = ExecutionRecord(
    uuid=candidate.uuid,
    order_id="order_12345",
    entry_price=0.001,
    size=1000.0,
    slippage=0.002,
    latency_metrics={"latency_ms": 45}
)
tracker.store_execution_record(execution)
outcome = TradeOutcome(
    uuid=candidate.uuid,
    realized_pnl_percent=15.5,
    time_in_market_seconds=3600,
    termination_reason=TerminationReason.PROFIT_TARGET
)
tracker.store_outcome(outcome)
"""
TRACKING = """
# Initialize system
tracker = TradeTrackingSystem()

# Create and track a trade
candidate = tracker.create_candidate("BTC/USDT", "v1.0", 0.8, "params", "strategy")
complete_record = tracker.get_complete_trade_record(candidate.uuid)
"""
LEARNING = """
pipeline = SafeMLPipeline(db_path="trades.db")
new_model = pipeline.train_new_model()

# Deploy as canary
if new_model:
    pipeline.deploy_canary(new_model.version_id)

# Monitor and promote/rollback
pipeline.promote_canary_to_production(new_model.version_id)
"""
FEATURES = """
# Extract features from UUID-linked data
engineer = FeatureEngineer(db_path="trades.db")
features_df = engineer.extract_all_features()

# Select top features
selected_df, features = engineer.select_features(features_df, k=50)

# Prepare ML dataset with time-based splits
ml_data = engineer.prepare_ml_dataset(selected_df)
"""
STRATEGY = """
strategy = HighVolatilityLowCapStrategy(
    small_fund_usd=1000.0,
    coinmarketcap_api_key="your_key",
    coingecko_api_key="your_key"
)

# Scan for opportunities
candidates = await strategy.scan_low_cap_opportunities()

# Create trade candidates with full tracking
for candidate in candidates:
    trade_candidate = await strategy.create_trade_candidate(candidate)
"""
BOT = """
bot = IntegratedTradingBot(
    small_fund_usd=1000.0,
    total_fund_usd=10000.0,
    coinmarketcap_api_key="your_key",
    coingecko_api_key="your_key"
)

# Run with all components
await bot.start_trading_session()
"""
MONITORING = """
metrics = tracker.get_performance_metrics()
print(f"Total trades: {metrics['total_trades']}")
print(f"Win rate: {metrics['win_rate'] * 100:.1f}%")
print(f"Average return: {metrics['avg_return_pct']:.2f}%")
"""
PERFORMANCE = """
summary = ml_pipeline.get_model_performance_summary()
active_model = ml_pipeline.get_active_model()
print(f"Active model R²: {active_model.metrics.r2_score:.3f}")
"""


def run(code: str, names: dict[str, Any]) -> None:
    """Run an example as a notebook does, where ``await`` needs no function around it."""
    compiled = compile(code, "<example>", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    waiting = eval(compiled, names)
    if waiting is not None:
        asyncio.run(waiting)


def test_every_example_of_the_documentation_runs_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(tmp_path / "home"))
    names = {name: getattr(trade_pipeline, name) for name in trade_pipeline.__all__}
    run(TRACKING, names)
    assert names["complete_record"]["candidate"]["instrument"] == "BTC/USDT"
    run(CREATION, names)
    whole = names["tracker"].get_complete_trade_record(names["candidate"].uuid)
    assert whole["outcomes"][0]["realized_pnl_percent"] == 15.5
    assert whole["research"]["trade_rationale"] == "High social momentum + low risk"
    run(TRACKING_OF_THE_README, names)
    assert len(names["tracker"].get_complete_trade_record(names["candidate"].uuid)["outcomes"]) == 1
    run(STRATEGY, names)
    run(BOT, names)
    run(MONITORING, names)
    assert "Average return: " in capsys.readouterr().out

    with Store.in_folder(tmp_path / "trades.db") as store:
        store_dataset(store)
        run(FEATURES, names)
        assert names["ml_data"].counts.train > 1_000
        run(LEARNING, names)
        model = names["new_model"]
        assert model.eligible
        with store.database.connect("trade_reader") as connection:
            canary = deployed(connection, Scope(MARKET)).canary
        assert canary is not None
        assert canary.model_version == model.version_id
        # Two weeks later the same call promotes it.
        store_later_session(store, 14, "later", canary=model.version_id)
        pipeline = names["ml_pipeline"] = names["pipeline"]
        assert pipeline.promote_canary_to_production(model.version_id).promoted
        run(PERFORMANCE, names)
        assert "Active model R²: 0." in capsys.readouterr().out
    for name in ("tracker", "pipeline", "engineer", "bot"):
        names[name].close()
