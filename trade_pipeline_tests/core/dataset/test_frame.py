"""The trade frame: every decision once, with the vector of its moment and the newest results."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest

from trade_pipeline.core.clock import MarketClock
from trade_pipeline.core.dataset.frame import KEYS, RESULTS, kind_of, read_trade_frame
from trade_pipeline.core.features.registry import NAMES, feature_set
from trade_pipeline.core.features.vector import feature_row, matrix_of
from trade_pipeline.core.ids import micros
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.records import FeatureRow, TradeCandidate
from trade_pipeline.core.session.backtest import BacktestRun
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.session.stored import run

DECIDED = datetime(2026, 3, 2, 14, 50, tzinfo=UTC)  # a Monday


def frame_of(database: Database, **given: Any) -> pd.DataFrame:
    with database.connect("trade_reader") as connection:
        return read_trade_frame(connection, **given)


# A stored session


@pytest.fixture(scope="module")
def session(database: Database, artifacts: ArtifactStore) -> BacktestRun:
    return run(database, artifacts, days=2)


@pytest.fixture(scope="module")
def frame(database: Database, session: BacktestRun) -> pd.DataFrame:
    return frame_of(database, sessions=[session.session.session_id])


def rows_of(database: Database, session: BacktestRun, query: str) -> list[tuple[Any, ...]]:
    with database.connect("trade_reader") as connection:
        return connection.execute(query, (session.session.session_id,)).fetchall()


def test_every_decision_has_one_row_with_the_bits_of_its_stored_vector(
    frame: pd.DataFrame, database: Database, session: BacktestRun
) -> None:
    stored = rows_of(
        database,
        session,
        "SELECT c.uuid::text, c.instrument, c.decided_at, c.decision, f.content "
        "FROM trade.candidates c JOIN trade.feature_rows f USING (uuid) WHERE c.session_id = %s "
        "ORDER BY c.decided_at, c.uuid",
    )
    assert len(stored) > 100
    assert frame.index.name == "uuid"
    assert frame.index.tolist() == [row[0] for row in stored]
    for number, name in ((1, "instrument"), (3, "decision")):
        assert frame[name].tolist() == [row[number] for row in stored]
    assert frame["decided_at"].tolist() == [pd.Timestamp(row[2]) for row in stored]
    vectors = matrix_of([orjson.loads(row[4])["vector"] for row in stored])
    assert frame[list(NAMES)].to_numpy().tobytes() == vectors.tobytes()
    assert frame.columns.tolist() == [*KEYS, *RESULTS, *NAMES]
    assert frame.attrs["features"] == list(NAMES)
    for name, value in (
        ("session_id", session.session.session_id),
        ("market", "simulated"),
        ("kind", "simulated"),
        ("feature_set", feature_set()),
        ("vector_source", "stored"),
    ):
        assert set(frame[name]) == {value}, name


def test_the_slot_is_the_one_in_which_the_token_was_looked_at(frame: pd.DataFrame) -> None:
    waited = frame["decided_at"] - frame["slot"]
    assert (waited >= pd.Timedelta(0)).all()
    assert (waited < pd.Timedelta(minutes=30)).all()
    assert (frame["slot"].dt.minute % 30 == 0).all()
    assert not frame.duplicated(["instrument", "slot"]).any()


def test_trades_have_their_realised_result_and_the_others_have_none(
    frame: pd.DataFrame, database: Database, session: BacktestRun
) -> None:
    outcomes = {
        row[0]: row[1:]
        for row in rows_of(
            database,
            session,
            "SELECT o.uuid::text, realized_pnl_percent, closed_at, termination_reason "
            "FROM trade.outcomes o JOIN trade.candidates c USING (uuid) "
            "WHERE kind = 'realised' AND c.session_id = %s",
        )
    }
    assert len(outcomes) > 5
    realised = frame[frame["realised_return"].notna()]
    assert set(realised.index) == set(outcomes)
    assert set(realised["decision"]) == {"enter"}
    for uuid, row in realised.iterrows():
        percent, closed_at, reason = outcomes[uuid]
        assert row["realised_return"] == percent / 100
        assert (row["realised_end"], row["realised_reason"]) == (closed_at, reason)
        assert row["realised_end"] >= row["decided_at"]
    missing = frame.drop(index=realised.index)
    assert missing[["realised_end", "realised_reason"]].isna().all(axis=None)
    assert frame[[name for name in RESULTS if name.startswith("shadow")]].isna().all(axis=None)


def test_sessions_and_markets_are_chosen_by_name(
    database: Database, session: BacktestRun, frame: pd.DataFrame
) -> None:
    name = session.session.session_id
    same = frame_of(database, sessions=[name, "no such session"], market="simulated")
    pd.testing.assert_frame_equal(same, frame)
    nobody: list[dict[str, Any]] = [{"sessions": []}, {"sessions": [name], "market": "spot-1h"}]
    for given in nobody:
        empty = frame_of(database, **given)
        assert len(empty) == 0
        assert empty.columns.tolist() == frame.columns.tolist()
        assert (empty.dtypes[list(NAMES)] == np.float64).all()
        assert empty["decided_at"].dtype == empty["slot"].dtype == frame["decided_at"].dtype


# Trades of the Python API


@pytest.fixture
def tracker(fresh_database: Database, artifacts: ArtifactStore) -> Iterator[TradeTrackingSystem]:
    clock = MarketClock(micros(DECIDED))
    with TradeTrackingSystem(store=Store(fresh_database, artifacts), clock=clock) as opened:
        yield opened


def decide(tracker: TradeTrackingSystem, **given: Any) -> TradeCandidate:
    return tracker.create_candidate("PEPE/USDT", "v1", 0.7, samples.ADDRESS, "test", **given)


def known(row: Any) -> dict[str, float]:
    return {name: row[name] for name in NAMES if row[name] == row[name]}


def test_without_a_stored_vector_the_research_tells_what_it_can(
    tracker: TradeTrackingSystem, fresh_database: Database
) -> None:
    decided = decide(tracker)
    tracker.store_research_document(
        samples.research(
            decided.uuid,
            rugpull_heuristic_scores={"mintable": 1.0, "own heuristic": 0.3},
            social_sentiment_scores={"twitter": 0.65, "own source": 0.1},
            sentiment=0.65,
            rug_risk=0.3,
            holders=12,
            market={"return_24h": 0.2, "return_1h": None, "own figure": 3.0},
            facts={"mintable": True, "sell_tax": 0.05, "audited": "by nobody", "name": "x"},
        )
    )
    frame = frame_of(fresh_database)
    (row,) = (frame.loc[str(decided.uuid)],)
    assert (row["kind"], row["market"], row["vector_source"]) == ("manual", "manual", "research")
    assert known(row) == {
        "hour_of_day": 14.0,
        "day_of_week": 0.0,
        "return_24h": 0.2,
        "mintable": 1.0,
        "sell_tax": 0.05,
        "rug_mintable": 1.0,
        "sentiment_twitter": 0.65,
        "sentiment_level": 0.65,
        "market_cap_usd": 1e6,
        "holders": 12.0,
        "rug_risk": 0.3,
    }


def test_a_decision_without_research_knows_its_clock(
    tracker: TradeTrackingSystem, fresh_database: Database
) -> None:
    decided = decide(tracker)
    frame = frame_of(fresh_database)
    assert known(frame.loc[str(decided.uuid)]) == {"hour_of_day": 14.0, "day_of_week": 0.0}


def test_the_newest_correction_of_a_result_counts(
    tracker: TradeTrackingSystem, fresh_database: Database
) -> None:
    decided = decide(tracker)
    tracker.store_execution_record(samples.fill(decided.uuid))
    closed_at = DECIDED + timedelta(hours=3)
    for revision, percent in enumerate((10.0, -4.0)):
        tracker.store_outcome(
            samples.outcome(
                decided.uuid,
                realized_pnl_percent=percent,
                revision=revision,
                closed_at=closed_at + timedelta(hours=revision),
            )
        )
    row = frame_of(fresh_database).loc[str(decided.uuid)]
    assert row["realised_return"] == -0.04
    assert row["realised_end"] == closed_at + timedelta(hours=1)
    assert row["realised_reason"] == "profit_target"


def test_a_vector_of_other_definitions_is_never_read_as_one_of_these(
    tracker: TradeTrackingSystem, fresh_database: Database
) -> None:
    def other(uuid: Any) -> FeatureRow:
        return FeatureRow(uuid, "other", DECIDED, [0.5] * len(NAMES), "ab" * 32)

    decided = decide(tracker, features=other, research=samples.research)
    row = frame_of(fresh_database).loc[str(decided.uuid)]
    assert row["vector_source"] == "research"
    assert set(known(row)) == {"hour_of_day", "day_of_week", "market_cap_usd", "sentiment_twitter"}
    # Once it was recomputed under these definitions it is, though the other stays.
    vector = np.arange(float(len(NAMES)))
    with fresh_database.connect() as connection:
        append_bulk(connection, "recomputed", [feature_row(decided.uuid, 0, vector)])
        connection.commit()
    frame = frame_of(fresh_database)
    assert frame["vector_source"].tolist() == ["stored"]
    assert frame[list(NAMES)].to_numpy().tolist() == [vector.tolist()]


@pytest.mark.parametrize(
    ("market", "mode", "kind"),
    [
        ("simulated", "backtest", "simulated"),
        ("uniswap-v2", "backtest", "recorded"),
        ("spot-1h", "backtest", "recorded"),
        ("manual", "manual", "manual"),
        ("uniswap-v2", "paper", "live"),
    ],
)
def test_what_is_not_to_be_mixed_has_another_kind(market: str, mode: str, kind: str) -> None:
    assert kind_of(market, mode) == kind


def test_the_smallest_return_that_a_number_holds_is_read_as_well(
    tracker: TradeTrackingSystem, fresh_database: Database
) -> None:
    decided = decide(tracker)
    tracker.store_execution_record(samples.fill(decided.uuid))
    tracker.store_outcome(samples.outcome(decided.uuid, realized_pnl_percent=5e-324))
    assert frame_of(fresh_database)["realised_return"].tolist() == [0.0]
