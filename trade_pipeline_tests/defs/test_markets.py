"""The markets of stored sessions, as a run opens them."""

from __future__ import annotations

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.source import open_market
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs.markets import sessions_with_markets
from trade_pipeline.defs.trades import SessionsConfig
from trade_pipeline_tests.core.session.stored import CONFIG, START


def test_sessions_of_one_simulation_share_it_and_another_has_its_own(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    lasting = {"start": moment_of(START), "end": moment_of(START + 3 * DAY)}
    shared = CONFIG.model_copy(update={"simulator": CONFIG.simulator.model_copy(update=lasting)})
    for config, first in ((shared, 0), (shared, 1), (CONFIG, 0)):
        start, end = START + first * DAY, START + (first + 1) * DAY
        feed = open_market(
            "simulated", data=None, seed=3, start=start, end=end, simulator=config.simulator
        )
        run_backtest(
            fresh_database, artifacts, feed, start=moment_of(start), end=moment_of(end), seed=3,
            config=config,
        )  # fmt: skip
    opened = list(
        sessions_with_markets(
            Store(fresh_database, artifacts),
            SessionsConfig(),
            moment_of(START),
            moment_of(START + 3 * DAY),
        )
    )
    (one, first), (two, second), (other, third) = opened
    assert first is second
    assert third is not first
    assert one.market_address == two.market_address == first.content_address()
    assert other.market_address == third.content_address() != first.content_address()
