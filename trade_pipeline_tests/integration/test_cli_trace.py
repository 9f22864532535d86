"""What `trade-pipeline trace` tells of a trade, and writes of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from trade_pipeline.core.ledger.bulk import append_bulk
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.integration.typed import Run, run_in

TOLD = {
    "volatility_24h": 0.8, "rug_risk": -1.25, "holders": 0.004, "(other features)": 2.0,
    "(base)": -0.5,
}  # fmt: skip


@pytest.fixture
def run(
    server: EmbeddedPostgres,
    fresh_database: Database,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:
    with fresh_database.connect() as connection:
        name = connection.info.dbname
    settings = {
        "TRADE_PIPELINE_HOME": str(tmp_path_factory.mktemp("home")),
        "TRADE_PIPELINE_DATABASE_URL": server.url("postgres", name),
    }
    with pytest.MonkeyPatch.context() as patch:
        yield run_in(patch, settings)


def _decided(database: Database, contributions: Mapping[str, float] | None) -> str:
    """The UUID of a stored trade."""
    candidate = samples.candidate(contributions=contributions, confidence=0.7416)
    uuid = candidate.uuid
    records = [samples.session(), candidate, samples.research(uuid), samples.fill(uuid)]
    with database.connect() as connection:
        append_bulk(connection, "s", [*records, samples.outcome(uuid)])
    return str(uuid)


def test_people_read_why_a_model_was_confident(run: Run, fresh_database: Database) -> None:
    ended = run("trace", _decided(fresh_database, TOLD))
    assert ended.code == 0, ended.err
    _, why = ended.out.split("why: ")
    # 1 / (1 + exp(-1.054)), of the sum of all that is told.
    assert why.startswith("together +1.054, a confidence of 74.2%")
    lines = why[: why.index("└")].splitlines()
    rows = [line.strip("│ ").split("│") for line in lines if line.startswith("│")]
    assert [(name.strip(), value.strip()) for name, value, *_ in rows] == [
        ("rug_risk", "-1.250"),
        ("volatility_24h", "+0.800"),
        ("holders", "+0.004"),
        ("(other features)", "+2.000"),
        ("(base)", "-0.500"),
    ]


def test_people_read_the_trade_in_a_sentence_and_then_by_section(
    run: Run, fresh_database: Database
) -> None:
    ended = run("trace", _decided(fresh_database, None))
    assert ended.code == 0, ended.err
    assert ended.out.startswith("Bought PEPE/USDT")
    assert "+15.5 %" in " ".join(ended.out.split()[:40])
    places = [
        ended.out.index(title)
        for title in (
            "What was known ─", "The decision ─", "Orders, and the market around them ─",
            "What came of it ─", "Where the trade went, and where its decision came from ─",
            "The ledger ─",
        )
    ]  # fmt: skip
    assert places == sorted(places)


def test_programs_read_the_records_as_they_are_stored(run: Run, fresh_database: Database) -> None:
    found = run("trace", _decided(fresh_database, TOLD), "--json").facts
    assert found["candidate"]["contributions"] == TOLD
    assert found["research"]["trade_rationale"] == "momentum"
    assert [one["event"] for one in found["executions"]] == ["filled"]
    assert [one["realized_pnl_percent"] for one in found["outcomes"]] == [15.5]
    assert found["verdict"].startswith("Bought PEPE/USDT")
    assert {entry["table"] for entry in found["ledger"]} == {
        "candidates", "research_docs", "executions", "outcomes",
    }  # fmt: skip


def test_a_decision_of_the_heuristic_tells_no_contributions(
    run: Run, fresh_database: Database
) -> None:
    ended = run("trace", _decided(fresh_database, None))
    assert (ended.code, "why: " in ended.out) == (0, False)
    assert "PEPE/USDT" in ended.out


def test_a_page_is_one_file_with_its_pictures(
    run: Run, fresh_database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "trade.html"
    uuid = _decided(fresh_database, TOLD)
    ended = run("trace", uuid, "--html", str(file))
    assert (ended.code, ended.out) == (0, "")
    assert ended.err == f"wrote {file}\n"
    page = file.read_text()
    assert uuid in page
    assert page.count("data:image/png;base64,") == 2


def test_a_file_that_cannot_be_written_is_named(run: Run, fresh_database: Database) -> None:
    ended = run("trace", _decided(fresh_database, None), "--html", "/nowhere/trade.html")
    assert ended.code == 2
    assert "html='/nowhere/trade.html'" in ended.err


def test_an_unknown_trade_is_named(run: Run) -> None:
    uuid = str(samples.candidate().uuid)
    ended = run("trace", uuid)
    assert (ended.code, ended.out) == (2, "")
    assert uuid in ended.err
