"""A campaign: days are traded one after the other, and only evidence lets a model decide."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

import dagster as dg
import pytest

from trade_pipeline.core.canary.deployments import deployed, history
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs import outcomes
from trade_pipeline.defs.campaign import (
    Campaign,
    CampaignFailed,
    CampaignPlan,
    recorded_plan,
    simulated_plan,
)
from trade_pipeline.settings import Settings
from trade_pipeline_tests.conftest import KILLS

SMALL = CampaignPlan(
    "simulated",
    date(2026, 1, 5),
    date(2026, 1, 9),
    learn_days=3,
    step_days=1,
    retrain_days=30,
    seed=11,
    trading={
        "simulator": {
            "start": "2026-01-05T00:00:00Z", "end": "2026-01-12T00:00:00Z", "burn_in_days": 4,
            "pools_per_day": 20,
        },
        "strategy": {"universe": {"min_volume_24h_usd": 20_000}},
    },
    dataset={"embargo_hours": 6},
)  # fmt: skip


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("TRADE_PIPELINE_HOME", str(tmp_path))
    with Store.open(Settings(home=tmp_path, _env_file=None)) as opened:
        yield opened


def test_too_little_to_learn_from_is_said_and_the_heuristic_goes_on(own: Store) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        campaign = Campaign(own, instance, SMALL)
        stages = list(campaign.run())
    assert [(stage.day.day, stage.what) for stage in stages] == [
        (7, "trade"), (7, "dataset"), (8, "trade"), (9, "trade"),
    ]  # fmt: skip
    assert stages[1].told.startswith("no dataset: ")
    assert all("the heuristic traded" in s.told for s in stages if s.what == "trade")
    assert len(set(campaign.sessions)) == 3
    with own.database.connect("trade_reader") as connection:
        # One world: what a session knows of a token the next one knows, too.
        addresses = connection.execute("SELECT DISTINCT market_address FROM trade.sessions")
        assert len(addresses.fetchall()) == 1
        assert deployed(connection, Scope("simulated")).production is None


def test_a_learning_day_that_cannot_be_labelled_ends_it(
    own: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise BadConfig("labels: made to fail")

    with dg.DagsterInstance.ephemeral() as instance:
        stages = Campaign(own, instance, SMALL).run()
        assert next(stages).what == "trade"
        monkeypatch.setattr(outcomes, "label_session", failing)
        with pytest.raises(CampaignFailed, match="made to fail"):
            next(stages)


def test_settings_that_are_wrong_end_it_with_their_name(own: Store) -> None:
    wrong = replace(SMALL, trading={"strategy": {"exits": {"stop_loss": 2}}})
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(BadConfig, match="stop_loss=2"):
        next(Campaign(own, instance, wrong).run())
    outside = replace(SMALL, first=date(2025, 12, 1))
    with (
        dg.DagsterInstance.ephemeral() as instance,
        pytest.raises(CampaignFailed, match="outside of simulator"),
    ):
        next(Campaign(own, instance, outside).run())


def test_a_recording_that_is_too_short_or_not_there_is_refused(recordings: Path) -> None:
    data = recordings / "spot_1h"
    whole = recorded_plan(data)
    assert (whole.market, whole.learn_days, whole.step_days) == ("spot-1h", 270, 7)
    with pytest.raises(BadConfig, match="days, expected at least 100"):
        recorded_plan(data, date(2021, 5, 1), date(2021, 6, 1))
    with pytest.raises(BadConfig, match="first=2019-01-01: the recording spans 2021-"):
        recorded_plan(data, date(2019, 1, 1))


def test_a_second_story_is_told_after_the_first() -> None:
    first = simulated_plan(7)
    after = datetime.combine(first.last, time(23), UTC)
    second = simulated_plan(7, after)
    assert second.first > first.last
    assert second.last - second.first == first.last - first.first
    assert simulated_plan(7, datetime(2020, 1, 1, tzinfo=UTC)) == first


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="two minutes: make reliability runs it")
def test_a_model_comes_decides_and_falls_when_the_regime_changes(own: Store) -> None:
    plan = simulated_plan(7)
    with dg.DagsterInstance.ephemeral() as instance:
        stages = list(Campaign(own, instance, plan).run())
    told = [stage.what for stage in stages if stage.what not in ("trade", "monitoring")]
    assert told[:3] == ["dataset", "training", "canary"]
    assert set(told[3:-1]) == {"look"}
    assert told[-1] == "rollback"
    fallen = next(stage for stage in stages if stage.what == "rollback")
    change = plan.trading["simulator"]["regime_change_at"]
    assert fallen.day >= date.fromisoformat(change[:10])
    with own.database.connect("trade_reader") as connection:
        now = deployed(connection, Scope("simulated"))
        assert (now.production, now.canary, now.fund_share) == (None, None, 0.5)
        promoted = history(connection)[1].deployment
    assert promoted.stage == "production"
    assert promoted.evidence["low"] > -0.0225
    assert stages[-1].told.startswith("the heuristic traded")
