"""trade_pipeline: every trade under one UUID, from research to outcome.

The names of the Python API load when they are first used, so that a Dagster code location that
imports this package starts quickly.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trade_pipeline.core.bot import IntegratedTradingBot
    from trade_pipeline.core.canary.pipeline import SafeMLPipeline
    from trade_pipeline.core.dataset.engineer import FeatureEngineer
    from trade_pipeline.core.records import (
        ExecutionRecord,
        ResearchDocument,
        TerminationReason,
        TradeCandidate,
        TradeOutcome,
    )
    from trade_pipeline.core.scanner import HighVolatilityLowCapStrategy
    from trade_pipeline.core.tracking import TradeTrackingSystem

__all__ = [
    "ExecutionRecord",
    "FeatureEngineer",
    "HighVolatilityLowCapStrategy",
    "IntegratedTradingBot",
    "ResearchDocument",
    "SafeMLPipeline",
    "TerminationReason",
    "TradeCandidate",
    "TradeOutcome",
    "TradeTrackingSystem",
]

_HOMES = {
    "FeatureEngineer": "trade_pipeline.core.dataset.engineer",
    "HighVolatilityLowCapStrategy": "trade_pipeline.core.scanner",
    "IntegratedTradingBot": "trade_pipeline.core.bot",
    "SafeMLPipeline": "trade_pipeline.core.canary.pipeline",
    "TradeTrackingSystem": "trade_pipeline.core.tracking",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "trade_pipeline.core.records")), name)
