"""One live session as a process of its own, which faults may hit at any moment."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from pathlib import Path

from pydantic import SecretStr

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.execution.ccxt_client import VenueAccount
from trade_pipeline.core.execution.ccxt_venue import CcxtVenue
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.exchange_orders import ExchangeOrders
from trade_pipeline.core.live.halts import newest_halt, order_halt
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.session import LiveRun, LiveSession
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.live.chaos.audit import KEY, SECRET
from trade_pipeline_tests.core.live.chaos.market import END, WildMarket

LEASE_SECONDS = 1.5
CONFIG = {
    "mode": "paper",
    "orders": "exchange",
    "lease_seconds": LEASE_SECONDS,
    "reconcile_seconds": 0.3,
    "limits": {
        "max_event_age_seconds": 86_400,
        "max_silence_seconds": 86_400,
        "max_orders_per_minute": 1_000,
    },
    "trading": {
        "strategy": {
            "universe": {"bar_interval_minutes": 60},
            "signal": {"min_confidence": 0, "max_rug_risk": 1, "min_move_24h": 0},
            "sizing": {"target_volatility": 1},
            "exits": {"stop_loss": 0.05, "profit_target": 0.08, "max_hold_hours": 5,
                      "sell_attempts": 20, "retry_minutes": 10},
            "protections": {"daily_loss_limit": 1, "max_drawdown": 1, "cooldown_hours": 0},
        },
    },
}  # fmt: skip


def trade(
    url: str,
    artifacts: Path,
    account: str,
    exchange: str,
    seed: int,
    pace: float,
    jump: tuple[float, float] | None,
) -> None:
    """Trade until the market is over; the exit code is 0 then.

    Args:
        jump: the process's wall clock jumps so many seconds after so many.
    """
    # What it says belongs to the run's log, not to the test's.
    log = os.open(artifacts.parent / f"{account}.log", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    if jump is not None:
        threading.Timer(jump[0], _jump, [jump[1]]).start()
    with Database.at(url) as database:
        store = Store(database, ArtifactStore(str(artifacts)))
        # In half of the runs stops rest at the exchange.
        given = {"account": account, "stops_at_venue": seed % 2 == 1}
        config = LiveConfig.parse(CONFIG | given)
        done = asyncio.run(_trade(store, config, exchange, seed, pace))
    print(done, flush=True)
    sys.exit(0 if done.why == "market" and not done.open_positions else 1)


async def _trade(
    store: Store, config: LiveConfig, exchange: str, seed: int, pace: float
) -> LiveRun:
    def flatten() -> None:
        with store.database.connect(autocommit=True) as connection:
            if newest_halt(connection, config.account) is None:
                order_halt(connection, config.account, "flatten", reason="the end", by="chaos")

    clock = MarketClock(0)
    feed = WildMarket(seed, exchange, pace, flatten)
    account = VenueAccount(
        "binance", SecretStr(KEY), SecretStr(SECRET), url=exchange,
        call_seconds=1.0, deadline_seconds=3.0, window_seconds=0.2,
    )  # fmt: skip
    with Lease(
        store.database, config.account, holder=f"process {os.getpid()}", mode="paper",
        seconds=config.lease_seconds, heartbeat_seconds=config.lease_seconds / 5,
    ) as lease:  # fmt: skip
        venue = CcxtVenue(account, lease.require)
        # As many requests as the faults leave: this market is in a hurry.
        venue._limit._rate = venue._limit._burst = venue._limit._tokens = 10_000.0
        try:
            orders = ExchangeOrders(venue, clock, replayed=True)
            session = LiveSession(store, config, feed, orders, clock, lease)
            feed.is_flat = lambda: session._reached > END and not list(session._engine.positions())
            return await session.run()
        finally:
            await venue.close()


def _jump(seconds: float) -> None:
    real = time.time
    time.time = lambda: real() + seconds
