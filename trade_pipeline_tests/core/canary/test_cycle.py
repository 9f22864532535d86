"""A model's way from canary to production, and back."""

from __future__ import annotations

from pathlib import Path

import pytest

from trade_pipeline import SafeMLPipeline
from trade_pipeline.core.canary import cycle
from trade_pipeline.core.canary.cycle import deploy_canary, look_at_canary, report_power
from trade_pipeline.core.canary.deployments import (
    NotDeployed,
    deployed,
    history,
    promote,
    rollback,
)
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import InvalidRecord
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.judgement import make_eligible
from trade_pipeline.core.training.registry import NotEligible, read_model
from trade_pipeline_tests.core.samples import count_rows
from trade_pipeline_tests.core.training.strong import (
    MARKET,
    Strong,
    store_guards,
    store_later_session,
)

SCOPE = Scope(MARKET)


def begin(store: Store, strong: Strong, **more: str) -> None:
    deploy_canary(store, strong.model, SCOPE, by="test", reason="tried", **more)


def slots(store: Store) -> tuple[str | None, str | None]:
    with store.database.connect("trade_reader") as connection:
        now = deployed(connection, SCOPE)
    return (
        now.production and now.production.model_version,
        now.canary and now.canary.model_version,
    )


def test_a_good_canary_is_promoted_when_it_has_shown_it_and_taken_back_at_a_word(
    fresh_strong_store: Store, strong: Strong
) -> None:
    store = fresh_strong_store
    with SafeMLPipeline(store=store) as pipeline:
        pipeline.deploy_canary(strong.model)
        early = pipeline.promote_canary_to_production(strong.model)
        assert (early.decision, early.promoted) == ("extend", False)
        assert any("closed blocks" in reason for reason in early.reasons)
        assert slots(store) == (None, strong.model)
        assert pipeline.get_active_model() is None

        store_later_session(store, 14, "later", canary=strong.model)
        look = pipeline.promote_canary_to_production(strong.model)
        assert (look.decision, look.promoted) == ("promote", True)
        assert slots(store) == (strong.model, None)
        active = pipeline.get_active_model(MARKET)
        assert active is not None
        assert active.version_id == strong.model
        with pytest.raises(NotDeployed, match="is not the canary there"):
            pipeline.promote_canary_to_production(strong.model)

        pipeline.rollback(MARKET, reason="a bad feeling")
        assert slots(store) == (None, None)
        assert pipeline.get_active_model() is None
    with store.database.connect("trade_reader") as connection:
        told = history(connection, SCOPE)
    assert [(e.deployment.stage, e.deployment.slot) for e in told] == [
        ("canary", "canary"), ("production", "production"), ("retired", "production"),
    ]  # fmt: skip
    assert told[1].deployment.verdict == "promote"
    assert told[2].deployment.reason == "a bad feeling"
    assert told[0].deployment.evidence["power"]["enough"]


def test_a_canary_whose_signal_turns_is_rolled_back_and_production_stays(
    fresh_strong_store: Store, strong: Strong
) -> None:
    begin(fresh_strong_store, strong)
    store_later_session(fresh_strong_store, 14, "turned", -1.0, strong.model)
    look = look_at_canary(fresh_strong_store, SCOPE, by="test")
    assert look.decision == "rollback"
    assert not look.promoted
    assert slots(fresh_strong_store) == (None, None)
    with pytest.raises(NotDeployed, match="no canary is there"):
        look_at_canary(fresh_strong_store, SCOPE, by="test")


def test_looking_without_acting_changes_nothing_and_the_same_look_is_stored_once(
    fresh_strong_store: Store, strong: Strong
) -> None:
    begin(fresh_strong_store, strong)
    with fresh_strong_store.database.connect() as connection:
        before = count_rows(connection)
        look_at_canary(fresh_strong_store, SCOPE, by="test", act="none")
        assert count_rows(connection) == before
        look_at_canary(fresh_strong_store, SCOPE, by="test")
        once = count_rows(connection)
        look_at_canary(fresh_strong_store, SCOPE, by="test")
        assert count_rows(connection) == once != before


