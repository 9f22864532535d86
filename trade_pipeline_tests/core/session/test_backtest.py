"""Sessions in the real database: the same inputs, the same records, once."""

from __future__ import annotations

import functools
import random
import shutil
import subprocess
import sys
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trade_pipeline.core.errors import BadConfig, NaiveDatetime, ReplayMismatch
from trade_pipeline.core.ids import moment_of, uuid7_micros
from trade_pipeline.core.ledger import journal
from trade_pipeline.core.ledger.bulk import move_head
from trade_pipeline.core.ledger.journal import Journal
from trade_pipeline.core.market.bars import HourlyBars
from trade_pipeline.core.market.event import DAY
from trade_pipeline.core.market.simulator import market as simulated
from trade_pipeline.core.market.uniswap_v2 import UniswapV2Tape
from trade_pipeline.core.session import backtest
from trade_pipeline.core.session.backtest import BacktestRun, run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core.session.stored import (
    CONFIG,
    START,
    market,
    run,
    stored_rows,
)


def count(database: Database, table: str) -> int:
    with database.connect("trade_reader") as connection:
        row = connection.execute(f"SELECT count(*) FROM trade.{table}").fetchone()
    assert row is not None
    return int(row[0])


def uuids(database: Database, done: BacktestRun) -> set[Any]:
    with database.connect("trade_reader") as connection:
        rows = connection.execute(
            "SELECT uuid FROM trade.candidates WHERE chain_id = %s", (done.session.session_id,)
        ).fetchall()
    return {row[0] for row in rows}


