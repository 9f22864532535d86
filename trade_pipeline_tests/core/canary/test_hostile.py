"""Canaries that are slow, idle or copies, and looks at odd moments, end in a safe state."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trade_pipeline.core.canary.blocks import PairedDecisions
from trade_pipeline.core.canary.config import CanaryConfig
from trade_pipeline.core.canary.cycle import deploy_canary, look_at_canary
from trade_pipeline.core.canary.deployments import deployed, history
from trade_pipeline.core.canary.evaluation import Health, Terms, evaluate_canary
from trade_pipeline.core.canary.paired import Compared
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.ids import micros
from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.traffic import Traffic, arm
from trade_pipeline_tests.core.training.strong import MARKET, Strong, store_later_session

STARTS = datetime(2026, 3, 1, tzinfo=UTC)
TERMS = Terms(CanaryConfig(), STARTS, HEURISTIC_VERSION, 10.0, 1.0, 0.1, "")
WELL = Health(milliseconds=1.0, unknown=0, inputs=1_000)
SCOPE = Scope(MARKET)


def decisions(days: int = 20, **changes: Any) -> Compared:
    """Forty decisions a day; the canary stakes on others than production, and is as good."""
    draw = np.random.default_rng(3)
    count = 40 * days
    at = micros(STARTS) + 1 + np.arange(count) * DAY // 40
    token = draw.integers(0, 30, count)
    drawn = [
        arm(str(t), int(m), Traffic(model="sha256:" + "a" * 64))
        for t, m in zip(token, at, strict=True)
    ]
    stakes = draw.choice([0.0, 0.7], (2, count))
    made = Compared(
        paired=PairedDecisions(at, *stakes, draw.normal(0, 0.03, count), at + 6 * HOUR),
        failed=np.zeros(count, np.bool_),
        token=token,
        stopped=np.zeros(count, np.bool_),
        by_canary=np.array([one.canary for one in drawn], np.bool_),
        propensity=np.array([one.propensity for one in drawn]),
        realised=np.full(count, np.nan),
        rows=pd.DataFrame(),
        others=0,
    )
    paired = {k: v for k, v in changes.items() if k.endswith("_stake")}
    rest = {k: v for k, v in changes.items() if k not in paired}
    return replace(made, paired=replace(made.paired, **paired), **rest)


def looked(compared: Compared, health: Health = WELL, after: float = 22) -> tuple[str, str]:
    now = STARTS + timedelta(days=after)
    found = evaluate_canary(compared, TERMS, StrategyConfig(), health, now).decision
    return found.verdict, "; ".join(found.reasons)


def test_an_ordinary_canary_is_promoted() -> None:
    assert looked(decisions())[0] == "promote"


def test_a_slow_one_is_rolled_back() -> None:
    verdict, why = looked(decisions(), replace(WELL, milliseconds=400.0))
    assert (verdict, why) == ("rollback", "latency: 400.0 ms a decision, allowed 50")


def test_one_that_lacks_its_inputs_is_rolled_back() -> None:
    verdict, why = looked(decisions(), replace(WELL, unknown=300))
    assert verdict == "rollback"
    assert "missing_features: 30.0% of 1000" in why


def test_one_that_fails_now_and_then_is_rolled_back() -> None:
    failed = np.arange(800) % 15 == 0
    verdict, why = looked(decisions(failed=failed))
    assert verdict == "rollback"
    assert why.startswith("errors: 6.8%")


def test_one_that_always_skips_is_never_promoted() -> None:
    idle = decisions(canary_stake=np.zeros(800))
    assert "stakes on 0 candidates" in looked(idle)[1]
    assert looked(idle)[0] != "promote"
    assert looked(idle, after=57)[0] in ("expired", "rollback")


def test_a_copy_of_production_does_no_harm_and_is_promoted() -> None:
    same = decisions().paired.production_stake
    assert looked(decisions(canary_stake=same))[0] == "promote"


def test_one_that_stakes_on_what_crashes_is_rolled_back_by_its_losses() -> None:
    """Equal on average, but for twenty candidates that lose nearly everything."""
    draw = np.random.default_rng(4)
    crashed = np.isin(np.arange(800), draw.choice(800, 40, replace=False))
    made = decisions(
        canary_stake=np.where(crashed, 1.0, 0.5), production_stake=np.where(crashed, 0.0, 0.5)
    )
    returns = np.where(crashed, -0.95, made.paired.returns)
    verdict, why = looked(replace(made, paired=replace(made.paired, returns=returns)))
    assert verdict == "rollback"
    assert "tail_loss" in why


def test_trades_that_fetch_far_less_than_promised_roll_it_back() -> None:
    made = decisions()
    verdict, why = looked(
        replace(made, realised=np.where(made.by_canary, made.paired.returns - 0.2, np.nan))
    )
    assert verdict == "rollback"
    assert "execution_gap" in why


def test_an_arm_that_gets_other_traffic_than_was_set_rolls_it_back() -> None:
    verdict, why = looked(decisions(by_canary=np.arange(800) % 2 == 0))
    assert verdict == "rollback"
    assert "sample_ratio" in why


def test_an_empty_window_is_extended() -> None:
    verdict, why = looked(decisions(days=0), Health(0.0, 0, 0), after=3)
    assert verdict == "extend"
    assert "0 closed blocks" in why


def test_a_clock_that_went_back_promotes_nothing() -> None:
    verdict, why = looked(decisions(), after=-1)
    assert verdict == "extend"
    assert "the clock stands 24.0 hours before" in why


@pytest.mark.parametrize("skill", [1.0, -1.0])
def test_of_two_evaluations_at_once_one_acts_and_the_other_finds_it_done(
    fresh_strong_store: Store, strong: Strong, skill: float
) -> None:
    store = fresh_strong_store
    deploy_canary(store, strong.model, SCOPE, by="test", reason="tried")
    store_later_session(store, 14, "later", skill, strong.model)

    def look(_: int) -> str:
        try:
            return look_at_canary(store, SCOPE, by="test").decision
        except Exception as error:  # noqa: BLE001 (whatever it says is looked at below)
            return type(error).__name__

    with ThreadPoolExecutor(2) as pool:
        found = sorted(pool.map(look, range(2)))
    with store.database.connect("trade_reader") as connection:
        stages = [event.deployment.stage for event in history(connection, SCOPE)]
        now = deployed(connection, SCOPE)
    acted = "promote" if skill > 0 else "rollback"
    assert found == sorted([acted, "NotDeployed"])
    assert stages == ["canary", "production" if skill > 0 else "retired"]
    assert (now.production is not None, now.canary) == (skill > 0, None)
