"""The view of the database against the same parts in Python, to the millionth of a USD."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from trade_pipeline.core.attribution.frame import read_attribution
from trade_pipeline.core.attribution.parts import PARTS, Barriers, parts_of
from trade_pipeline.core.attribution.settings import keep_settings
from trade_pipeline.core.attribution.sums import wrong_sums
from trade_pipeline.core.canonical import address_of, canonical_bytes
from trade_pipeline.core.ids import moment_of
from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.market.event import HOUR
from trade_pipeline.core.records import (
    ExecutionRecord,
    OrderEvent,
    Record,
    TerminationReason,
    TradeOutcome,
)
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore, insert_settings, record_artifact
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.attribution.any_trade import any_trade
from trade_pipeline_tests.core.samples import START
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.core.session.test_session import START as BARS_START
from trade_pipeline_tests.core.session.test_session import bar, config_of, market

SETTINGS = canonical_bytes({"strategy": {"exits": {"stop_loss": 0.15, "profit_target": 0.3}}})
KNOWN, UNKNOWN = address_of(SETTINGS), samples.ADDRESS


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, START))
        insert_settings(connection, KNOWN, SETTINGS)
        yield connection


@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(data=st.data())
def test_the_view_tells_the_same_parts_of_any_records(
    writer: psycopg.Connection, data: st.DataObject
) -> None:
    session = f"s-{writer.execute('SELECT count(*) FROM trade.sessions').fetchall()[0][0]}"
    records: list[Record] = [samples.session(session)]
    expected: dict[str, dict[str, int] | None] = {}
    for number in range(25):
        decided = samples.candidate(number, session)
        outcome, executions, price, barriers = data.draw(any_trade(decided.uuid))
        params = KNOWN if barriers else UNKNOWN
        records.append(samples.candidate(number, session, params_ptr=params))
        records.append(samples.research(decided.uuid, price_usd=price))
        records += [*executions, outcome]
        expected[str(decided.uuid)] = parts_of(outcome, executions, price, barriers)
    append_bulk(writer, session, records)
    told = read_attribution(writer, [session])
    assert set(told.index) == set(expected)
    for uuid, parts in expected.items():
        row = told.loc[uuid]
        found = None if row["result"] != row["result"] else {n: int(row[n]) for n in PARTS}
        assert found == parts


def python_parts(connection: psycopg.Connection, session: str) -> dict[str, dict[str, int] | None]:
    """The parts of a stored session's trades, by the Python code from the stored contents."""
    found: dict[str, dict[str, int] | None] = {}
    barriers = Barriers(0.15, 0.3)
    for uuid, outcome, price in connection.execute(
        "SELECT uuid, o.content, price_usd FROM trade.outcomes o JOIN trade.research_docs "
        "USING (uuid) WHERE o.chain_id = %s AND kind = 'realised'", (session,)
    ).fetchall():  # fmt: skip
        executions = connection.execute(
            "SELECT content FROM trade.executions WHERE uuid = %s ORDER BY chain_seq", (uuid,)
        ).fetchall()
        found[str(uuid)] = parts_of(
            _outcome(orjson.loads(outcome)),
            [_execution(orjson.loads(content)) for (content,) in executions],
            price,
            barriers,
        )
    return found


def _outcome(content: dict[str, Any]) -> TradeOutcome:
    reason = TerminationReason(content.pop("termination_reason"))
    uuid = UUID(content["uuid"])
    return TradeOutcome(**content | {"uuid": uuid, "termination_reason": reason, "closed_at": None})


def _execution(content: dict[str, Any]) -> ExecutionRecord:
    uuid, event = UUID(content["uuid"]), OrderEvent(content["event"])
    return ExecutionRecord(**content | {"uuid": uuid, "event": event, "occurred_at": None})


def assert_attributed(database: Database, session: str, least: int) -> None:
    with database.connect("trade_reader") as connection:
        told = read_attribution(connection, [session])
        assert len(told) >= least
        assert (told["unexplained"] == 0).all()
        expected = python_parts(connection, session)
        for uuid, row in told.iterrows():
            assert {name: int(row[name]) for name in PARTS} == expected[str(uuid)]
        assert wrong_sums(connection).wrong == []


