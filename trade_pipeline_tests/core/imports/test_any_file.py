"""Any trades come back as they were written; any bytes are trades, or a clean error."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.imports import freqtrade, legacy
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import complete_trade_record
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.imports import made

NAMES = itertools.count()
SOME = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
MANY = settings(SOME, max_examples=60)


@pytest.fixture(scope="module")
def store(server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with create_database(server) as database:
        yield Store(database, ArtifactStore(str(tmp_path_factory.mktemp("artifacts"))))


def amounts(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def rows(draw: st.DrawFn) -> dict[str, Any]:
    opened = datetime(2024, 1, 1, tzinfo=UTC) + draw(
        st.timedeltas(timedelta(0), timedelta(days=50))
    )
    closed = opened + draw(st.timedeltas(timedelta(0), timedelta(days=3)))
    zone = draw(st.integers(-12, 14))
    return {
        "opened_at": (opened + timedelta(hours=zone)).strftime("%Y-%m-%dT%H:%M:%S.%f")
        + f"{zone:+03d}:00",
        "closed_at": closed.isoformat(),
        "entry_price": draw(amounts(1e-9, 1e5)),
        "exit_price": draw(amounts(1e-9, 1e5)),
        "size": draw(amounts(1, 1e9)),
        "entry_fee": draw(st.none() | amounts(0, 10)),
        "exit_fee": draw(st.none() | amounts(0, 10)),
        "termination_reason": draw(st.sampled_from(sorted(legacy.REASONS))),
        "id": draw(st.none() | st.from_regex(r"[a-zäß0-9 ;,\"'=-]{1,20}", fullmatch=True)),
        "confidence": draw(st.none() | amounts(0, 1)),
    }


@SOME
@given(st.lists(rows(), min_size=1, max_size=5), st.sampled_from([",", ";", "\t", "json"]))
def test_trades_come_back_as_they_were_written(
    store: Store, written: list[dict[str, Any]], how: str
) -> None:
    for row in written:
        row["instrument"] = f"T{next(NAMES)}"
    data = made.json_of(written) if how == "json" else made.csv_of(written, how)
    if min(row["entry_price"] * row["size"] for row in written) < 1e-6:
        # Less than a millionth of a dollar is no money.
        nothing_but_an_error(store, data)
        return
    done = made.run(store, data)
    assert (done.trades, done.new, made.run(store, data).new) == (len(written), True, False)
    with store.database.connect("trade_reader") as connection:
        uuids = connection.execute(
            "SELECT uuid FROM trade.candidates WHERE session_id = %s ORDER BY chain_seq",
            (done.session_id,),
        ).fetchall()
        stored = [complete_trade_record(connection, uuid) for (uuid,) in uuids]
    for row, record in zip(written, stored, strict=True):
        candidate, (entry, exit_) = record["candidate"], record["executions"]
        (outcome,) = record["outcomes"]
        assert candidate["instrument"] == row["instrument"]
        assert candidate["confidence"] == row["confidence"]
        assert candidate["imported"]["id"] == ((row["id"] or "").strip() or None)
        for leg, fill in (("entry", entry), ("exit", exit_)):
            assert fill[f"{leg}_price"] == row[f"{leg}_price"]
            assert fill["size"] == row["size"]
            moment = row["opened_at" if leg == "entry" else "closed_at"]
            told = datetime.fromisoformat(fill["occurred_at"])
            assert told == datetime.fromisoformat(moment)
        paid = [round(row[f"{leg}_fee"] or 0.0, 6) for leg in ("entry", "exit")]
        flow = exit_["value_usd"] - entry["value_usd"] - math.fsum(paid)
        # Both are differences of large numbers, of which the last bits are rounded.
        least = max(1e-5, 1e-15 * entry["value_usd"])
        assert outcome["pnl_usd"] == pytest.approx(flow, rel=1e-12, abs=least)
        assert outcome["termination_reason"] == legacy.REASONS[row["termination_reason"]]


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(
        ["2024-01-10", "1e400", "-0", "\uff11", "0001-01-01", "9999-12-31T23:59-12:00"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)  # fmt: skip


def nothing_but_an_error(store: Store, data: bytes) -> None:
    """An import that is a clean error, or none; a crash of any other kind fails the test."""
    with suppress(TradePipelineError):
        made.run(store, data, dry_run=True, skip_known=True, timezone="UTC")


@MANY
@given(
    st.dictionaries(st.sampled_from(sorted(legacy.FIELDS)), VALUES, min_size=1),
    st.dictionaries(st.sampled_from(sorted(freqtrade.FIELDS)), VALUES, min_size=1),
)
def test_any_value_in_any_field_is_taken_or_refused(
    store: Store, old: dict[str, Any], other: dict[str, Any]
) -> None:
    nothing_but_an_error(store, made.json_of([made.legacy(**old)]))
    nothing_but_an_error(store, made.backtest_of(made.freqtrade(**other)))
    texts = {name: str(value).replace("\ud800", "") for name, value in old.items()}
    nothing_but_an_error(store, made.csv_of([made.legacy(**texts)]))


FILES = [
    made.csv_of([made.legacy(), made.legacy()]),
    made.json_of([made.legacy()]),
    made.backtest_of(made.freqtrade()),
    made.zip_of(made.backtest_of(made.freqtrade())),
]


@MANY
@given(st.sampled_from(FILES), st.data())
def test_any_damage_is_a_clean_error(store: Store, file: bytes, data: st.DataObject) -> None:
    damaged = bytearray(file)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(damaged)))
        until = data.draw(st.integers(at, min(len(damaged), at + 40)))
        damaged[at:until] = data.draw(st.binary(max_size=40))
    nothing_but_an_error(store, bytes(damaged))
