"""The guards on a stored dataset: from the session that decided to the verdicts in the database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.engineer import FeatureEngineer
from trade_pipeline.core.dataset.guards import (
    FRAME_GUARDS,
    GUARDS,
    MARKET_GUARDS,
    guard_dataset,
    newest_verdicts,
)
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import HOUR, Floats
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.market.windows import EventWindows
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.research import columns
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.session import stored

CONFIG = DatasetConfig(name="guarded", embargo_hours=1)


@pytest.fixture
def store(fresh_database: Database, artifacts: ArtifactStore) -> Store:
    return Store(fresh_database, artifacts)


def dataset_of(store: Store, feed: SimulatedMarket) -> str:
    """A session on a market with its labels, and the version of a dataset of all of it."""
    run = stored.run(store.database, store.artifacts, feed=feed, days=6)
    label_session(store.database, store.artifacts, feed, run.session.session_id)
    engineer = FeatureEngineer(store=store)
    dataset = engineer.prepare_ml_dataset(engineer.extract_all_features(), CONFIG)
    assert engineer.store_dataset(dataset)
    return dataset.version


def verdicts(store: Store, version: str) -> dict[str, bool]:
    with store.database.connect("trade_reader") as connection:
        return newest_verdicts(connection, version)


def test_an_honest_dataset_passes_every_guard_and_the_verdicts_are_kept(store: Store) -> None:
    feed = stored.market(days=6)
    version = dataset_of(store, feed)
    assert verdicts(store, version) == {}
    said, guards = guard_dataset(store, version, [feed])
    assert said == version
    assert {guard.name: guard.reasons for guard in guards if not guard.passed} == {}
    assert verdicts(store, version) == dict.fromkeys(GUARDS, True)


def test_what_could_not_be_recomputed_fails(store: Store) -> None:
    version = dataset_of(store, stored.market(days=6))
    guard_dataset(store, version)
    told = verdicts(store, version)
    assert {name for name, passed in told.items() if not passed} >= set(MARKET_GUARDS)
    assert {told[name] for name in FRAME_GUARDS if name != "separating_features"} == {True}


def test_a_feature_that_looks_some_hours_ahead_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = columns._prices

    def ahead(windows: EventWindows) -> Iterator[tuple[str, Floats]]:
        later = windows._later_than(windows.at + 3 * HOUR)
        for name, values in honest(windows):
            if name == "return_1h":
                values = windows._newest(windows.columns["price_usd"], later)
                values = values / windows.as_of("price_usd") - 1.0
            yield name, values

    monkeypatch.setattr(columns, "_prices", ahead)
    feed = stored.market(days=6)
    version = dataset_of(store, feed)
    _, guards = guard_dataset(store, version, [feed])
    failed = {guard.name: guard.culprits for guard in guards if not guard.passed}
    # The heuristic reads the move as well.
    assert set(failed["compare_vectors"]) == {"return_1h", "heuristic_confidence"}
    assert not verdicts(store, version)["compare_vectors"]


def test_an_unknown_dataset_is_named(store: Store) -> None:
    with pytest.raises(BadConfig, match="nowhere"):
        guard_dataset(store, "nowhere")
