"""Without its market a session is computed from its own records, and no more is claimed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline import TerminationReason, TradeOutcome, TradeTrackingSystem
from trade_pipeline.core.clock import SystemClock
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.replay import SessionReplay, replay_all, replay_session, replay_trade
from trade_pipeline.core.retention.artifacts import remove_expired
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore, record_artifact
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.market.test_uniswap_v2 import (
    MIDNIGHT,
    pool_columns,
    write_tape,
)
from trade_pipeline_tests.core.replay.tampering import forge
from trade_pipeline_tests.core.replay.test_backtest import assigned, rows

CONFIG = TradingConfig.parse(
    {
        "strategy": {
            "universe": {"min_volume_24h_usd": 0, "min_liquidity_usd": 0, "min_market_cap_usd": 0,
                         "max_market_cap_usd": 1e12,
                         "pool_interval_minutes": 10},
            "signal": {"min_confidence": 0.3, "max_rug_risk": 0.95, "min_move_24h": 0.01},
            "protections": {"daily_loss_limit": 1, "max_drawdown": 1, "cooldown_hours": 2},
            "sizing": {"max_positions": 2},
        },
        "amm": {"failure_rate": 0.1},
    }
)  # fmt: skip


def write_swings(folder: Path, swing: float = 0.35) -> None:
    """Four pools whose prices go up and down for some hours."""
    folder.mkdir()
    pools, made = "abcd", []
    for step in range(400):
        for number, pool in enumerate(pools):
            price = math.exp(swing * math.sin(step / (9 + 4 * number) + number))
            weth = 40.0 * math.sqrt(price)
            made.append((pool, 90.0 * step + number, weth, 40.0 * 1e4 / weth))
    write_tape(folder, made, pool_columns(pools, supply=1e6))


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tapes") / "swings"
    write_swings(folder)
    return folder


@pytest.fixture(scope="module")
def template(server: EmbeddedPostgres, artifacts: ArtifactStore, tape: Path) -> tuple[str, str]:
    """The name of a database with a session on the tape, and the session's id."""
    from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape

    with create_database(server, name="replayed_tape") as database:
        run = run_backtest(
            database, artifacts, UniswapV2Tape(tape), start=moment_of(MIDNIGHT),
            end=moment_of(MIDNIGHT + 10 * HOUR), seed=1, config=CONFIG,
        )  # fmt: skip
    return "replayed_tape", run.session.session_id


@pytest.fixture
def store(
    server: EmbeddedPostgres, template: tuple[str, str], artifacts: ArtifactStore
) -> Iterator[Store]:
    with create_database(server, template[0]) as database:
        yield Store(database, artifacts)


def alone(store: Store) -> SessionReplay:
    (found,) = replay_all(store).sessions
    return found


def test_without_its_tape_a_session_is_computed_in_part_and_says_what_not(
    store: Store, template: tuple[str, str], tape: Path
) -> None:
    reasons = dict(rows(store, "SELECT reason, count(*) FROM trade.candidates GROUP BY 1"))
    assert {"signal", "position_open", "no_free_slot", "cooldown"} <= reasons.keys()
    found = alone(store)
    assert (found.source, found.identical, found.found) == ("records", 0, 0)
    assert found.in_part == found.trades == sum(reasons.values())
    assert any("is not at hand; give --data" in note for note in found.notes)
    told = found.uncomputed
    assert told["features from the market: the stored vector was taken"] == found.trades
    (stake,) = (count for what, count in told.items() if what.startswith("stake:"))
    assert stake == reasons["signal"]
    (whole,) = replay_session(store, template[1], data=[tape]).sessions
    assert (whole.source, whole.identical) == ("market", found.trades)


