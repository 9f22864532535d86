"""Which models decide, where nobody changes them while a session runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.opinion import DecidingModel, Models

if TYPE_CHECKING:
    from trade_pipeline.core.strategy.model import TradeModel


def always(
    config: TradingConfig, model: TradeModel | None, canary: TradeModel | None
) -> Callable[[], Models]:
    """The models of the config, at every decision."""
    on_trial = None
    if config.canary is not None:
        if canary is None:
            raise BadConfig(f"canary.model={config.canary.model!r}: the session has not got it")
        on_trial = DecidingModel(config.canary.model, canary)
    production = DecidingModel(config.model or HEURISTIC_VERSION, model)
    models = Models(production, on_trial, config.fund_share)
    return lambda: models
