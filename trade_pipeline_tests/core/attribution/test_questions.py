"""The questions of docs/attribution.md, each answered by its one query as it is written there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

import trade_pipeline
from trade_pipeline.core.attribution.groups import NAMES
from trade_pipeline.core.attribution.pictures import experiment_png, group_png, waterfall_png
from trade_pipeline.core.attribution.report import attribution_report
from trade_pipeline.core.canary.cycle import deploy_canary, look_at_canary
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros, trade_uuid
from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.records import OrderEvent, Record, TerminationReason
from trade_pipeline.core.store.artifacts import record_settings
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.training.registry import read_model
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session

PAGE = Path(trade_pipeline.__file__).resolve().parents[1] / "docs" / "attribution.md"
QUERIES = dict(re.findall(r"^## ([^\n]+\?)\n+```sql\n(.+?)```", PAGE.read_text(), re.M | re.S))
SETTINGS = canonical_bytes({"strategy": {"exits": {"stop_loss": 0.15, "profit_target": 0.3}}})
HOLD, RUG = TerminationReason.MAX_HOLD, TerminationReason.RUGPULL_EXIT
HEURISTIC = "heuristic-1"


def trade(
    number: int, at: datetime, params: str, fetched: float, model: str = HEURISTIC, **more: Any
) -> list[Record]:
    """100 USD in, something out, 1 USD of gas each way, 0.3 USD of pool fee each way."""
    uuid = trade_uuid("own", f"T{number}", number, micros(at))
    reason = more.pop("reason", HOLD)
    decided = samples.candidate(
        number, "own", uuid=uuid, instrument=f"T{number}", decided_at=at, params_ptr=params,
        model_version=model, **more,
    )  # fmt: skip
    inside, gas = {"pool_fee": 0.3, "impact": 0.0, "tax": 0.0}, {"gas": 1.0}
    return [
        decided,
        samples.research(uuid, liquidity_usd=50_000.0),
        samples.fill(uuid, entry_price=1.0, size=100.0, slippage=0.0, value_usd=100.0,
                     costs_usd=gas, inside_usd=inside),
        samples.sale(uuid, exit_price=fetched / 100, size=100.0, slippage=0.0, value_usd=fetched,
                     costs_usd=gas, inside_usd=inside),
        samples.outcome(uuid, pnl_usd=fetched - 102.0, termination_reason=reason,
                        realized_pnl_percent=100 * (fetched - 102.0) / 101.0),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def store(strong_store: Store, strong: Strong) -> Store:
    """Beside a canary that was looked at: trades of the heuristic and of its model, and a rug."""
    deploy_canary(strong_store, strong.model, Scope(MARKET), by="test", reason="tried")
    store_later_session(strong_store, 14, "later", canary=strong.model)
    look_at_canary(strong_store, Scope(MARKET), by="test", act="record")
    with strong_store.database.connect("trade_writer") as connection:
        params = record_settings(connection, strong_store.artifacts, SETTINGS)
        (ends,) = connection.execute(
            "SELECT max((b.value ->> 'label_end')::timestamptz) FROM trade.datasets, "
            "jsonb_each(content::jsonb -> 'bounds') b WHERE dataset_version = %s",
            (read_model(connection, strong.model).dataset_version,),
        ).fetchall()[0]
        told = {"contributions": {"holders": 0.3, "volatility_72h": -0.1, "(base)": 5.0}}
        first = ends - timedelta(days=40)
        records: list[Record] = [samples.session("own", mode="paper", params_ptr=params)]
        records += trade(0, first.replace(hour=3), params, 122.0)
        records += trade(1, first.replace(hour=4), params, 22.0, reason=RUG)
        records += trade(2, ends, params, 142.0, strong.model, **told)
        records += trade(3, ends + timedelta(hours=1), params, 110.0, strong.model, **told)
        refused = samples.candidate(4, "own", decided_at=first, params_ptr=params,
                                    uuid=trade_uuid("own", "T4", 4, micros(first)))  # fmt: skip
        records += [
            refused,
            samples.fill(refused.uuid, entry_price=None, event=OrderEvent.REJECTED,
                         costs_usd={"gas": 1.0}),
        ]  # fmt: skip
        append_bulk(connection, "own", records)
    return strong_store


@pytest.fixture
def reader(store: Store) -> Iterator[psycopg.Connection[dict[str, Any]]]:
    with store.database.connect("trade_reader") as connection:
        connection.row_factory = dict_row  # type: ignore[assignment]
        yield connection  # type: ignore[misc]


def answer(reader: psycopg.Connection[dict[str, Any]], question: str) -> list[dict[str, Any]]:
    return [
        {name: float(v) if hasattr(v, "is_finite") else v for name, v in row.items()}
        for row in reader.execute(QUERIES[question].encode())
    ]


def test_every_question_is_in_the_page() -> None:
    assert len(QUERIES) == PAGE.read_text().count("```sql") == 5


def test_what_rugs_cost(reader: psycopg.Connection[dict[str, Any]]) -> None:
    # The stop would have fetched 85, the sale fetched 22.
    assert answer(reader, "What did rugs cost us?") == [
        {"mode": "paper", "market": MARKET, "trades": 1, "usd": -63.0,
         "percent_of_all_losses": 78.8}
    ]  # fmt: skip


def test_which_signals_made_money_out_of_sample(
    reader: psycopg.Connection[dict[str, Any]],
) -> None:
    # Only the trade after the last label: 8 USD, three quarters and one quarter of it.
    assert answer(reader, "Which signals made money out of sample?") == [
        {"feature": "holders", "spoke": "for", "trades": 1, "usd": 6.0,
         "percent_of_the_decision": 75.0},
        {"feature": "volatility_72h", "spoke": "against", "trades": 1, "usd": 2.0,
         "percent_of_the_decision": 25.0},
    ]  # fmt: skip


def test_what_gas_and_fees_take(reader: psycopg.Connection[dict[str, Any]]) -> None:
    # The fee of the rug's exit is part of what the rug took.
    (told,) = answer(reader, "What do gas and fees take?")
    assert (told["trades"], told["gas"], told["fees"]) == (4, -8.0, -2.1)
    assert told["result_without_them"] == -1.9


def test_whether_the_canary_is_better(
    reader: psycopg.Connection[dict[str, Any]], strong: Strong
) -> None:
    (told,) = answer(reader, "Is the canary better?")
    assert told["decision"] == "promote"
    assert told["at_least"] < told["points"] < told["at_most"]
    assert told["blocks"] >= 8


def test_which_hour_was_best(reader: psycopg.Connection[dict[str, Any]]) -> None:
    told = answer(reader, "Which hour was best?")
    assert {row["hour_utc"]: row["usd"] for row in told}[3] == 20.0
    assert told[-1] == {"hour_utc": 4, "trades": 1, "days": 1, "usd": -80.0, "per_trade": -80.0}


# The report over the same records


@pytest.fixture(scope="module")
def report(store: Store) -> dict[str, Any]:
    with store.database.connect("trade_reader") as connection:
        return attribution_report(connection, "own")


def test_the_groups_of_each_kind_sum_to_the_result(report: dict[str, Any]) -> None:
    assert report["result_usd"] == sum(row["usd"] for row in report["parts"]) == -12.0
    assert report["unfilled_entries_usd"] == -1.0
    for name in set(NAMES) - {"signal"}:
        rows = report["by"][name]
        assert sum(row["trades"] for row in rows) == 4, name
        assert sum(row["result_usd"] for row in rows) == pytest.approx(-12.0), name
        for row in rows:
            parts = (value for key, value in row.items() if key in report_parts())
            assert sum(parts) == pytest.approx(row["result_usd"]), name


def report_parts() -> set[str]:
    return {"market_usd", "timing_usd", "costs_usd", "rug_usd", "unexplained_usd"}


def test_a_model_s_trades_are_apart_by_what_it_had_learned_from(
    report: dict[str, Any], strong: Strong
) -> None:
    short = strong.model[7:15]
    told = {row["group"]: row["result_usd"] for row in report["by"]["model"]}
    assert told == {
        f"{HEURISTIC}, learned from no trades": -60.0,
        f"{short}, in sample": 40.0,
        f"{short}, out of sample": 8.0,
    }
    signals = {
        (row["group"], row["spoke"], row["sample"]): row["result_usd"]
        for row in report["by"]["signal"]
    }
    assert signals == {
        ("holders", "for", "in sample"): 30.0,
        ("volatility_72h", "against", "in sample"): 10.0,
        ("holders", "for", "out of sample"): 6.0,
        ("volatility_72h", "against", "out of sample"): 2.0,
    }


def test_groups_of_one_day_have_no_interval(report: dict[str, Any]) -> None:
    by_reason = {row["group"]: row for row in report["by"]["reason"]}
    assert by_reason["max_hold"]["low_usd"] < by_reason["max_hold"]["high_usd"]
    assert by_reason["rugpull_exit"]["low_usd"] != by_reason["rugpull_exit"]["low_usd"]


def test_sentiment_and_liquidity_have_bands(report: dict[str, Any]) -> None:
    assert [row["group"] for row in report["by"]["sentiment"]] == ["twitter, over 0.6"]
    assert [row["group"] for row in report["by"]["liquidity"]] == ["20,000-100,000 USD"]
    assert [row["group"] for row in report["by"]["age"]] == ["unknown"]


def test_the_arms_of_the_canary_are_told_as_an_experiment(store: Store, strong: Strong) -> None:
    with store.database.connect("trade_reader") as connection:
        (effect,) = attribution_report(connection, by=[])["experiment"]
    assert effect["canary"] == strong.model
    assert effect["blocks"] >= 5
    assert effect["low_pct"] <= effect["difference_pct"] <= effect["high_pct"]


def test_pictures_are_drawn_with_and_without_trades(store: Store, report: dict[str, Any]) -> None:
    with store.database.connect("trade_reader") as connection:
        empty = attribution_report(connection, "strong")
        everything = attribution_report(connection, by=[])
    assert empty["trades"] == 0
    for told in (report, empty):
        pictures = [waterfall_png(told)]
        pictures += [group_png(name, rows) for name, rows in told["by"].items()]
        assert all(one.startswith(b"\x89PNG") for one in pictures)
    assert experiment_png(empty["experiment"]) != experiment_png(everything["experiment"])


def test_what_is_not_there_is_refused(store: Store) -> None:
    with store.database.connect("trade_reader") as connection:
        with pytest.raises(BadConfig, match="session_id='nobody'"):
            attribution_report(connection, "nobody")
        with pytest.raises(BadConfig, match="by='weekday'"):
            attribution_report(connection, by=["weekday"])
