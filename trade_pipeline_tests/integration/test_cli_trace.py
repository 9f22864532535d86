"""What `trade-pipeline trace` tells of a decision that a model made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

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
    """The UUID of a stored decision."""
    candidate = samples.candidate(contributions=contributions, confidence=0.7416)
    with database.connect() as connection:
        append_bulk(connection, "s", [samples.session(), candidate])
    return str(candidate.uuid)


def test_people_read_why_a_model_was_confident(run: Run, fresh_database: Database) -> None:
    ended = run("trace", _decided(fresh_database, TOLD))
    assert ended.code == 0, ended.err
    _, why = ended.out.split("why: ")
    # 1 / (1 + exp(-1.054)), of the sum of all that is told.
    assert why.startswith("together +1.054, a confidence of 74.2%")
    rows = [line.strip("│ ").split("│") for line in why.splitlines() if line.startswith("│")]
    assert [(name.strip(), value.strip()) for name, value in rows] == [
        ("rug_risk", "-1.250"),
        ("volatility_24h", "+0.800"),
        ("holders", "+0.004"),
        ("(other features)", "+2.000"),
        ("(base)", "-0.500"),
    ]


def test_programs_read_the_contributions_as_they_are_stored(
    run: Run, fresh_database: Database
) -> None:
    found = run("trace", _decided(fresh_database, TOLD), "--json").facts
    assert found["candidate"]["contributions"] == TOLD


def test_a_decision_of_the_heuristic_tells_no_contributions(
    run: Run, fresh_database: Database
) -> None:
    ended = run("trace", _decided(fresh_database, None))
    assert (ended.code, "why" in ended.out) == (0, False)
    assert "PEPE/USDT" in ended.out