@pytest.mark.parametrize("fault", ["raises", "says nothing"])
def test_a_canary_that_cannot_decide_is_rolled_back_with_the_reason(
    fresh_strong_store: Store, strong: Strong, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(fresh_strong_store, strong)
    store_later_session(fresh_strong_store, 2, "later", canary=strong.model)
    real = TradeModel.predict

    def predict(model: TradeModel, features: object) -> object:
        if fault == "raises":
            raise RuntimeError("out of trees")
        found = real(model, features)  # type: ignore[arg-type]
        found.confidence[0] = float("nan")
        return found

    monkeypatch.setattr(TradeModel, "predict", predict)
    look = look_at_canary(fresh_strong_store, SCOPE, by="test")
    assert look.decision == "rollback"
    assert ("out of trees" if fault == "raises" else "how confident it is") in look.reasons[0]


def test_a_canary_whose_file_is_gone_is_rolled_back(
    fresh_strong_store: Store, strong: Strong
) -> None:
    begin(fresh_strong_store, strong)
    with fresh_strong_store.database.connect("trade_reader") as connection:
        address = read_model(connection, strong.model).artifact
    file = next(Path(strong.artifacts).rglob(f"*{address.removeprefix('sha256:')[4:]}*"))
    content = file.read_bytes()
    try:
        file.chmod(0o644)
        file.unlink()
        look = look_at_canary(fresh_strong_store, SCOPE, by="test")
    finally:
        file.write_bytes(content)
    assert look.decision == "rollback"
    assert slots(fresh_strong_store) == (None, None)


def test_what_may_not_be_deployed_says_why(fresh_strong_store: Store, strong: Strong) -> None:
    store = fresh_strong_store
    live = Scope(MARKET, account="live")
    make_eligible(store, strong.model)
    with pytest.raises(NotDeployed, match="simulated trades, which is never enough"):
        deploy_canary(store, strong.model, live, by="test", reason="greed")
    with pytest.raises(NotDeployed, match="learned on simulated"):
        deploy_canary(store, strong.model, Scope("spot-1h"), by="test", reason="hope")
    with pytest.raises(InvalidRecord, match="account"):
        Scope(MARKET, account="mine")
    begin(store, strong)
    with pytest.raises(NotDeployed, match="is the canary there; roll it back first"):
        begin(store, strong)
    with (
        store.database.connect() as connection,
        pytest.raises(NotDeployed, match="does not say promote"),
    ):
        promote(connection, SCOPE, strong.model, by="test", reason="impatience")
    with pytest.raises(NotDeployed, match="no model is deployed"), store.database.connect() as c:
        rollback(c, Scope(MARKET, account="paper"), by="test", reason="nothing")


def test_a_model_that_its_gates_refuse_now_never_becomes_a_canary(
    fresh_strong_store: Store, strong: Strong
) -> None:
    make_eligible(fresh_strong_store, strong.model)
    store_guards(fresh_strong_store, strong.dataset, 1, "separating_features")
    with pytest.raises(NotEligible, match="separating_features"):
        begin(fresh_strong_store, strong)


def test_too_little_power_needs_a_reason(
    fresh_strong_store: Store, strong: Strong, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = report_power(fresh_strong_store, strong.model, SCOPE)
    assert honest.enough
    from dataclasses import replace

    monkeypatch.setattr(cycle, "power_report", lambda *_: replace(honest, enough=False))
    with pytest.raises(NotDeployed, match="give an override with your reason"):
        begin(fresh_strong_store, strong)
    begin(fresh_strong_store, strong, override="it is a paper account")
    with fresh_strong_store.database.connect("trade_reader") as connection:
        assert history(connection)[0].deployment.override == "it is a paper account"


def test_a_person_may_go_past_the_canary_and_back_to_what_was_before(
    fresh_strong_store: Store, strong: Strong
) -> None:
    make_eligible(fresh_strong_store, strong.model)
    with fresh_strong_store.database.connect() as connection:
        promote(connection, SCOPE, strong.model, by="me", reason="r", override="I take the risk")
        assert deployed(connection, SCOPE).production is not None
        rollback(connection, SCOPE, by="me", reason="it lost")
        assert deployed(connection, SCOPE).production is None
        connection.commit()
