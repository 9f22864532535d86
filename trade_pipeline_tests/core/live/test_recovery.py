"""A paper session that ends anywhere goes on as if nothing had happened."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from report.record import counted

from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import KILLS, create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT, Crash, Trades, crashing, trades_of

FAILED_SALE = ("rejected", "exit")
POINTS = {
    "before a commit": (LiveJournal, "commit", False, 30),
    "between commit and sending": (LiveJournal, "commit", True, 30),
    "after the sending": (PaperVenue, "state_of", True, 6),
    "before the market reaches an order": (PaperVenue, "reach", False, 6),
    "after a fill that nobody heard of": (PaperVenue, "reach", True, 6),
}


@pytest.mark.parametrize("point", POINTS)
def test_sessions_that_end_at_any_point_make_the_trades_of_an_undisturbed_one(
    server: EmbeddedPostgres, artifacts: ArtifactStore, undisturbed: Trades, point: str
) -> None:
    kind, name, after, rarest = POINTS[point]
    chosen, crashes = random.Random(point), 0
    with create_database(server) as database:
        store, over = Store(database, artifacts), False
        while not over:
            method = crashing(getattr(kind, name), chosen.randint(2, rarest), after=after)
            try:
                with mock.patch.object(kind, name, method):
                    paper.run(store, ACCOUNT)
                over = True
            except Crash:
                crashes += 1
        assert crashes >= 3
        found = trades_of(store, ACCOUNT)
        for table in undisturbed:
            assert found[table] == undisturbed[table], table
        with database.connect("trade_reader") as connection:
            assert connection.execute("SELECT * FROM trade.halts").fetchall() == []


def test_a_sale_that_failed_is_tried_when_due_and_what_is_written_off_alarms_nobody(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    # On this day a contract refuses sales.
    settings: dict[str, Any] = {"days": 1.0}
    commit = LiveJournal.commit
    with create_database(server) as database:
        paper.run(Store(database, artifacts), ACCOUNT, **settings)
        whole = trades_of(Store(database, artifacts), ACCOUNT)
    failed = [one for one in whole["executions"] if (one["event"], one["leg"]) == FAILED_SALE]
    assert len(failed) >= 3
    sales = iter(sorted(one["occurred_at"] for one in failed))
    with create_database(server) as database:
        store, over = Store(database, artifacts), False
        while not over:
            after = next(sales, "9")

            def crash(self: LiveJournal, at: int, *given: Any, after: str = after) -> Any:
                if moment_of(at).isoformat() > after.replace("Z", "+00:00"):
                    # Its retry is still to come.
                    raise Crash
                return commit(self, at, *given)

            try:
                with mock.patch.object(LiveJournal, "commit", crash):
                    paper.run(store, ACCOUNT, **settings)
                over = True
            except Crash:
                continue
        assert trades_of(store, ACCOUNT) == whole
    assert any(one["written_off"] for one in whole["outcomes"])


@pytest.mark.reliability
def test_a_process_that_is_killed_before_a_sending_is_finished_by_another(
    server: EmbeddedPostgres, undisturbed: Trades
) -> None:
    chosen = random.Random(7)
    for _ in range(max(1, KILLS // 3)):
        with create_database(server) as database:
            store = Store(database, ArtifactStore(str(server.folder.parent / "artifacts")))
            with database.connect() as connection:
                name = connection.info.dbname
            command = [sys.executable, "-m", paper.__name__, str(server.folder), name, ACCOUNT]
            ended = subprocess.run(
                [*command, str(chosen.randint(1, 8)), "kill"],
                cwd=Path(__file__).resolve().parents[3],
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == -signal.SIGKILL, ended.stderr
            # Its lease has not expired; that nobody is connected is enough.
            done = paper.run(store, ACCOUNT)
            assert (done.epoch, "sent_again" in [one.kind for one in done.findings]) == (2, True)
            assert trades_of(store, ACCOUNT) == undisturbed
            counted("live.killed_before_sending", 1, 1)
