"""A paper session that ends anywhere goes on as if nothing had happened."""

from __future__ import annotations

import random
from unittest import mock

import pytest

from trade_pipeline.core.live.journal import LiveJournal
from trade_pipeline.core.live.paper_venue import PaperVenue
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT, Crash, Trades, crashing, trades_of

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
