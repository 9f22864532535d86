"""Own rules in a live session: they decide, and one that fails leaves all other exits standing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.extensions import load
from trade_pipeline.core.live.halts import OWN_RULES, newest_halt
from trade_pipeline.core.replay import replay_all
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy import rules
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.live.paper import ACCOUNT
from trade_pipeline_tests.core.session import stored

RULES = """
from trade_pipeline.extend import Strategy

class Leaves(Strategy):
    def leaves(self, held):
        return held.hours > 0.5

class Broken(Strategy):
    def leaves(self, held):
        return held.nothing
"""


@pytest.fixture
def named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module with own rules, named for this test alone."""
    (tmp_path / "live_rules.py").write_text(RULES)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv(load.SETTING, "live_rules")
    load._named.cache_clear()
    yield
    monkeypatch.delenv(load.SETTING)
    load._LOADED.clear()
    load._VERSIONS.clear()
    load._named.cache_clear()
    rules._rules.cache_clear()


@pytest.fixture
def store(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Store]:
    with create_database(server) as database:
        yield Store(database, artifacts)


def with_rules(name: str) -> dict[str, Any]:
    plain = stored.CONFIG.model_dump()
    plain["strategy"] |= {"rules": f"live_rules:{name}"}
    plain["strategy"]["exits"]["max_hold_hours"] = 2
    return plain


def reasons(store: Store) -> set[str]:
    with store.database.connect("trade_reader") as connection:
        rows = connection.execute("SELECT DISTINCT termination_reason FROM trade.outcomes")
        return {row[0] for row in rows.fetchall()}


@pytest.mark.usefixtures("named")
def test_own_rules_sell_in_a_paper_session_and_replay(store: Store) -> None:
    done = paper.run(store, ACCOUNT, trading=with_rules("Leaves"), record=True)
    assert done.why == "market"
    assert "strategy_exit" in reasons(store)
    with store.database.connect("trade_reader") as connection:
        assert newest_halt(connection, ACCOUNT) is None
    replayed = replay_all(store)
    assert [one.different for one in replayed.sessions] == [0]


@pytest.mark.usefixtures("named")
def test_a_rule_that_fails_halts_the_account_and_keeps_its_exits(store: Store) -> None:
    done = paper.run(store, ACCOUNT, trading=with_rules("Broken"))
    assert done.why == "market"
    assert reasons(store) & {"stop_loss", "profit_target", "max_hold", "rugpull_exit"}
    assert "strategy_exit" not in reasons(store)
    with store.database.connect("trade_reader") as connection:
        halt = newest_halt(connection, ACCOUNT)
    assert halt is not None
    assert (halt.action, halt.by_whom) == ("halt", OWN_RULES)
    assert "live_rules:Broken: leaves() of " in halt.reason
    assert "AttributeError" in halt.reason
