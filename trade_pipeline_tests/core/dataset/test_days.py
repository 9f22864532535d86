"""Days of a session that are built and labelled apart: in any order, again and again, killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
from collections.abc import Callable
from typing import Any, NoReturn

import psycopg
import pytest

from trade_pipeline.core.dataset import feature_build
from trade_pipeline.core.dataset.feature_build import build_features, joined
from trade_pipeline.core.features import vector
from trade_pipeline.core.features.registry import feature_set
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.outcome import shadow
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.records import Record
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.session.stored import START, market, run

# The market ends before the last trades do.
DAYS, MARKET_DAYS = 3, 3.4
PATIENCE = 60.0


@pytest.fixture
def session_id(fresh_database: Database, artifacts: ArtifactStore) -> str:
    return run(
        fresh_database, artifacts, feed=market(days=MARKET_DAYS), days=DAYS
    ).session.session_id


def shuffled(seed: int) -> list[tuple[int, int]]:
    """Every day in no order, some of them twice."""
    dice = random.Random(seed)
    numbers = [*range(DAYS), dice.randrange(DAYS)]
    dice.shuffle(numbers)
    return [(START + n * DAY, START + (n + 1) * DAY) for n in numbers]


def opened() -> SimulatedMarket:
    """The market as another machine opens it: nothing of it was generated before."""
    return market(days=MARKET_DAYS)


def test_days_in_any_order_and_repeated_give_the_vectors_and_the_table_of_one_build(
    fresh_database: Database,
    artifacts: ArtifactStore,
    session_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = Store(fresh_database, artifacts)
    stored_at_decisions = feature_set()
    tables = set()
    for order in range(3):
        # As new features do, it has no vector yet.
        for module in (feature_build, vector):
            monkeypatch.setattr(module, "feature_set", lambda order=order: f"set-{order}")
        made = {
            between: build_features(
                fresh_database, artifacts, opened(), session_id, between=between
            )
            for between in shuffled(order)
        }
        days = [made[between] for between in sorted(made)]
        whole = build_features(fresh_database, artifacts, opened(), session_id)
        assert all(day.rows for day in days)
        assert sum(day.rows for day in days) == whole.rows
        # What the days stored is what the whole would store, bit for bit.
        assert (whole.new_rows, whole.differences) == (0, [])
        together = joined(store, session_id, [day.facts() for day in days])
        assert together["table"] == whole.table
        assert (together["rows"], together["differences"]) == (whole.rows, 0)
        tables.add(whole.table)
        with fresh_database.connect("trade_reader") as connection:
            samples.assert_whole_chain(connection, f"features:{session_id}:set-{order}")
            (count,) = connection.execute(
                "SELECT count(*) FROM trade.feature_rows WHERE feature_set = %s", (f"set-{order}",)
            ).fetchone() or (0,)
        assert count == whole.rows
    # They are the vectors that were stored at the decisions, too.
    for module in (feature_build, vector):
        monkeypatch.setattr(module, "feature_set", lambda: stored_at_decisions)
    again = build_features(fresh_database, artifacts, opened(), session_id)
    assert (again.new_rows, again.differences, {again.table}) == (0, [], tables)


@pytest.mark.parametrize("seed", [1, 2])
def test_days_in_any_order_and_repeated_give_the_labels_of_one_run(
    fresh_database: Database, artifacts: ArtifactStore, session_id: str, seed: int
) -> None:
    done = {}
    for between in shuffled(seed):
        found = label_session(fresh_database, artifacts, opened(), session_id, between=between)
        assert (found.new, found.corrected) == ((0, 0) if between in done else (found.labelled, 0))
        done[between] = found
    whole = label_session(fresh_database, artifacts, opened(), session_id)
    # None is missing, and none would be another one.
    assert (whole.new, whole.corrected) == (0, 0)
    for name in ("candidates", "labelled", "unended"):
        assert sum(getattr(one, name) for one in done.values()) == getattr(whole, name) > 0
    with fresh_database.connect("trade_reader") as connection:
        samples.assert_whole_chain(connection, f"shadow:{session_id}")
        rows = connection.execute(
            "SELECT count(*), count(DISTINCT uuid), max(revision) FROM trade.outcomes "
            "WHERE kind = 'shadow'"
        ).fetchone()
    assert rows == (whole.labelled, whole.labelled, 0)


def test_a_day_holds_its_first_moment_and_not_the_next_days(
    fresh_database: Database, artifacts: ArtifactStore, session_id: str
) -> None:
    with fresh_database.connect("trade_reader") as connection:
        moments = [
            micros(at)
            for (at,) in connection.execute("SELECT decided_at FROM trade.candidates ORDER BY 1")
        ]
    cut = moments[len(moments) // 2]
    before, after = ((START, cut), (cut, START + DAYS * DAY))
    later = sum(moment >= cut for moment in moments)
    counts = []
    for between in (before, after):
        built = build_features(fresh_database, artifacts, opened(), session_id, between=between)
        found = label_session(fresh_database, artifacts, opened(), session_id, between=between)
        counts.append((built.rows, found.candidates))
    assert counts == [(len(moments) - later,) * 2, (later,) * 2]


def killed(work: Callable[[], Any], module: Any) -> None:
    """Do work in a process that dies after its rows were sent and before they were committed."""
    send = module.append_bulk

    def die(connection: psycopg.Connection, chain_id: str, records: list[Record]) -> NoReturn:
        assert send(connection, chain_id, records) > 0
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError

    def main() -> None:
        module.append_bulk = die
        work()

    process = multiprocessing.get_context("fork").Process(target=main)
    process.start()
    process.join(PATIENCE)
    assert process.exitcode == -signal.SIGKILL


def test_a_day_that_is_killed_leaves_nothing_and_its_repetition_completes_it(
    fresh_database: Database,
    artifacts: ArtifactStore,
    session_id: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (feature_build, vector):
        monkeypatch.setattr(module, "feature_set", lambda: "new")
    between = (START + DAY, START + 2 * DAY)

    def build() -> Any:
        return build_features(fresh_database, artifacts, opened(), session_id, between=between)

    def label() -> Any:
        return label_session(fresh_database, artifacts, opened(), session_id, between=between)

    for work, module in ((build, feature_build), (label, shadow)):
        killed(work, module)
        with fresh_database.connect("trade_reader") as connection:
            for chain in (f"shadow:{session_id}", f"features:{session_id}:new"):
                left = connection.execute(
                    "SELECT (SELECT count(*) FROM trade.outcomes WHERE chain_id = %(c)s) + "
                    "(SELECT count(*) FROM trade.feature_rows WHERE chain_id = %(c)s)",
                    {"c": chain},
                ).fetchone()
                # The features are complete when the labels are killed.
                assert left == (0,) or (module is shadow and chain.startswith("features"))
        done = work()
        assert (done.new_rows if module is feature_build else done.new) > 0
        again = work()
        assert (again.new_rows if module is feature_build else again.new) == 0
    with fresh_database.connect("trade_reader") as connection:
        samples.assert_whole_chain(connection, f"shadow:{session_id}")
        samples.assert_whole_chain(connection, f"features:{session_id}:new")
