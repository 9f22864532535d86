"""Features from Python, as the documentation shows it: extract, select, prepare."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from trade_pipeline import (
    ExecutionRecord,
    FeatureEngineer,
    ResearchDocument,
    TerminationReason,
    TradeOutcome,
    TradeTrackingSystem,
)
from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.dataset import Dataset
from trade_pipeline.core.dataset.membership import datasets_of
from trade_pipeline.core.dataset.split import SPLITS
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.registry import NAMES
from trade_pipeline.core.ids import micros
from trade_pipeline.core.outcome.shadow import label_session
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.session.stored import market, run

FIRST = datetime(2026, 3, 1, tzinfo=UTC)
TRADES = 120
# Labels of a simulated pool can last two days, which purges nearly all of ten days otherwise.
SHORT = DatasetConfig(embargo_hours=0)


def assert_sound(data: Dataset, frame: pd.DataFrame, label: str) -> None:
    """Splits one after the other in time, complete, and learned from the right result."""
    ended = None
    for name in SPLITS:
        split = data.splits[name]
        assert len(split.rows) == len(split.x) == len(split.y) == len(split.weights) > 0
        assert np.isfinite(split.x.to_numpy()).all()
        assert split.y.tolist() == frame.loc[split.rows.index, f"{label}_return"].tolist()
        assert ended is None or split.rows["decided_at"].min() > ended
        ended = split.rows["label_end"].max()
    assert np.abs(data.splits["train"].x.to_numpy().mean(axis=0)).max() < 1e-9


# A simulated session that was labelled.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of its own in a folder, and nobody in it any more."""
    folder = tmp_path_factory.mktemp("trades") / "trades.db"
    with Store.in_folder(folder) as store:
        feed = market(days=10)
        done = run(store.database, store.artifacts, feed=feed, days=8)
        label_session(store.database, store.artifacts, feed, done.session.session_id)
    return folder


@pytest.fixture(scope="module")
def engineer(folder: Path) -> Iterator[FeatureEngineer]:
    with FeatureEngineer(db_path=str(folder)) as opened:
        yield opened


@pytest.fixture(scope="module")
def features_df(engineer: FeatureEngineer) -> pd.DataFrame:
    return engineer.extract_all_features()


def test_the_documented_calls_make_a_dataset_of_a_labelled_session(folder: Path) -> None:
    engineer = FeatureEngineer(db_path=folder)
    features_df = engineer.extract_all_features()
    selected_df, features = engineer.select_features(features_df, k=50)
    ml_data = engineer.prepare_ml_dataset(selected_df, SHORT)
    engineer.close()
    assert list(features_df.attrs["features"]) == list(NAMES)
    assert (features_df["vector_source"] == "stored").all()
    assert ml_data.config.label == "shadow"
    assert_sound(ml_data, features_df, "shadow")
    assert 0 < len(features) <= 50
    assert set(ml_data.preparation.features) <= set(features)
    assert ml_data.counts.shadow > 0


def test_the_selected_frame_keeps_everything_but_the_other_features(
    engineer: FeatureEngineer, features_df: pd.DataFrame
) -> None:
    selected_df, features = engineer.select_features(features_df, k=7)
    assert len(features) == 7
    assert selected_df.attrs["features"] == features
    assert features == [name for name in NAMES if name in features]
    dropped = [name for name in NAMES if name not in features]
    pd.testing.assert_frame_equal(selected_df, features_df.drop(columns=dropped))
    assert list(features_df.attrs["features"]) == list(NAMES)


def test_selection_looks_at_training_rows_only(
    engineer: FeatureEngineer, features_df: pd.DataFrame
) -> None:
    _, features = engineer.select_features(features_df, 10, SHORT)
    train = engineer.prepare_ml_dataset(features_df, SHORT).splits["train"].rows.index
    draw = np.random.default_rng(1)

    def selected(changed: pd.Index[str]) -> list[str]:
        other = features_df.copy()
        other.loc[changed, "shadow_return"] = draw.uniform(-1, 3, len(changed))
        for name in NAMES:
            other.loc[changed, name] = draw.uniform(0, 1, len(changed))
        return engineer.select_features(other, 10, SHORT)[1]

    later = features_df.index.difference(train)
    assert len(later) > 50
    assert selected(later) == features
    # What is asked for is not there by chance: training rows decide.
    assert selected(train) != features


