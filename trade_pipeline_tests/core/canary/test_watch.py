"""A session that runs goes over to what is deployed, from whatever process that comes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from trade_pipeline.core.canary import watch as watch_module
from trade_pipeline.core.canary.cycle import deploy_canary
from trade_pipeline.core.canary.deployments import promote, rollback
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.canary.watch import DeploymentWatch
from trade_pipeline.core.records import TradeCandidate
from trade_pipeline.core.store.artifacts import ArtifactDamaged
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.opinion import Models
from trade_pipeline.core.training.judgement import make_eligible
from trade_pipeline_tests.core.session.test_canary_traffic import traded
from trade_pipeline_tests.core.session.test_session import EAGER, simulated
from trade_pipeline_tests.core.training.strong import MARKET, Strong

SCOPE = Scope(MARKET)
ROLLBACK = """
import sys
from trade_pipeline.core.canary.deployments import rollback
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings

with Store.open(Settings()) as store, store.database.connect() as connection:
    rollback(connection, Scope(sys.argv[1]), by="another process", reason="it loses")
    connection.commit()
"""


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def deploy(store: Store, strong: Strong) -> None:
    make_eligible(store, strong.model)
    with store.database.connect() as connection:
        promote(connection, SCOPE, strong.model, by="t", reason="t", override="a test")
        connection.commit()


def roll_back_elsewhere(environment: dict[str, str]) -> None:
    subprocess.run(
        [sys.executable, "-c", ROLLBACK, MARKET], env={**os.environ, **environment}, check=True
    )


def test_after_a_rollback_in_another_process_the_next_candidate_is_decided_by_the_old_model(
    strong_store: Store, strong: Strong, strong_environment: dict[str, str]
) -> None:
    deploy(strong_store, strong)
    asked: list[str] = []
    with DeploymentWatch(strong_store, SCOPE) as watch:

        def on_duty() -> Models:
            if len(asked) == 60:
                # In the middle of the session, between two decisions.
                roll_back_elsewhere(strong_environment)
                eventually(lambda: watch.models().production.version == HEURISTIC_VERSION)
            asked.append(watch.models().production.version)
            return watch.models()

        found = traded(simulated(1), EAGER, deployed=on_duty)
        assert watch.lost is None
    versions = [candidate.model_version for candidate in found.of(TradeCandidate)]
    turned = versions.index(HEURISTIC_VERSION)
    assert set(versions[:turned]) == {strong.model}
    assert set(versions[turned:]) == {HEURISTIC_VERSION}
    assert 40 < turned <= 60


def test_a_watch_finds_what_was_deployed_before_it_and_after_it(
    fresh_strong_store: Store, strong: Strong
) -> None:
    with DeploymentWatch(fresh_strong_store, SCOPE) as watch:
        assert watch.models().production.version == HEURISTIC_VERSION
        deploy(fresh_strong_store, strong)
        eventually(lambda: watch.models().production.version == strong.model)
    with DeploymentWatch(fresh_strong_store, SCOPE) as later:
        assert later.models().production.version == strong.model
    with DeploymentWatch(fresh_strong_store, Scope(MARKET, account="paper")) as elsewhere:
        assert elsewhere.models().production.version == HEURISTIC_VERSION
    with fresh_strong_store.database.connect() as connection:
        rollback(connection, SCOPE, by="t", reason="t")
        connection.commit()
    # Nobody watches any more: what it said last stays.
    assert later.models().production.version == strong.model


@pytest.mark.parametrize("error", [ArtifactDamaged("changed"), KeyError("nothing of ours")])
def test_what_cannot_be_loaded_is_not_on_duty_and_the_watch_goes_on_and_says_so(
    fresh_strong_store: Store, strong: Strong, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    with DeploymentWatch(fresh_strong_store, SCOPE) as watch:

        def broken(*_: object) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr(watch_module, "load_model", broken)
            deploy_canary(fresh_strong_store, strong.model, SCOPE, by="t", reason="t")
            eventually(lambda: watch.lost is not None)
            assert type(error).__name__ in str(watch.lost)
            assert watch.models().canary is None
        eventually(lambda: watch.models().canary is not None)
        eventually(lambda: watch.lost is None)
