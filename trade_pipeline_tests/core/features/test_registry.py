"""The definitions of the features: whole, unambiguous, and versioned by their content."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import orjson
import pytest

from trade_pipeline.core.features import registry
from trade_pipeline.core.features.own_records import OwnRecords, own_columns
from trade_pipeline.core.features.registry import (
    FAMILIES,
    FEATURES,
    NAMES,
    SOURCE_DELAYS,
    Feature,
    definitions,
    feature_set,
)
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.history import MarketHistory
from trade_pipeline.core.records import FeatureRow
from trade_pipeline.core.session.engine import evaluator
from trade_pipeline_tests.core.session.stored import CONFIG, START, market
from trade_pipeline_tests.core.session.test_session import run as run_session


def test_every_feature_is_defined_once_and_whole() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(FEATURES) > 80
    assert {feature.family for feature in FEATURES} == set(FAMILIES)
    assert {feature.source for feature in FEATURES} <= set(SOURCE_DELAYS)
    for feature in FEATURES:
        assert feature.unit, feature.name
        assert feature.definition, feature.name
        assert feature.version >= 1
        if feature.low is not None and feature.high is not None:
            assert feature.low < feature.high, feature.name


def test_no_source_is_known_before_it_happens() -> None:
    assert all(delay >= 0 for delay in SOURCE_DELAYS.values())


@pytest.fixture
def uncached() -> Iterator[None]:
    feature_set.cache_clear()
    yield
    feature_set.cache_clear()


@pytest.mark.usefixtures("uncached")
@pytest.mark.parametrize("name", [f.name for f in fields(Feature)])
def test_a_changed_definition_is_another_feature_set(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before, old = feature_set(), FEATURES[3]
    value = getattr(old, name)
    other: Any = f"{value} changed" if isinstance(value, str) else 99
    changed = replace(old, **{name: other})
    monkeypatch.setattr(registry, "FEATURES", (*FEATURES[:3], changed, *FEATURES[4:]))
    feature_set.cache_clear()
    assert feature_set() != before


@pytest.mark.usefixtures("uncached")
def test_another_order_or_number_of_features_is_another_feature_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {feature_set()}
    for features in (FEATURES[::-1], FEATURES[:-1]):
        monkeypatch.setattr(registry, "FEATURES", features)
        feature_set.cache_clear()
        seen.add(feature_set())
    assert len(seen) == 3


def test_the_definitions_can_be_read_back_in_the_order_of_a_vector() -> None:
    read = orjson.loads(definitions())
    assert tuple(one["name"] for one in read) == NAMES
    assert all(len(one) == len(fields(Feature)) for one in read)


def test_every_feature_is_computed_by_somebody_under_its_name() -> None:
    """A misspelt one would be unknown for ever."""
    feed = market(days=1)
    history = MarketHistory(len(feed.instruments))
    for batch in feed.batches(START, START + DAY):
        history.extend(batch)
    evaluating = evaluator(CONFIG.strategy, feed, history, CONFIG.venue(feed.kind))
    windows = evaluating.windows(np.zeros(1, np.int32), np.array([START + DAY]))
    one = np.zeros(1, np.int64)
    computed = {*evaluating.evaluate(windows).columns, *own_columns(OwnRecords(), *[one] * 4)}
    assert set(NAMES) - computed == {"hours_since_last_close", "rug_probability"}


def test_the_bounds_hold_on_a_session() -> None:
    found = run_session(market(), CONFIG, hours=72)
    vectors = np.array([row.vector for row in found.of(FeatureRow)])
    assert len(vectors) > 100
    assert np.isfinite(vectors[~np.isnan(vectors)]).all()
    for feature, values in zip(FEATURES, vectors.T, strict=True):
        seen = values[~np.isnan(values)]
        assert feature.low is None or (seen >= feature.low).all(), feature.name
        assert feature.high is None or (seen <= feature.high).all(), feature.name
    # And most say something there, in every family.
    varied = np.nanmax(vectors, axis=0, initial=-np.inf) > np.nanmin(
        vectors, axis=0, initial=np.inf
    )
    families = [f.family for f, moves in zip(FEATURES, varied.tolist(), strict=True) if moves]
    assert set(families) == set(FAMILIES)
    assert len(families) > 70
