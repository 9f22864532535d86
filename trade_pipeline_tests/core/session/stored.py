"""A small stored session, also as a process: ``python -m <this module> folder name flush_rows``."""

from __future__ import annotations

import functools
import sys
from pathlib import Path
from unittest import mock

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.ledger.journal import TABLES, Journal
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.feed import MarketFeed
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.session import backtest
from trade_pipeline.core.session.backtest import BacktestRun, run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.session.engine import Progress
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database

START = 1_640_995_200_000_000  # 2022-01-01
DAYS = 3
CONFIG = TradingConfig.parse(
    {
        "strategy": {
            "universe": {"min_volume_24h_usd": 2_000, "min_liquidity_usd": 5_000},
            "signal": {"min_confidence": 0.2, "max_rug_risk": 0.95, "min_move_24h": 0},
            "protections": {"daily_loss_limit": 1, "max_drawdown": 1},
        },
        "simulator": {"pools_per_day": 30, "burn_in_days": 2, "trades_max": 800},
    }
)

Rows = dict[str, list[tuple[int, bytes, bytes]]]


def market(seed: int = 3, days: float = DAYS) -> SimulatedMarket:
    return SimulatedMarket(CONFIG.simulator, seed, START, START + int(days * DAY))


def run(
    database: Database,
    artifacts: ArtifactStore,
    *,
    feed: MarketFeed | None = None,
    config: TradingConfig = CONFIG,
    seed: int = 3,
    days: float = DAYS,
    experiment: str | None = None,
    progress: Progress | None = None,
) -> BacktestRun:
    return run_backtest(
        database,
        artifacts,
        feed or market(seed, days),
        start=moment_of(START),
        end=moment_of(START + int(days * DAY)),
        seed=seed,
        config=config,
        experiment=experiment,
        progress=progress,
    )


def stored_rows(database: Database, chain_id: str) -> Rows:
    """Every record of a session by table, in the order of its chain."""
    with database.connect("trade_reader") as connection:
        return {
            kind.TABLE: connection.execute(
                "SELECT chain_seq, content_hash, chain_hash "
                f"FROM trade.{kind.TABLE} WHERE chain_id = %s ORDER BY chain_seq",
                (chain_id,),
            ).fetchall()
            for kind in TABLES
        }


def main(folder: Path, name: str, flush_rows: int) -> None:
    """Run the session into a database of the embedded server in a folder."""
    journal = functools.partial(Journal, flush_rows=flush_rows)
    with (
        mock.patch.object(backtest, "Journal", journal),
        Database.embedded(folder, name) as database,
    ):
        done = run(database, ArtifactStore(str(folder.parent / "artifacts")))
    print(done.session.session_id, done.new_rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
