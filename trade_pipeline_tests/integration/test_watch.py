"""`status` and `watch` as a user types them, on an account that was traded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.cli import watch
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.integration.typed import Run, run_in


@pytest.fixture(scope="module")
def run(
    server: EmbeddedPostgres,
    artifacts: ArtifactStore,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Run]:
    home: Path = tmp_path_factory.mktemp("home")
    with create_database(server) as database, pytest.MonkeyPatch.context() as patch:
        with database.connect() as connection:
            name = connection.info.dbname
        environment = {
            "TRADE_PIPELINE_HOME": str(home),
            "TRADE_PIPELINE_DATABASE_URL": server.url("postgres", name),
        }
        typed = run_in(patch, environment)
        empty = typed("watch", "--once")
        assert empty.code == 0
        assert "no account is traded" in empty.out
        paper.run(Store(database, artifacts), "first", days=0.3)
        paper.run(Store(database, artifacts), "second", days=0.05)
        yield typed


def test_one_document_tells_accounts_positions_and_results(run: Run) -> None:
    told = run("status", "--json")
    assert told.code == 0
    first, second = told.facts["accounts"]
    assert (first["account"], second["account"]) == ("first", "second")
    assert first["positions"]
    assert first["closed_today"] > 0
    assert (told.facts["models"], told.facts["halts"]) == ([], [])


def test_a_frame_shows_what_the_document_tells(run: Run) -> None:
    [first] = run("status", "--account", "first", "--json").facts["accounts"]
    shown = run("watch", "--once", "--account", "first")
    assert shown.code == 0
    for position in first["positions"]:
        assert position["instrument"] in shown.out
        assert f"{position['unrealised_usd']:+,.2f} USD" in shown.out
    assert f"realised {first['realised_today_usd']:+,.2f} USD" in shown.out
    assert "nobody trades it" in shown.out
    assert "second" not in shown.out
    same = run("status", "--account", "first")
    assert len(same.out.splitlines()) == len(shown.out.splitlines())


def test_an_account_that_is_not_there_is_named(run: Run) -> None:
    refused = run("watch", "--once", "--account", "nobody")
    assert refused.code == 2
    assert "account='nobody'" in refused.err


def test_the_picture_is_drawn_again_until_ctrl_c(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    drawn: list[str] = []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            raise KeyboardInterrupt

    def draw(facts: dict[str, Any]) -> str:
        drawn.append(str(facts["at"]))
        return "frame"

    monkeypatch.setattr("time.sleep", wait)
    monkeypatch.setattr(watch, "frame", draw)
    assert run("watch").code == 0
    assert waits == [1.0, 1.0, 1.0]
    assert len(set(drawn)) == 3
