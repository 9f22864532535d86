"""The commands about canaries, promotions and rollbacks as a user types them."""

from __future__ import annotations

import pytest

from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session
from trade_pipeline_tests.integration.typed import run_in


def test_a_model_goes_through_canary_and_production_and_back_by_commands(
    strong_environment: dict[str, str],
    strong_store: Store,
    strong: Strong,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_in(monkeypatch, strong_environment)
    assert "the heuristic decides" in run("models", "history").out
    early = run("models", "promote", strong.model)
    assert (early.code, "is not the canary there" in early.err) == (2, True)
    assert "trade-pipeline models canary" in early.err

    begun = run("models", "canary", strong.model, "--reason", "first try", "--json")
    assert begun.code == 0, begun.err
    assert begun.facts["power"]["enough"]
    again = run("models", "canary", strong.model)
    assert (again.code, "roll it back first" in again.err) == (2, True)
    told = run("models", "promote", strong.model)
    assert "extend" in told.out
    assert "0 closed blocks, needs 8" in told.out

    store_later_session(strong_store, 14, "later", canary=strong.model)
    look = run("models", "look", "--market", MARKET, "--json").facts
    assert (look["decision"], look["promoted"]) == ("promote", False)
    promoted = run("models", "promote", strong.model, "--json").facts
    assert (promoted["decision"], promoted["promoted"]) == ("promote", True)
    (listed,) = run("models", "list", "--json").facts
    assert listed["stage"] == "production"

    back = run("models", "rollback", "--market", MARKET, "--reason", "it feels wrong")
    assert "the heuristic decides" in back.out
    nothing = run("models", "rollback", "--market", MARKET, "--reason", "again")
    assert (nothing.code, "no model is deployed" in nothing.err) == (2, True)
    wrong = run("models", "look", "--market", MARKET, "--account", "mine")
    assert (wrong.code, "account" in wrong.err, "'mine'" in wrong.err) == (2, True, True)

    forced = run("models", "promote", strong.model, "--override", "I take the risk")
    assert "decides everything" in forced.out
    lines = run("models", "history", "--json").facts
    assert [(e["deployment"]["stage"], e["deployment"]["slot"]) for e in lines] == [
        ("canary", "canary"), ("production", "production"), ("retired", "production"),
        ("production", "production"),
    ]  # fmt: skip
    assert lines[0]["deployment"]["reason"] == "first try"
    table = run("models", "history").out
    assert "it feels wrong" in table
    assert "I take the risk" in table
