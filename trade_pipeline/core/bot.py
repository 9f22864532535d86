"""The whole system in one process: the deployed models decide, and every trade is recorded."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.canary.serving import with_deployed
from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.report.performance import session_report
from trade_pipeline.core.scanner import DEFAULT_SEED, HighVolatilityLowCapStrategy
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.closing import Closing
from trade_pipeline.core.store.store import Store

# Of the simulated market that is traded where none is given.
_DAYS = timedelta(days=2)


class IntegratedTradingBot(Closing):
    """Trades a market with the deployed models, and records what would have come of the rest.

    Args:
        small_fund_usd: what the strategy may risk; at most ``total_fund_usd``, the whole account.
        coinmarketcap_api_key, coingecko_api_key: for providers of live markets; a recorded or
            simulated market asks nobody.  They are kept secret and stored nowhere.
        config: all other settings; its ``small_fund_usd`` is replaced by the argument.
        market: a recorded or simulated one; None: a simulated market of the last two days.
        store: an open store; None: the one that the settings name.

    Raises:
        BadConfig: the strategy would risk more than there is.
        StoreUnavailable: the database cannot be started or reached.
    """

    def __init__(
        self,
        small_fund_usd: float = 1_000.0,
        total_fund_usd: float = 10_000.0,
        coinmarketcap_api_key: str | None = None,
        coingecko_api_key: str | None = None,
        *,
        config: TradingConfig | None = None,
        market: MarketFeed | None = None,
        store: Store | None = None,
    ) -> None:
        if small_fund_usd > total_fund_usd:
            raise BadConfig(
                f"small_fund_usd={small_fund_usd:g}: the strategy may not risk more than "
                f"total_fund_usd={total_fund_usd:g}"
            )
        self.strategy = HighVolatilityLowCapStrategy(
            small_fund_usd, coinmarketcap_api_key, coingecko_api_key, config=config, market=market
        )
        self._market = market
        self._owned = store is None
        self.store = Store.of(None) if store is None else store

    async def start_trading_session(
        self, start: datetime | None = None, end: datetime | None = None
    ) -> dict[str, Any]:
        """Trade from one moment of the market to another, by default all of it, and report.

        The same market, models and settings are the same session: started again it adds nothing.

        Returns:
            What `session_report` tells.

        Raises:
            BadConfig, BadMarketData, StoreUnavailable: see `run_backtest`.
        """
        return await asyncio.to_thread(self._trade, start, end)

    def _trade(self, start: datetime | None, end: datetime | None) -> dict[str, Any]:
        config = self.strategy.config
        if self._market is None:
            now = moment_of(SystemClock().micros())
            start, end = start or now - _DAYS, end or now
            self._market = SimulatedMarket(
                config.simulator, DEFAULT_SEED, micros(start), micros(end)
            )
        feed = self._market
        first, last = (moment_of(at) for at in feed.span())
        database, artifacts = self.store.database, self.store.artifacts
        with database.connect("trade_reader") as connection:
            config = with_deployed(connection, Scope(feed.kind), config)
        run = run_backtest(
            database, artifacts, feed, start=start or first, end=end or last, seed=DEFAULT_SEED,
            config=config,
        )  # fmt: skip
        label_session(database, artifacts, feed, run.session.session_id)
        with database.connect("trade_reader") as connection:
            return session_report(connection, run.session.session_id)

    def close(self) -> None:
        """Give the store back, if it was opened here."""
        if self._owned:
            self.store.close()