def test_a_dataset_is_stored_once_and_the_trades_know_it(
    engineer: FeatureEngineer, features_df: pd.DataFrame
) -> None:
    made = engineer.prepare_ml_dataset(features_df, SHORT)
    assert [engineer.store_dataset(made) for _ in range(2)] == [True, False]
    uuid, split = next(iter(made.members.items()))
    with engineer.store.database.connect("trade_reader") as connection:
        assert datasets_of(connection, uuid) == [(made.version, "trades", split)]


def test_only_the_asked_sessions_and_markets_are_extracted(
    engineer: FeatureEngineer, features_df: pd.DataFrame
) -> None:
    session_id = features_df["session_id"].iloc[0]
    assert len(engineer.extract_all_features(sessions=[session_id])) == len(features_df)
    assert len(engineer.extract_all_features(market="simulated")) == len(features_df)
    assert len(engineer.extract_all_features(market="spot-1h")) == 0
    assert len(engineer.extract_all_features(sessions=["none"])) == 0


# Trades that were recorded through the Python API alone.


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FeatureEngineer]:
    """Trades as the documentation records them, eight hours apart."""
    path = tmp_path_factory.mktemp("recorded") / "trades.db"
    clock = MarketClock(micros(FIRST))
    with TradeTrackingSystem(db_path=path, clock=clock) as tracker:
        for number in range(TRADES):
            clock.advance(micros(FIRST + timedelta(hours=8 * number)))
            sentiment, risk = 0.5 + 0.4 * math.sin(number), (number * 7 % 11) / 11
            candidate = tracker.create_candidate(
                instrument=f"COIN{number % 5}/USDT",
                model_version="v1.2.3",
                confidence=0.75,
                params_ptr="params_001",
                created_by="high_vol_strategy",
            )
            tracker.store_research_document(
                ResearchDocument(
                    uuid=candidate.uuid,
                    contract_address="0x123...",
                    initial_market_cap=1000000.0 + number,
                    rugpull_heuristic_scores={"risk": risk},
                    social_sentiment_scores={"twitter": sentiment},
                    trade_rationale="High social momentum + low risk",
                )
            )
            tracker.store_execution_record(
                ExecutionRecord(
                    uuid=candidate.uuid,
                    order_id=f"order_{number}",
                    entry_price=0.001,
                    size=1000.0,
                    slippage=0.002,
                    latency_metrics={"latency_ms": 45},
                )
            )
            tracker.store_outcome(
                TradeOutcome(
                    uuid=candidate.uuid,
                    realized_pnl_percent=100 * (sentiment - 0.5) + number % 3,
                    time_in_market_seconds=3600,
                    termination_reason=TerminationReason.PROFIT_TARGET,
                )
            )
        with FeatureEngineer(store=tracker.store) as engineer:
            yield engineer


def test_the_documented_calls_make_a_dataset_of_recorded_trades(recorded: FeatureEngineer) -> None:
    features_df = recorded.extract_all_features()
    selected_df, features = recorded.select_features(features_df, k=50)
    ml_data = recorded.prepare_ml_dataset(selected_df)
    assert (features_df["vector_source"] == "research").all()
    assert set(features_df["kind"]) == {"manual"}
    assert ml_data.config.label == "realised"
    assert_sound(ml_data, features_df, "realised")
    assert {"sentiment_twitter", "market_cap_usd"} <= set(features)
    assert max(zip(ml_data.preparation.scores, features, strict=True))[1] == "sentiment_twitter"
    assert (ml_data.counts.shadow, ml_data.counts.unended) == (0, 0)
    assert ml_data.counts.executed > 100


def test_a_trade_without_a_closing_time_ends_when_its_time_in_the_market_is_over(
    recorded: FeatureEngineer,
) -> None:
    frame = recorded.extract_all_features()
    assert (frame["realised_end"] == frame["decided_at"] + timedelta(hours=1)).all()


def test_labels_that_no_trade_has_are_refused(recorded: FeatureEngineer) -> None:
    features_df = recorded.extract_all_features()
    shadow = DatasetConfig(label="shadow")
    with pytest.raises(BadConfig, match="0 decisions have an ended shadow label"):
        recorded.select_features(features_df, config=shadow)
    with pytest.raises(BadConfig, match="no decision has an ended label"):
        recorded.prepare_ml_dataset(features_df, shadow)


def test_an_empty_store_is_refused_with_a_reason(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    engineer = FeatureEngineer(store=Store(fresh_database, artifacts))
    features_df = engineer.extract_all_features()
    assert features_df.empty
    with pytest.raises(BadConfig, match="0 decisions"):
        engineer.select_features(features_df)
