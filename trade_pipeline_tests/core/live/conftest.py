"""An undisturbed session, and watches that notice the end of theirs at once."""

from __future__ import annotations

import pytest

from trade_pipeline.core.canary import watch
from trade_pipeline.core.live import halts
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT, Trades, trades_of


@pytest.fixture(autouse=True)
def quick_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(halts, "POLL_SECONDS", 0.02)


@pytest.fixture(scope="session")
def undisturbed(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Trades:
    with create_database(server) as database:
        store = Store(database, artifacts)
        done = paper.run(store, ACCOUNT)
        assert done.why == "market"
        assert [finding.kind for finding in done.findings] == ["start"]
        return trades_of(store, ACCOUNT)
