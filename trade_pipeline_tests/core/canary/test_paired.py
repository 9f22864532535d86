"""What is read of decisions that both models judged: no more than was known, and each once."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np

from trade_pipeline.core.canary.paired import Compared, compared_since, newest_decision
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.ids import micros
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session

SCOPE = Scope(MARKET)


def read(store: Store, strong: Strong, since: datetime, now: datetime, production: str) -> Compared:
    with store.database.connect("trade_reader") as connection:
        return compared_since(connection, SCOPE, since, now, strong.model, production)


def test_only_what_was_compared_with_this_production_and_known_by_then_counts(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    with store.database.connect("trade_reader") as connection:
        since = newest_decision(connection, SCOPE)
    assert since is not None
    store_later_session(store, 2, "later", canary=strong.model)
    store_later_session(store, 2, "without a canary")
    with store.database.connect("trade_reader") as connection:
        last = newest_decision(connection, SCOPE)
    assert last is not None
    whole = read(store, strong, since, last + timedelta(days=1), HEURISTIC_VERSION)
    assert (len(whole.rows), whole.others) == (40, 40)
    assert (whole.paired.ended_at >= 0).all()
    assert not np.isnan(whole.paired.returns).any()

    half = read(store, strong, since, last - timedelta(days=1), HEURISTIC_VERSION)
    assert 0 < len(half.rows) < 40
    ended = half.paired.ended_at >= 0
    assert (half.paired.ended_at <= micros(last - timedelta(days=1))).all()
    assert 0 < ended.sum() < len(ended)
    assert np.isnan(half.paired.returns[~ended]).all()

    store_later_session(store, 2, "the same again", canary=strong.model)
    again = read(store, strong, since, last + timedelta(days=1), HEURISTIC_VERSION)
    assert again.paired.at.tolist() == whole.paired.at.tolist()
    other = read(store, strong, since, last, "sha256:" + "f" * 64)
    assert len(other.rows) == 0