def test_another_market_than_the_session_s_is_refused(
    store: Store, template: tuple[str, str], tape: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    write_swings(other, 0.3)
    with pytest.raises(BadConfig, match=f"market_address=.*{template[1]} ran on"):
        replay_session(store, template[1], data=[other])
    # Where all is replayed it is only not the one that is looked for.
    (found,) = replay_all(store, data=[other]).sessions
    assert found.source == "records"
    assert any("no --data holds it" in note for note in found.notes)
    (found,) = replay_all(store, data=[other, tape]).sessions
    assert found.source == "market"


def doubled(content: dict[str, Any]) -> None:
    content["pnl_usd"] *= 2


FORGED = [
    ("candidates", "decision = 'enter'", assigned("confidence", 0.875), "confidence"),
    ("candidates", "reason = 'position_open'", assigned("reason", "cooldown"), "reason"),
    ("candidates", "reason = 'no_free_slot'", assigned("reason", "rug_risk"), "reason"),
    ("candidates", "reason = 'cooldown'", assigned("reason", "stake_too_small"), "reason"),
    ("research_docs", "rug_risk > 0", assigned("rug_risk", 0.125), "rug_risk"),
    ("feature_rows", "true", lambda c: c["vector"].__setitem__(0, 0.5), "vector_hash"),
    ("outcomes", "true", doubled, "pnl_usd"),
]


@pytest.mark.parametrize("case", FORGED, ids=lambda case: f"{case[0]} {case[3]} {case[1]}")
def test_what_is_forged_is_found_also_from_the_records_alone(
    server: EmbeddedPostgres, store: Store, case: Any
) -> None:
    table, where, change, field = case
    query = f"SELECT uuid, chain_seq FROM trade.{table} WHERE {where} ORDER BY chain_seq LIMIT 1"
    ((uuid, seq),) = rows(store, query)
    forge(server, store, table, seq, change)
    found = alone(store)
    assert {one.uuid for one in found.differences} == {str(uuid)}
    assert field in {one.field for one in found.differences if one.record == table}
    assert (found.different, found.in_part) == (1, found.trades - 1)
    (trade,) = replay_trade(store, uuid).sessions
    assert (trade.trades, trade.different) == (1, 1)


def test_own_features_follow_from_the_records_before(
    server: EmbeddedPostgres, store: Store
) -> None:
    # A fill that was worse than it is told to be shows in what later decisions knew.
    ((seq,),) = rows(
        store,
        "SELECT chain_seq FROM trade.executions WHERE event = 'filled' ORDER BY chain_seq LIMIT 1",
    )
    forge(server, store, "executions", seq, assigned("slippage", 0.25), slippage=0.25)
    fields = {one.field for one in alone(store).differences}
    assert "vector.recent_slippage" in fields


def test_a_trade_of_a_program_has_nothing_to_compute_and_its_hashes_are_checked(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    with create_database(server) as database:
        store = Store(database, artifacts)
        with TradeTrackingSystem(store=store) as tracker:
            uuid = tracker.create_candidate("PEPE/USDT", "v1", 0.75, "params_001", "mine").uuid
            tracker.store_research_document(samples.research(uuid))
            tracker.store_execution_record(samples.fill(uuid))
            for revision in (0, 1):
                tracker.store_outcome(
                    TradeOutcome(uuid, 15.5, 3600.0, TerminationReason.MANUAL, revision=revision)
                )
        (found,) = replay_trade(store, uuid).sessions
        assert (found.source, found.not_computed, found.found) == ("hashes", 1, 0)
        assert any("nothing to compute" in note for note in found.notes)
        ((seq,),) = rows(store, "SELECT chain_seq FROM trade.candidates")
        forge(server, store, "candidates", seq, confidence=0.25)
        (found,) = replay_trade(store, uuid).sessions
    (difference,) = found.differences
    assert difference.field == "column confidence"
    assert (difference.stored, difference.computed) == (0.25, 0.75)


def test_raw_answers_that_expired_are_said_to(
    server: EmbeddedPostgres, artifacts: ArtifactStore
) -> None:
    with create_database(server) as database:
        store = Store(database, artifacts)
        with database.connect() as connection:
            there, gone = (
                record_artifact(
                    connection, artifacts, text.encode(), media_type="application/json",
                    expires_at=datetime(year, 1, 1, tzinfo=UTC),
                )
                for text, year in (("[1]", 2999), ("[2]", 2020))
            )  # fmt: skip
        remove_expired(database, artifacts, SystemClock(), by="a test")
        with TradeTrackingSystem(store=store) as tracker:
            uuid = tracker.create_candidate("PEPE/USDT", "v1", 0.75, "params_001", "mine").uuid
            tracker.store_research_document(samples.research(uuid, raw_answers=(there, gone)))
        (found,) = replay_trade(store, uuid).sessions
    assert any("1 removed, 1 whole; what they said was taken" in note for note in found.notes)
