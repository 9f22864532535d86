"""Sessions of an experiment in processes of their own, each a run that the UI shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import dagster as dg
import pytest

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.experiment.definition import Definition, MarketRange
from trade_pipeline.core.experiment.plan import Plan, plan_of
from trade_pipeline.core.experiment.stored import begin_experiment
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.store import Store
from trade_pipeline.defs.experiment_runs import (
    EXPERIMENT,
    end_ghosts,
    require_days,
    run_sessions,
)
from trade_pipeline.defs.instance import (
    dagster_environment,
    dagster_instance,
    dagster_server,
)
from trade_pipeline.settings import Settings

NAME = "stops"


def settings(stop: float) -> TradingConfig:
    return TradingConfig.parse(
        {"simulator": {"burn_in_days": 3}, "strategy": {"exits": {"stop_loss": stop}}}
    )


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(
        Definition(
            name=NAME,
            description="",
            markets=(
                MarketRange("simulated", None, None, date(2026, 1, 5), date(2026, 1, 8)),
            ),
            seeds=(5,),
            variants={"baseline": settings(0.15), "tight": settings(0.08), "wide": settings(0.3)},
            baseline="baseline",
            metric="pnl_per_day",
            pool=False,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def place(
    home: Path, store: Store, plan: Plan
) -> Iterator[tuple[dg.DagsterInstance, dict[str, str]]]:
    """Dagster's instance and the environment of its processes."""
    found = Settings(home=home, _env_file=None)  # type: ignore[call-arg]
    with store.database.connect() as connection:
        begin_experiment(connection, store.artifacts, plan.design)
    with dagster_server(found) as server, dagster_instance(found, server) as instance:
        yield instance, dagster_environment(found, server)


def test_a_session_that_a_check_or_the_market_refuses_is_told_with_its_reason(
    place: tuple[dg.DagsterInstance, dict[str, str]], plan: Plan, tmp_path: Path
) -> None:
    first = plan.sessions[0]
    wrong = first.config.model_copy(update={"rug_risk_model": "sha256:" + "0" * 64})
    from dataclasses import replace

    (failed,) = run_sessions(
        *place, NAME, [replace(first, config=wrong)], 1, lambda done: None, tmp_path / "log"
    )
    assert "no such artifact" in failed.why
    assert failed.session.variant == first.variant


def test_runs_of_a_killed_command_do_not_stay_as_if_they_ran(
    place: tuple[dg.DagsterInstance, dict[str, str]],
) -> None:
    from trade_pipeline.definitions import defs

    instance = place[0]
    ghosts = [
        instance.create_run_for_job(
            defs.resolve_job_def("backtest_job"),
            status=dg.DagsterRunStatus.STARTED,
            tags={EXPERIMENT: name},
        )
        for name in ("killed", "another")
    ]
    assert end_ghosts(instance, "killed") == 1
    statuses = [instance.get_run_by_id(one.run_id).status for one in ghosts]  # type: ignore[union-attr]
    assert statuses == [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.STARTED]
    assert end_ghosts(instance, "another") == 1


@pytest.mark.parametrize(
    ("start", "end", "told"),
    [
        (date(2020, 8, 1), date(2020, 9, 3), "start=2020-08-01"),
        (date(2021, 1, 1), date(2999, 1, 1), "end=2999-01-01"),
    ],
)
def test_days_that_are_no_partitions_are_refused_before_anything_starts(
    start: date, end: date, told: str
) -> None:
    with pytest.raises(BadConfig, match=told):
        require_days(MarketRange("simulated", None, None, start, end))