@pytest.fixture
def small_flushes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many transactions for one session."""
    monkeypatch.setattr(backtest, "Journal", functools.partial(Journal, flush_rows=40))


def test_a_second_run_adds_nothing_and_counts_the_same(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    first = run(fresh_database, artifacts, experiment="grid")
    rows = stored_rows(fresh_database, first.session.session_id)
    second = run(fresh_database, artifacts, experiment="grid")
    assert first.new_rows == sum(map(len, rows.values())) > 200
    assert all(len(found) > 0 for found in rows.values())
    assert second.new_rows == 0
    assert second.session == first.session
    assert second.counts == first.counts
    assert stored_rows(fresh_database, first.session.session_id) == rows
    assert count(fresh_database, "experiments") == 1
    assert count(fresh_database, "experiment_sessions") == 1


def test_the_session_names_what_determined_it(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    session = run(fresh_database, artifacts, days=1).session
    assert session.market == "simulated"
    assert session.market_address == market(days=1).content_address()
    assert session.params_ptr is not None
    assert artifacts.get(session.params_ptr) == CONFIG.canonical()
    with fresh_database.connect("trade_reader") as connection:
        stored = connection.execute(
            "SELECT session_id, range_start, range_end, seed FROM trade.sessions"
        ).fetchall()
    assert stored == [(session.session_id, moment_of(START), moment_of(START + DAY), 3)]


def test_a_uuid_holds_the_moment_of_its_decision(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    run(fresh_database, artifacts, days=1)
    with fresh_database.connect("trade_reader") as connection:
        rows = connection.execute("SELECT uuid, decided_at FROM trade.candidates").fetchall()
    assert rows
    for uuid, decided_at in rows:
        assert (
            timedelta(0) <= decided_at - moment_of(uuid7_micros(uuid)) < timedelta(milliseconds=1)
        )


def test_another_seed_setting_or_range_is_another_session_with_other_uuids(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    other = CONFIG.model_copy(
        update={"amm": CONFIG.amm.model_copy(update={"gas_usd": CONFIG.amm.gas_usd + 1})}
    )
    runs = [
        run(fresh_database, artifacts),
        run(fresh_database, artifacts, seed=4),
        run(fresh_database, artifacts, feed=market(), seed=5),
        run(fresh_database, artifacts, config=other),
        run(fresh_database, artifacts, feed=market(), days=2),
    ]
    assert len({done.session.session_id for done in runs}) == len(runs)
    names = [uuids(fresh_database, done) for done in runs]
    assert all(names)
    assert sum(map(len, names)) == len(set().union(*names))


def test_an_experiment_can_hold_many_sessions_and_a_session_many_experiments(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    for seed, experiment in ((3, "one"), (3, "two"), (4, "one"), (4, "one")):
        run(fresh_database, artifacts, seed=seed, days=1, experiment=experiment)
    assert count(fresh_database, "experiments") == 2
    assert count(fresh_database, "experiment_sessions") == 3


@pytest.mark.parametrize("length", [timedelta(0), timedelta(hours=-1)])
def test_an_end_that_is_not_after_the_start_is_refused(
    database: Database, artifacts: ArtifactStore, length: timedelta
) -> None:
    start = moment_of(START)
    with pytest.raises(BadConfig, match=r"end=.*must be after start="):
        run_backtest(
            database, artifacts, market(), start=start, end=start + length, seed=1, config=CONFIG
        )


@pytest.mark.parametrize("naive", ["start", "end"])
def test_a_time_without_a_zone_is_refused_by_name(
    database: Database, artifacts: ArtifactStore, naive: str
) -> None:
    given: dict[str, Any] = {"start": moment_of(START), "end": moment_of(START + DAY)}
    given[naive] = given[naive].replace(tzinfo=None)
    with pytest.raises(NaiveDatetime, match=naive):
        run_backtest(database, artifacts, market(), seed=1, config=CONFIG, **given)


def test_the_same_range_in_another_time_zone_is_the_same_session(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    east = timezone(timedelta(hours=9))
    first = run(fresh_database, artifacts, days=1)
    again = run_backtest(
        fresh_database,
        artifacts,
        market(days=1),
        start=moment_of(START).astimezone(east),
        end=moment_of(START + DAY).astimezone(east),
        seed=3,
        config=CONFIG,
    )
    assert again.session == first.session
    assert again.new_rows == 0


class Renamed:
    """The same market with one price changed, under the address of the first."""

    def __init__(self) -> None:
        self._true, self._false = market(), market(seed=9)
        self.kind = self._true.kind
        self.content_address = self._true.content_address
        self.instruments, self.away = self._false.instruments, self._false.away
        self.facts_at, self.mentions_at = self._false.facts_at, self._false.mentions_at
        self.rules, self.raw_answers_at = self._false.rules, self._false.raw_answers_at
        self.batches, self.span = self._false.batches, self._false.span
        self.until = self._false.until


def test_a_market_that_changed_under_its_address_fails_the_replay(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    first = run(fresh_database, artifacts)
    rows = stored_rows(fresh_database, first.session.session_id)
    with pytest.raises(ReplayMismatch, match=first.session.session_id):
        run(fresh_database, artifacts, feed=Renamed())
    assert stored_rows(fresh_database, first.session.session_id) == rows


@pytest.mark.parametrize("table", ["candidates", "feature_rows", "executions", "outcomes", "scans"])
def test_a_stored_record_that_was_tampered_with_fails_the_replay(
    fresh_database: Database, artifacts: ArtifactStore, superuser_url: str, table: str
) -> None:
    done = run(fresh_database, artifacts)
    url = psycopg.conninfo.conninfo_to_dict(superuser_url)
    url["dbname"] = psycopg.conninfo.conninfo_to_dict(fresh_database.url())["dbname"]
    with psycopg.connect(**url) as connection:  # type: ignore[arg-type]
        connection.execute("SET session_replication_role = replica")
        changed = connection.execute(
            f"UPDATE trade.{table} SET content = content || ' ', "
            "content_hash = sha256(convert_to(content || ' ', 'UTF8')) "
            f"WHERE chain_seq = (SELECT max(chain_seq) FROM trade.{table})"
        )
        assert changed.rowcount == 1
    with pytest.raises(ReplayMismatch):
        run(fresh_database, artifacts)
    assert count(fresh_database, "sessions") == 1
    assert done.new_rows > 0


def test_a_lost_record_fails_the_replay(
    fresh_database: Database, artifacts: ArtifactStore, superuser_url: str
) -> None:
    run(fresh_database, artifacts)
    url = psycopg.conninfo.conninfo_to_dict(superuser_url)
    url["dbname"] = psycopg.conninfo.conninfo_to_dict(fresh_database.url())["dbname"]
    with psycopg.connect(**url) as connection:  # type: ignore[arg-type]
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "DELETE FROM trade.scans WHERE chain_seq = (SELECT min(chain_seq) FROM trade.scans)"
        )
    with pytest.raises(ReplayMismatch, match="records expected"):
        run(fresh_database, artifacts)


class Crash(Exception):
    """What a test throws in the middle of a session."""


@pytest.fixture(scope="module")
def undisturbed(database: Database, artifacts: ArtifactStore) -> dict[str, Any]:
    """The rows of the session when nothing goes wrong."""
    done = run(database, artifacts)
    rows = stored_rows(database, done.session.session_id)
    session_id = done.session.session_id
    return {"rows": rows, "session_id": session_id, "new_rows": sum(map(len, rows.values()))}


@pytest.mark.usefixtures("small_flushes")
@pytest.mark.parametrize("seed", range(4))
def test_a_session_that_crashed_between_batches_is_completed_by_a_second_run(
    fresh_database: Database,
    artifacts: ArtifactStore,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
) -> None:
    monkeypatch.setattr(simulated, "BATCH_ROWS", 256)
    left = random.Random(seed).randrange(1, 25)

    def crash(events: int, at: int) -> None:
        if events >= 256 * left:
            raise Crash

    with pytest.raises(Crash):
        run(fresh_database, artifacts, progress=crash)
    first = sum(map(len, stored_rows(fresh_database, undisturbed["session_id"]).values()))
    second = run(fresh_database, artifacts)
    assert first + second.new_rows == undisturbed["new_rows"]
    assert stored_rows(fresh_database, second.session.session_id) == undisturbed["rows"]
    assert run(fresh_database, artifacts).new_rows == 0


@pytest.mark.usefixtures("small_flushes")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_session_whose_write_failed_is_completed_by_a_second_run(
    fresh_database: Database,
    artifacts: ArtifactStore,
    undisturbed: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    moment: str,
) -> None:
    """The write fails before the head moves, or after it did but before the commit."""
    fails_at, calls = random.Random(seed).randrange(8), iter(range(10**6))

    def failing(cursor: psycopg.Cursor, *head: Any) -> None:
        if next(calls) == fails_at:
            if moment == "after":
                move_head(cursor, *head)
            raise Crash
        move_head(cursor, *head)

    with monkeypatch.context() as patched:
        patched.setattr(journal, "move_head", failing)
        with pytest.raises(Crash):
            run(fresh_database, artifacts)
    stored = stored_rows(fresh_database, undisturbed["session_id"])
    # A whole prefix of the chain, and nothing of what was written after the failure.
    numbers = sorted(seq for rows in stored.values() for seq, _, _ in rows)
    assert numbers == list(range(40 * fails_at))
    second = run(fresh_database, artifacts)
    assert stored_rows(fresh_database, second.session.session_id) == undisturbed["rows"]
    assert second.new_rows == undisturbed["new_rows"] - len(numbers)


def test_the_code_version_changes_with_every_deciding_file_and_with_no_other(
    tmp_path: Path,
) -> None:
    package = Path(backtest.__file__).resolve().parents[2]
    shutil.copytree(package, tmp_path / "trade_pipeline", ignore=shutil.ignore_patterns("*.pyc"))
    core = tmp_path / "trade_pipeline" / "core"

    def version() -> str:
        answer = subprocess.run(
            [
                sys.executable,
                "-c",
                "from trade_pipeline.core.session import version; print(version.__file__);"
                "print(version.code_version())",
            ],
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
        )
        file, text = answer.stdout.split()
        assert file.startswith(str(tmp_path))
        return text

    seen = {version()}
    for name in (
        "canonical.py",
        "ids.py",
        "execution/amm.py",
        "features/vector.py",
        "market/history.py",
        "market/simulator/plan.py",
        "records.py",
        "research/rug.py",
        "session/trading.py",
        "strategy/sizing.py",
    ):
        with (core / name).open("a") as file:
            file.write("# changed\n")
        new = version()
        assert new not in seen, name
        seen.add(new)
    with (core / "store" / "artifacts.py").open("a") as file:
        file.write("# changed\n")
    assert version() in seen
    (core / "market" / "renamed.py").write_bytes((core / "market" / "feed.py").read_bytes())
    assert version() not in seen


# Real recordings

POOLS = TradingConfig.parse({"strategy": {"small_fund_usd": 10_000}})


@pytest.fixture(scope="module")
def tape_outcomes(
    recordings: Path, database: Database, artifacts: ArtifactStore
) -> list[tuple[str, float]]:
    """Reason and return of every trade of a fortnight on recorded pools."""
    folder = recordings / "uniswap_v2"
    if not (folder / "tape.parquet").is_file():
        pytest.skip(f"no recording in {folder}")
    feed = UniswapV2Tape(folder)
    start = moment_of(feed.span()[0]) + timedelta(days=10)
    done = run_backtest(
        database,
        artifacts,
        feed,
        start=start,
        end=start + timedelta(days=40),
        seed=1,
        config=POOLS,
    )
    assert done.counts.events > 1_000
    with database.connect("trade_reader") as connection:
        rows: list[tuple[str, float]] = connection.execute(
            "SELECT termination_reason, realized_pnl_percent FROM trade.outcomes "
            "WHERE chain_id = %s",
            (done.session.session_id,),
        ).fetchall()
    return rows


def test_stops_on_recorded_pools_realise_worse_than_their_barrier_on_average(
    tape_outcomes: list[tuple[str, float]],
) -> None:
    stops = [percent for reason, percent in tape_outcomes if reason == "stop_loss"]
    assert len(stops) >= 5
    assert max(stops) < -10
    assert sum(stops) / len(stops) < -15.5


def test_recorded_hourly_bars_are_traded_and_replayed(
    recordings: Path, database: Database, artifacts: ArtifactStore
) -> None:
    folder = recordings / "spot_1h"
    if not (folder / "ohlcv_1h").is_dir():
        pytest.skip(f"no recording in {folder}")
    start = moment_of(HourlyBars(folder).span()[0]) + timedelta(days=20)
    runs = [
        run_backtest(
            database,
            artifacts,
            HourlyBars(folder),
            start=start,
            end=start + timedelta(days=14),
            seed=1,
            config=TradingConfig(),
        )
        for _ in range(2)
    ]
    assert runs[0].counts.candidates["enter", "signal"] > 0
    assert runs[1].new_rows == 0
    with database.connect("trade_reader") as connection:
        early = connection.execute(
            "SELECT count(*) FROM trade.executions e JOIN trade.candidates c USING (uuid) "
            "WHERE c.chain_id = %s AND e.occurred_at < c.decided_at",
            (runs[0].session.session_id,),
        ).fetchone()
    assert early == (0,)