def test_every_trade_of_a_simulated_session_on_pools_is_explained(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    done = stored.run(fresh_database, artifacts)
    assert_attributed(fresh_database, done.session.session_id, 30)


def bars_session(database: Database, artifacts: ArtifactStore, config: TradingConfig) -> str:
    """A session on made bars of eight tokens, whose entries and exits come in several fills."""
    rows = []
    for token in range(8):
        close = 1.0
        for hour in range(60):
            open_ = close * (1 + ((token * 7 + hour * 13) % 11 - 5) / 60)
            close = open_ * (1 + ((token * 5 + hour * 17) % 13 - 6) / 50)
            low, high = min(open_, close) * 0.99, max(open_, close) * 1.01
            volume = (150_000.0, 3_000.0, 700.0)[(token + hour) % 3]
            rows.append(bar(hour, open_, high, low, close, volume=volume, token=token))
    done = run_backtest(
        database,
        artifacts,
        market(*rows, kind="spot-1h"),
        start=moment_of(BARS_START),
        end=moment_of(BARS_START + 72 * HOUR),
        seed=1,
        config=config,
    )
    return done.session.session_id


def test_every_trade_of_a_session_on_bars_is_explained(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    config = config_of(
        universe={"bar_interval_minutes": 60, "min_volume_24h_usd": 0},
        protections={"daily_loss_limit": 1, "max_drawdown": 1},
    )
    config = config.model_copy(update={"bars": type(config.bars)()})
    session = bars_session(fresh_database, artifacts, config)
    assert_attributed(fresh_database, session, 15)
    with fresh_database.connect("trade_reader") as connection:
        partly = connection.execute(
            "SELECT count(DISTINCT leg) FROM trade.executions WHERE event = 'partly_filled'"
        ).fetchone()
    assert partly == (2,)


def exchange_trade(number: int, pnl: float = 19.78) -> list[Record]:
    decided = samples.candidate(number, params_ptr=KNOWN)
    uuid = decided.uuid
    return [
        decided,
        samples.fill(uuid, entry_price=1.0, size=100.0, slippage=0.01, value_usd=100.0,
                     costs_usd={"exchange_fee": 0.1}),
        samples.sale(uuid, exit_price=1.2, size=100.0, slippage=0.02, value_usd=120.0,
                     costs_usd={"exchange_fee": 0.12}),
        samples.outcome(uuid, pnl_usd=pnl),
    ]  # fmt: skip


def test_the_newest_revision_counts_and_its_correction_is_unexplained(
    writer: psycopg.Connection,
) -> None:
    records = exchange_trade(0)
    uuid = samples.candidate(0).uuid
    corrected = samples.outcome(uuid, pnl_usd=15.0, revision=1)
    append_now(writer, Chain("s"), samples.session(), *records, corrected)
    (row,) = [one for _, one in read_attribution(writer).iterrows()]
    assert (row["result"], row["unexplained"]) == (15_000_000, -4_780_000)
    # A person corrected it: that is no mistake of the sums.
    assert wrong_sums(writer).wrong == []


def test_an_outcome_that_does_not_follow_from_its_fills_is_found(
    writer: psycopg.Connection,
) -> None:
    append_now(writer, Chain("s"), samples.session(), *exchange_trade(0), *exchange_trade(1, 19.7))
    found = wrong_sums(writer)
    assert found.trades == 2
    assert [one["uuid"] for one in found.wrong] == [str(samples.candidate(1).uuid)]
    assert found.wrong[0]["usd"] == pytest.approx(-0.08)
    assert "not explained" in found.text


def test_a_result_that_cannot_be_told_in_usd_is_counted_and_stays_empty(
    writer: psycopg.Connection,
) -> None:
    decided = samples.candidate(0)
    records = [decided, samples.sale(decided.uuid), samples.outcome(decided.uuid)]
    append_now(writer, Chain("s"), samples.session(mode="manual"), *records)
    frame = read_attribution(writer)
    assert frame[["result", *PARTS]].isna().all(axis=None)
    assert wrong_sums(writer).without_result == 1


def test_the_settings_of_older_sessions_are_kept_and_lost_ones_are_named(
    writer: psycopg.Connection, tmp_path: Path
) -> None:
    artifacts = ArtifactStore(str(tmp_path))
    other = canonical_bytes({"strategy": {"exits": {"stop_loss": 0.2, "profit_target": 0.5}}})
    address = record_artifact(writer, artifacts, other, media_type="application/json")
    append_now(writer, Chain("a"), samples.session("a", params_ptr=address))
    append_now(writer, Chain("b"), samples.session("b", params_ptr=UNKNOWN))
    assert keep_settings(writer, artifacts) == [UNKNOWN]
    kept = writer.execute(
        "SELECT stop_loss, profit_target FROM trade.settings WHERE address = %s", (address,)
    ).fetchone()
    assert kept == (0.2, 0.5)


def test_settings_under_another_address_than_their_hash_are_refused(
    writer: psycopg.Connection,
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation):
        insert_settings(writer, UNKNOWN, SETTINGS)


def test_a_session_keeps_its_settings_with_its_first_record(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    config = config_of()
    bars_session(fresh_database, artifacts, config)
    with fresh_database.connect("trade_reader") as connection:
        rows = connection.execute("SELECT address FROM trade.settings").fetchall()
    assert rows == [(address_of(config.canonical()),)]
