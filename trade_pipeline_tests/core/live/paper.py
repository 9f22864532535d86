"""A paper session over a small replayed market, also as a process of its own.

``python -m <this module> folder name account [after] [how]`` stops itself before the n-th sending:
by SIGSTOP between the look at the lease and the sending, or (``how=kill``) by SIGKILL.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import orjson
import psycopg

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.live.ports import OrderState
from trade_pipeline.core.live.records import OrderIntent
from trade_pipeline.core.live.run import replay_feed, run_live
from trade_pipeline.core.live.session import LiveRun, LiveSession, live_session_id
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.session.stored import CONFIG, START

DAYS = 0.5
SEED = 3
ACCOUNT = "trading"
Trades = dict[str, list[dict[str, Any]]]


def settings(
    account: str, *, days: float = DAYS, speed: float = 0, cell_seconds: float = 10, **changes: Any
) -> LiveConfig:
    given: dict[str, Any] = {
        "account": account,
        "trading": CONFIG.model_dump(),
        "replay": {
            "start": moment_of(START),
            "end": moment_of(START + int(days * DAY)),
            "seed": SEED,
            "speed": speed,
            "cell_seconds": cell_seconds,
        },
    }
    return LiveConfig.parse(given | changes)


def run(store: Store, account: str, **changes: Any) -> LiveRun:
    return run_live(store, settings(account, **changes), Settings(), holder="test")


def run_with(
    store: Store, config: LiveConfig, venue: type[PaperVenue] = PaperVenue, holder: str = "test"
) -> LiveRun:
    """A session whose venue is another kind of `PaperVenue`."""
    feed = replay_feed(config)
    with ExitStack() as opened:
        connection = opened.enter_context(store.database.connect(autocommit=True))
        lease = opened.enter_context(
            Lease(
                store.database, config.account, holder=holder, mode="paper",
                seconds=config.lease_seconds, heartbeat_seconds=config.lease_seconds / 5,
            )
        )  # fmt: skip
        made = venue(connection, config.account, config.trading.venue(feed.kind))
        session = LiveSession(store, config, feed, made, MarketClock(0), lease)
        return asyncio.run(session.run())


def trades_of(store: Store, account: str) -> Trades:
    """What came of an account's decisions, whichever sessions made and finished them."""
    with store.database.connect("trade_reader") as connection:
        return {"scans": _scans(connection, account)} | {
            table: _content(
                connection.execute(
                    f"SELECT content FROM trade.{table} WHERE uuid IN "
                    "(SELECT uuid FROM trade.live_decisions WHERE account = %s)".encode(),
                    (account,),
                ).fetchall()
            )
            for table in ("candidates", "research_docs", "feature_rows", "executions", "outcomes")
        }


def _scans(connection: psycopg.Connection, account: str) -> list[dict[str, Any]]:
    """How many tokens were looked at in each slot, and what they failed, over all sessions."""
    row = connection.execute(
        "SELECT epoch FROM trade.leases WHERE account = %s", (account,)
    ).fetchone()
    assert row is not None
    rows = connection.execute(
        "SELECT content FROM trade.scans WHERE session_id = ANY(%s)",
        ([live_session_id(account, epoch) for epoch in range(row[0] + 1)],),
    ).fetchall()
    found: dict[str, Counter[str]] = {}
    for (content,) in rows:
        scan = orjson.loads(content)
        counts = found.setdefault(scan["slot"], Counter())
        counts.update(scan["failed"], evaluated=scan["evaluated"], passed=scan["passed"])
    return [{"slot": slot, **counts} for slot, counts in sorted(found.items())]


def _content(rows: Sequence[tuple[str]]) -> list[dict[str, Any]]:
    found = [orjson.loads(content) for (content,) in rows]
    for one in found:
        # Of the session, not of the trade.
        one.pop("session_id", None)
        one.pop("decision_no", None)
    return sorted(found, key=lambda one: orjson.dumps(one, option=orjson.OPT_SORT_KEYS))


class Crash(BaseException):
    """The process is gone."""


def crashing(method: Callable[..., Any], calls: int, *, after: bool) -> Callable[..., Any]:
    """A method whose call of this number is the last thing that happens, done or not."""
    made = 0

    def call(*given: Any, **named: Any) -> Any:
        nonlocal made
        made += 1
        if made == calls and not after:
            raise Crash
        result = method(*given, **named)
        if made == calls:
            raise Crash
        return result

    return call


class StoppingVenue(PaperVenue):
    """Stops its own process before a sending; the order goes out when it is continued."""

    after = 0
    signal = signal.SIGSTOP

    async def submit(self, intent: OrderIntent) -> OrderState:
        type(self).after -= 1
        if type(self).after == 0:
            print("stopping", intent.client_order_id, flush=True)
            os.kill(os.getpid(), self.signal)
        return await super().submit(intent)


def main(folder: Path, name: str, account: str, after: int, how: str) -> None:
    StoppingVenue.after = after
    StoppingVenue.signal = signal.SIGKILL if how == "kill" else signal.SIGSTOP
    with Database.embedded(folder, name) as database:
        store = Store(database, ArtifactStore(str(folder.parent / "artifacts")))
        config = settings(account, lease_seconds=1.5 if how == "stop" else 10)
        print("holding", flush=True)
        print(run_with(store, config, StoppingVenue, holder=f"process {os.getpid()}"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5])
