"""The replay command as a user types it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.replay.tampering import forge
from trade_pipeline_tests.core.replay.test_backtest import assigned, rows
from trade_pipeline_tests.integration.test_cli import DAYS, SMALL, Run, home, run

__all__ = ["home", "run"]


@pytest.fixture
def session(run: Run) -> Any:
    """The facts of a stored backtest."""
    out = run("backtest", "--market", "simulated", *DAYS, *SMALL, "--seed", "3", "--json")[1]
    return json.loads(out)


def test_replays_say_that_everything_is_identical_and_end_well(run: Run, session: Any) -> None:
    code, out, _ = run("replay", "--session", session["session_id"])
    assert code == 0
    assert "identical" in out.splitlines()[-1]
    code, out, _ = run("replay", "--all", "--json")
    facts = json.loads(out)
    assert (code, facts["differs"]) == (0, False)
    assert facts["identical"] == facts["trades"] == facts["sessions"][0]["trades"] > 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of: a trade's UUID, --session ID, --all"),
        (["--all", "--session", "x"], "give one of"),
        (["--session", "x"], "session_id='x': no such session is stored"),
        (["nonsense"], "uuid='nonsense'"),
        (["00000000-0000-7000-8000-000000000000"], "00000000-0000-7000-8000-000000000000"),
        (["--all", "--data", "/nowhere"], "/nowhere"),
    ],
)
def test_what_cannot_be_replayed_is_refused_by_name(
    run: Run, arguments: list[str], message: str
) -> None:
    code, out, err = run("replay", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_difference_ends_with_code_one_and_is_told_in_words(
    run: Run, session: Any, home: Path
) -> None:
    with EmbeddedPostgres(home / "postgres") as server:
        store = Store.in_folder(home)
        ((uuid, seq, chain, before),) = rows(
            store,
            "SELECT uuid, chain_seq, chain_id, confidence FROM trade.candidates "
            "ORDER BY decision_no LIMIT 1",
        )
        forge(server, store, "candidates", seq, assigned("confidence", 0.875), chain=chain)
        told = f"trade {uuid}: candidates: confidence: stored 0.875, computed {before!r}"
        for what in ([str(uuid)], ["--session", chain], ["--all"]):
            code, out, _ = run("replay", *what)
            assert code == 1
            assert told in out
        code, out, _ = run("replay", "--all", "--json")
        assert code == 1
        first = json.loads(out)["first_difference"]
        assert (first["field"], first["stored"], first["computed"]) == ("confidence", 0.875, before)
        store.close()
