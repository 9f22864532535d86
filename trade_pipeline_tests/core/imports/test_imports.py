"""Trades of older bots come in as they were, once, whole, and stay apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
import pytest

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.dataset.frame import read_trade_frame
from trade_pipeline.core.errors import BadConfig, RecordConflict
from trade_pipeline.core.ids import uuid7_micros
from trade_pipeline.core.imports.problems import BadTrades
from trade_pipeline.core.ledger import bulk
from trade_pipeline.core.records import TerminationReason
from trade_pipeline.core.report import integrity
from trade_pipeline.core.report.performance import performance_metrics, session_report
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.tracking import TradeTrackingSystem, complete_trade_record
from trade_pipeline.core.training.retraining import retraining_need
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.imports import made
from trade_pipeline_tests.core.imports.made import csv_of, freqtrade, json_of, legacy

TABLES = ("sessions", "candidates", "executions", "outcomes", "artifacts", "chain_heads")


@pytest.fixture
def store(fresh_database: Database, tmp_path: Path) -> Store:
    return Store(fresh_database, ArtifactStore(str(tmp_path / "artifacts")))


def counts(store: Store) -> dict[str, int]:
    with store.database.connect("trade_reader") as connection:
        found: dict[str, int] = {}
        for table in TABLES:
            row = connection.execute(f"SELECT count(*) FROM trade.{table}".encode()).fetchone()
            assert row is not None
            found[table] = row[0]
    return found


def stored(store: Store) -> list[dict[str, Any]]:
    """The complete records of all candidates in their order."""
    with store.database.connect("trade_reader") as connection:
        uuids = connection.execute("SELECT uuid FROM trade.candidates ORDER BY uuid").fetchall()
        return [complete_trade_record(connection, uuid) for (uuid,) in uuids]


def problems(store: Store, data: bytes, **options: Any) -> BadTrades:
    """What is wrong with a file of which nothing may be left, not even its bytes."""
    with pytest.raises(BadTrades) as refused:
        made.run(store, data, **options)
    assert not any(counts(store).values())
    assert not list(Path(store.artifacts.uri(address_of(b"")).removeprefix("file://")).parents[1]
                    .glob("*/*"))  # fmt: skip
    return refused.value


def test_a_legacy_trade_becomes_a_candidate_two_fills_and_an_outcome(store: Store) -> None:
    data = csv_of([legacy()])
    done = made.run(store, data)
    assert (done.trades, done.new, done.pnl_usd, done.format) == (1, True, 29.7, "legacy")
    (record,) = stored(store)
    candidate, (entry, exit_), (outcome,) = (
        record["candidate"], record["executions"], record["outcomes"],
    )  # fmt: skip
    assert candidate["decided_at"] == entry["occurred_at"] == "2024-01-10T07:15:00Z"
    assert exit_["occurred_at"] == outcome["closed_at"] == "2024-01-10T09:15:00Z"
    assert (candidate["created_by"], candidate["model_version"]) == ("import:legacy", "v1.2.3")
    assert (candidate["confidence"], candidate["stake_usd"]) == (0.75, 100.0)
    assert candidate["imported"] == {
        "source": address_of(data), "row": 2, "id": "t-1", "reason": "profit_target",
        "pnl": 29.7, "return_percent": None, "usd": 1.0,
    }  # fmt: skip
    assert (entry["entry_price"], entry["size"], entry["costs_usd"]) == (
        0.001, 100_000.0, {"exchange_fee": 0.1},
    )  # fmt: skip
    assert (exit_["exit_price"], exit_["value_usd"], exit_["costs_usd"]) == (
        0.0013, 130.0, {"exchange_fee": 0.2},
    )  # fmt: skip
    assert (outcome["pnl_usd"], outcome["termination_reason"]) == (29.7, "profit_target")
    assert outcome["realized_pnl_percent"] == pytest.approx(100 * 29.7 / 100.1)
    assert outcome["time_in_market_seconds"] == 7200
    with store.database.connect("trade_reader") as connection:
        assert samples.assert_whole_chain(connection, done.session_id) == 5
        session, mode, address = connection.execute(
            "SELECT session_id, mode, market_address FROM trade.sessions"
        ).fetchall()[0]
    assert (session, mode, address) == (done.session_id, "imported", address_of(data))
    assert store.artifacts.get(address) == data
    moment = uuid7_micros(UUID(record["uuid"])) / 1e6
    assert moment == 1704870900, "the UUID's time is that of the entry"


def test_the_same_file_again_adds_nothing_and_is_never_read_in_two_ways(store: Store) -> None:
    data = csv_of([legacy(), legacy(opened_at="2024-01-10T08:00:00Z")])
    first = made.run(store, data)
    before, records = counts(store), stored(store)
    again = made.run(store, data)
    assert (again.new, again.session_id, again.trades) == (False, first.session_id, 2)
    with pytest.raises(RecordConflict, match="as other settings read it"):
        made.run(store, data, timezone="Asia/Tokyo")
    assert (counts(store), stored(store)) == (before, records)


def test_rows_that_say_the_same_are_two_trades(store: Store) -> None:
    assert made.run(store, csv_of([legacy(), legacy()])).trades == 2
    assert len({record["uuid"] for record in stored(store)}) == 2


def test_a_dry_run_tells_what_would_come_in_and_stores_nothing(store: Store) -> None:
    data = csv_of([legacy(), legacy(closed_at="", exit_price="")])
    told = made.run(store, data, dry_run=True)
    assert (told.trades, told.still_open, told.new) == (1, 1, True)
    assert told.by_reason == (("profit_target", "profit_target", 1),)
    assert not any(counts(store).values())


@pytest.mark.parametrize(
    ("data", "format_"),
    [
        (made.backtest_of(freqtrade()), "freqtrade-backtest"),
        (made.zip_of(made.backtest_of(freqtrade())), "freqtrade-backtest"),
        (json_of([freqtrade(trade_id=7)]), "freqtrade"),
        (json_of({"trades": [freqtrade()], "trades_count": 1}), "freqtrade"),
        # As versions before 2022 wrote it, live, with dates that have no zone.
        (
            json_of([
                {k: v for k, v in freqtrade(
                    sell_reason="roi", buy_tag="dip", close_profit_abs=9.79,
                    open_date="2024-01-10 07:15:00", close_date="2024-01-10 09:15:00",
                ).items() if k not in ("exit_reason", "enter_tag", "profit_abs", "is_short")}
            ]),
            "freqtrade",
        ),
    ],
    ids=["backtest", "zip", "show-trades", "rest", "old"],
)  # fmt: skip
def test_every_export_of_freqtrade_gives_the_same_trade(
    store: Store, data: bytes, format_: str
) -> None:
    done = made.run(store, data)
    assert (done.format, done.trades) == (format_, 1)
    (record,) = stored(store)
    assert record["outcomes"][0]["pnl_usd"] == 9.79
    assert record["outcomes"][0]["realized_pnl_percent"] == pytest.approx(9.780220, rel=1e-6)
    assert record["outcomes"][0]["termination_reason"] == "profit_target"
    assert [one["costs_usd"]["exchange_fee"] for one in record["executions"]] == [0.1, 0.11]
    assert record["candidate"]["reason"] == "dip"
    assert record["candidate"]["confidence"] is None
    strategy = "Dips" if format_ == "freqtrade-backtest" else "unknown"
    assert record["candidate"]["model_version"] == strategy


def test_a_forced_exit_is_a_persons_in_live_trades_and_the_end_in_a_backtest(store: Store) -> None:
    forced = freqtrade(exit_reason="force_exit")
    live = made.run(store, json_of([forced]))
    simulated = made.run(store, made.backtest_of(forced), skip_known=True, dry_run=True)
    assert live.by_reason == (("force_exit", "manual", 1),)
    assert simulated.known == 1
    other = freqtrade(exit_reason="force_exit", pair="WIF/USDT")
    told = made.run(store, made.backtest_of(other), dry_run=True)
    assert told.by_reason == (("force_exit", "session_end", 1),)


def test_a_trade_in_several_steps_has_all_its_fills(store: Store) -> None:
    def order(minutes: int, price: float, amount: float, *, entry: bool = False) -> dict[str, Any]:
        return {
            "ft_is_entry": entry, "safe_price": price, "amount": amount, "filled": amount,
            "order_filled_timestamp": 1704870900000 + minutes * 60_000, "order_id": f"o{minutes}",
        }  # fmt: skip

    cancelled = {"ft_is_entry": True, "order_filled_timestamp": None, "amount": 1.0}
    orders = [order(0, 1.0, 60, entry=True), cancelled, order(10, 0.5, 40, entry=True),
              order(60, 1.2, 50), order(90, 1.1, 50)]  # fmt: skip
    # 60 + 20 paid, 60 + 55 got, fees of 0.1 % of 195.
    made.run(store, json_of([freqtrade(orders=orders, profit_abs=34.805, profit_ratio=None)]))
    (record,) = stored(store)
    assert [(e["leg"], e["order_id"], e["value_usd"]) for e in record["executions"]] == [
        ("entry", "o0", 60.0), ("entry", "o10", 20.0), ("exit", "o60", 60.0), ("exit", "o90", 55.0),
    ]  # fmt: skip
    assert record["outcomes"][0]["pnl_usd"] == 34.805


def test_of_several_strategies_one_is_named(store: Store) -> None:
    data = made.backtest_of(freqtrade(), Breakouts=[freqtrade(), freqtrade()])
    assert "one of Dips, Breakouts" in str(problems(store, data))
    assert "one of Dips, Breakouts" in str(problems(store, data, strategy="Other"))
    assert made.run(store, data, strategy="Breakouts", dry_run=True).trades == 2


def test_money_in_another_currency_needs_its_price(store: Store) -> None:
    data = json_of([freqtrade(pair="PEPE/BTC", profit_abs=9.79)])
    assert "quote='BTC'" in str(problems(store, data))
    made.run(store, data, quote_usd={"BTC": 2.0})
    (record,) = stored(store)
    assert record["executions"][0]["entry_price"] == 0.002
    assert record["outcomes"][0]["pnl_usd"] == 19.58
    assert record["candidate"]["imported"]["usd"] == 2.0


def test_other_columns_and_words_are_named_by_whoever_knows_them(store: Store) -> None:
    data = json_of(
        [{"coin": "WIF", "in": 1704870900, "out": 1704878100000, "p0": 1, "p1": 2, "n": 3,
          "why": "moon"}]
    )  # fmt: skip
    columns = {"instrument": "coin", "opened_at": "in", "closed_at": "out", "entry_price": "p0",
               "exit_price": "p1", "size": "n", "termination_reason": "why"}  # fmt: skip
    told = problems(store, data, columns=columns)
    assert "reason='moon': expected a reason with a known meaning (1 trades" in str(told)
    with pytest.raises(BadConfig, match="--map price=p0: expected one of instrument"):
        made.run(store, data, columns={"price": "p0"})
    with pytest.raises(BadConfig, match="no such column; it has coin"):
        made.run(store, data, columns={"instrument": "token"})
    made.run(store, data, columns=columns, reasons={"moon": TerminationReason.PROFIT_TARGET})
    (record,) = stored(store)
    assert record["candidate"]["imported"]["reason"] == "moon"
    assert record["outcomes"][0]["termination_reason"] == "profit_target"
    assert record["outcomes"][0]["pnl_usd"] == 3.0
    assert record["candidate"]["decided_at"] == "2024-01-10T07:15:00Z"


def test_a_net_result_without_fees_says_that_they_are_not_itemised(store: Store) -> None:
    row = legacy(entry_fee="", exit_fee="", pnl="28")
    made.run(store, csv_of([row]))
    (record,) = stored(store)
    assert record["executions"][1]["costs_usd"] == {"not_itemised": 2.0}
    assert record["outcomes"][0]["pnl_usd"] == 28.0


def test_times_without_a_zone_are_read_in_the_one_that_is_given(store: Store) -> None:
    row = legacy(opened_at="2024-07-10 07:15", closed_at="2024-07-10 09:15")
    assert "give --timezone" in str(problems(store, csv_of([row])))
    with pytest.raises(BadConfig, match="timezone='Mars'"):
        made.run(store, csv_of([row]), timezone="Mars")
    # The clock showed this hour twice, and the other one never.
    for hour in ("2024-10-27 02:30", "2024-03-31 02:30"):
        twice = csv_of([legacy(opened_at=hour, closed_at="2024-11-01 00:00")])
        assert "had once" in str(problems(store, twice, timezone="Europe/Berlin"))
    made.run(store, csv_of([row]), timezone="Europe/Berlin")
    assert stored(store)[0]["candidate"]["decided_at"] == "2024-07-10T05:15:00Z"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"instrument": ""}, "row 2: instrument=''"),
        ({"instrument": "a\tb"}, "row 2: instrument='a\\tb'"),
        ({"opened_at": "yesterday"}, "row 2: opened_at='yesterday'"),
        ({"opened_at": "1704"}, "row 2: opened_at='1704'"),
        ({"opened_at": "1999-01-10T07:15:00Z"}, "row 2: opened_at='1999"),
        ({"closed_at": "2026-03-01T00:00:01Z"}, "row 2: closed_at='2026"),
        ({"closed_at": "2024-01-10T07:14:59Z"}, "row 2: closed_at='2024"),
        ({"closed_at": ""}, "row 2: closed_at=''"),
        ({"entry_price": "0"}, "row 2: entry_price='0'"),
        ({"entry_price": "nan"}, "row 2: entry_price='nan'"),
        ({"exit_price": "1,5"}, "row 2: exit_price='1,5'"),
        ({"size": "-1"}, "row 2: size='-1'"),
        ({"size": "inf"}, "row 2: size='inf'"),
        ({"size": "1_000"}, "row 2: size='1_000'"),
        ({"entry_fee": "-0.1"}, "row 2: entry_fee='-0.1'"),
        ({"confidence": "1.01"}, "row 2: confidence='1.01'"),
        ({"pnl": "31"}, "row 2: pnl=31.0: expected about 29.7"),
        ({"return_percent": "40"}, "row 2: return_percent=40.0: expected about 29.6"),
        ({"entry_fee": "", "exit_fee": "", "pnl": "30.5"}, "row 2: pnl=30.5: expected at most 30"),
        ({"entry_fee": "", "exit_fee": "", "pnl": "-101"}, "row 2: pnl=-101.0"),
        ({"termination_reason": ""}, "row 2: termination_reason=''"),
        ({"termination_reason": "not_filled"}, "row 2: reason='not_filled'"),
    ],
)
def test_a_bad_row_refuses_the_file_with_its_field_and_value(
    store: Store, changes: dict[str, Any], told: str
) -> None:
    assert told in str(problems(store, csv_of([legacy(**changes), legacy()])))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"is_short": True}, "is_short=True: expected false"),
        ({"leverage": 3}, "leverage=3"),
        ({"funding_fees": 0.1}, "funding_fees=0.1"),
        ({"profit_abs": 12.0}, "pnl=12.0: expected about 9.79"),
        ({"profit_ratio": 0.2}, "return_percent=20.0"),
        ({"pair": "PEPE"}, "quote=''"),
        ({"orders": [1]}, "orders=[1]"),
        ({"orders": [{"order_filled_timestamp": 1}] * 3}, "orders.order_filled_timestamp=1:"),
        ({"orders": "none"}, "orders='none'"),
        ({"amount": None}, "amount=None"),
    ],
)
def test_what_freqtrade_knows_and_the_records_do_not_is_refused(
    store: Store, changes: dict[str, Any], told: str
) -> None:
    assert f"row 1: {told}" in str(problems(store, json_of([freqtrade(**changes)])))


def test_the_first_twenty_problems_are_told_and_how_many_more_there_are(store: Store) -> None:
    told = problems(store, csv_of([legacy(size="x")] * 30))
    lines = str(told).splitlines()
    assert len(told.problems) == 30
    assert lines[1].strip().startswith("row 2: size='x'")
    assert lines[20].strip().startswith("row 21: ")
    assert lines[21:] == ["  ... and 10 more"]


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\n\n", b"{", b"[]", b"{}", b"[1]", b"null", b"a,b\n", b"a,a\n1,2\n", b"a,b\n1\n",
        b'a,b\n"1,2\n', b"\xff\xfe", b"PK\x03\x04", made.zip_of(b"{}"), b'{"strategy": {}}',
        b'{"strategy": {"A": 1}}', b"[" * 100_000, json_of([legacy(size=1 << 80)]),
        json_of([legacy(id="\x00")]), json_of([legacy(id=["x"])]), json_of([legacy(pnl={"a": 1})]),
    ],
)  # fmt: skip
def test_what_is_no_file_of_trades_is_refused(store: Store, data: bytes) -> None:
    problems(store, data)


def test_a_later_export_of_the_same_bot_brings_in_only_what_is_new(store: Store) -> None:
    made.run(store, csv_of([legacy()]))
    later = csv_of([legacy(), legacy(opened_at="2024-01-10T08:00:00Z", id="t-2")])
    before = counts(store)
    with pytest.raises(BadTrades, match=r"row 2: trade='PEPE/USDT at .*--skip-known"):
        made.run(store, later)
    assert counts(store) == before
    done = made.run(store, later, skip_known=True)
    assert (done.trades, done.known) == (1, 1)
    assert [record["candidate"]["imported"]["id"] for record in stored(store)] == ["t-1", "t-2"]


def test_an_import_that_dies_leaves_no_trade_and_the_next_one_brings_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise psycopg.OperationalError("killed")

    data = csv_of([legacy()])
    with monkeypatch.context() as patch:
        patch.setattr(bulk, "move_head", dies)
        with pytest.raises(Exception, match="killed"):
            made.run(store, data)
    assert [counts(store)[table] for table in TABLES[:4]] == [0, 0, 0, 0]
    assert made.run(store, data).new
    assert [counts(store)[table] for table in TABLES[:4]] == [1, 1, 2, 1]


def test_nothing_that_reads_all_trades_sees_imported_ones_unasked(
    fresh_strong_store: Store,
) -> None:
    store = fresh_strong_store

    def told() -> list[Any]:
        with store.database.connect("trade_reader") as connection:
            return [
                orjson.dumps(performance_metrics(connection)),
                len(read_trade_frame(connection)),
                len(read_trade_frame(connection, market="imported")),
                retraining_need(connection),
                integrity.unfinished_sessions(connection),
                *(
                    check(connection)
                    for check in (
                        integrity.candidates_without_research,
                        integrity.entries_without_end,
                        integrity.trades_without_one_outcome,
                        integrity.cash_that_does_not_add_up,
                        integrity.records_from_the_future,
                    )
                ),
            ]

    before = told()
    done = made.run(store, csv_of([legacy(), legacy(pnl="")]))
    assert told() == before
    with store.database.connect("trade_reader") as connection:
        own = performance_metrics(connection)["total_trades"]
        assert performance_metrics(connection, include_imported=True)["total_trades"] == own + 2
        assert performance_metrics(connection, done.session_id)["total_trades"] == 2
        assert session_report(connection, done.session_id)["total_pnl_usd"] == 59.4
        frame = read_trade_frame(connection, market="imported", include_imported=True)
        assert read_trade_frame(connection, sessions=[done.session_id]).empty
    assert list(frame["kind"]) == ["imported"] * 2
    assert frame["realised_return"].notna().all()
    assert frame[["liquidity_usd", "rug_risk"]].isna().all().all()
    with TradeTrackingSystem(store=store) as tracker:
        assert tracker.get_performance_metrics()["total_trades"] == own
        everything = tracker.get_performance_metrics(include_imported=True)
        assert everything["total_trades"] == own + 2


def test_only_an_import_may_leave_the_confidence_unknown(store: Store) -> None:
    made.run(store, json_of([freqtrade()]))
    with (
        store.database.connect("trade_writer") as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="candidates_confidence_known"),
    ):
        connection.execute(
            'INSERT INTO trade.candidates SELECT (jsonb_populate_record(c, \'{"uuid": '
            '"018cf260-2e20-7000-8000-000000000000", "created_by": "bot"}\')).* '
            "FROM trade.candidates c"
        )
