"""The command that looks at production as a user types it."""

from __future__ import annotations

import pytest

from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.core.monitoring.deployed import on_duty, put_into_production
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session
from trade_pipeline_tests.integration.typed import run_in


def test_a_broken_model_ends_the_command_with_1_and_goes_only_when_told_to(
    strong_environment: dict[str, str],
    strong_store: Store,
    strong: Strong,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = run_in(monkeypatch, strong_environment)
    none = run("models", "monitor", "--market", MARKET)
    assert (none.code, "the heuristic decides" in none.err) == (2, True)
    put_into_production(strong_store, strong.model)
    early = run("models", "monitor", "--market", MARKET)
    assert early.code == 0
    assert "not judged yet" in early.out
    weaker = run("models", "monitor", "--market", MARKET, "--set", "tolerance=0.5")
    assert (weaker.code, "tolerance='0.5'" in weaker.err) == (2, True)

    store_later_session(strong_store, 16, "turned", skill=-1.0)
    told = run("models", "monitor", "--market", MARKET, "--json")
    assert told.code == 1
    assert (told.facts["broken"], told.facts["rolled_back"]) == (True, False)
    reasons = {line["name"]: line["reason"] for line in told.facts["lines"]}
    assert "per unit stake against what it expected" in reasons["expectation"]
    assert on_duty(strong_store).production is not None
    acted = run("models", "monitor", "--market", MARKET, "--act")
    assert acted.code == 1
    assert "taken back" in acted.out
    assert "expectation" in acted.out
    assert on_duty(strong_store).production is None
    assert "the heuristic with 50% of the fund" in run("models", "history").out
