"""Killed between evaluation, promotion and history, a process leaves a whole state behind."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest
from report.record import counted

from trade_pipeline.core.canary.cycle import deploy_canary
from trade_pipeline.core.canary.deployments import Event, deployed, history
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.store.store import Store
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.core.samples import assert_whole_chain
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session

SCOPE = Scope(MARKET)
# A canary, its promotion and its rollback, again and again.
CYCLE = """
import sys
from trade_pipeline.core.canary.cycle import look_at_canary
from trade_pipeline.core.canary.deployments import begin_canary, deployed, history, rollback
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.store.store import Store
from trade_pipeline.settings import Settings

scope = Scope(sys.argv[1])
with Store.open(Settings()) as store, store.database.connect() as connection:
    first = history(connection, scope)[0].deployment
    if deployed(connection, scope).canary is not None:
        # What is imported late is imported now.
        look_at_canary(store, scope, by="cycle", act="none")
    connection.commit()
    print("ready", flush=True)
    while True:
        now = deployed(connection, scope)
        connection.commit()
        if now.canary is not None:
            look_at_canary(store, scope, by="cycle")
        elif now.production is not None:
            rollback(connection, scope, by="cycle", reason="again")
        else:
            begin_canary(connection, scope, first.model_version, by="cycle", reason="again",
                         evidence=first.evidence)
        connection.commit()
"""


@pytest.mark.reliability
def test_whenever_it_is_killed_one_thing_decides_and_every_promotion_has_its_evidence(
    strong_store: Store, strong: Strong, strong_environment: dict[str, str]
) -> None:
    deploy_canary(strong_store, strong.model, SCOPE, by="test", reason="first")
    store_later_session(strong_store, 14, "later", canary=strong.model)
    moments = random.Random(7)
    for _ in range(KILLS):
        child = subprocess.Popen(
            [sys.executable, "-c", CYCLE, MARKET],
            env={**os.environ, **strong_environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        time.sleep(moments.uniform(0, 5))
        child.kill()
        child.communicate()
        _assert_whole(strong_store, strong)
    counted("canary.kills", KILLS, KILLS)
    print(f"{KILLS} kills, {len(_events(strong_store))} deployments")


def _events(store: Store) -> list[Event]:
    with store.database.connect("trade_reader") as connection:
        return history(connection, SCOPE)


def _assert_whole(store: Store, strong: Strong) -> None:
    events = _events(store)
    stages = [event.deployment.stage for event in events]
    # Each step follows the one before it: nothing was skipped and nothing was done twice.
    assert stages == (["canary", "production", "retired"] * len(stages))[: len(stages)]
    with store.database.connect("trade_reader") as connection:
        now = deployed(connection, SCOPE)
        promised = connection.execute(
            "SELECT count(*) FROM trade.deployments d JOIN trade.canary_evaluations e "
            "USING (evaluation_id) WHERE d.stage = 'production' AND e.decision = 'promote'"
        ).fetchone()
        assert promised == (stages.count("production"),)
        assert assert_whole_chain(connection, f"deployments:{SCOPE}") == len(events)
    expected = {"canary": (None, strong.model), "production": (strong.model, None)}
    found = tuple(one and one.model_version for one in (now.production, now.canary))
    assert found == expected.get(stages[-1], (None, None))
