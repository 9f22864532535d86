"""A simulated market of low-cap tokens: constant-product pools with honest and dishonest fates."""

from trade_pipeline.core.market.simulator.config import Fate, SimulatorConfig
from trade_pipeline.core.market.simulator.market import GENERATOR_VERSION, SimulatedMarket

__all__ = ["GENERATOR_VERSION", "Fate", "SimulatedMarket", "SimulatorConfig"]
