"""Stored experiments: what belongs to them, and the comparison that is read back from records."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from trade_pipeline.core.errors import BadConfig, StoreUnavailable
from trade_pipeline.core.experiment.comparison import compare
from trade_pipeline.core.experiment.definition import Definition, MarketRange
from trade_pipeline.core.experiment.judgement import SAME
from trade_pipeline.core.experiment.plan import Plan, plan_of, require_models
from trade_pipeline.core.experiment.stored import (
    begin_experiment,
    experiments,
    finished,
    only_runner,
    sessions_of,
)
from trade_pipeline.core.ids import micros, moment_of
from trade_pipeline.core.ledger.experiments import link_experiment
from trade_pipeline.core.market.simulator import SimulatedMarket
from trade_pipeline.core.report.performance import session_report
from trade_pipeline.core.session.backtest import run_backtest
from trade_pipeline.core.session.config import TradingConfig
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core.session import stored
from trade_pipeline_tests.core.session.stored import START

DAYS = 3
# No transaction fails by chance, which each session draws for itself.
CONFIG = stored.CONFIG.model_copy(
    update={"amm": stored.CONFIG.amm.model_copy(update={"failure_rate": 0.0})}
)
FIRST = moment_of(START)


def changed(**exits: float) -> TradingConfig:
    strategy = CONFIG.strategy
    return CONFIG.model_copy(
        update={
            "strategy": strategy.model_copy(
                update={"exits": strategy.exits.model_copy(update=exits)}
            )
        }
    )


DEFINITION = Definition(
    name="stops",
    description="does a wider stop pay?",
    markets=(
        MarketRange("simulated", None, None, FIRST.date(), moment_of(START + DAYS * 86_400_000_000)
                    .date()),
    ),
    seeds=(3, 4),
    variants={
        "baseline": CONFIG,
        "wide": changed(stop_loss=0.5),
        # Pools are traded, no bars: the same trades by another setting.
        "twin": CONFIG.model_copy(update={"bars": CONFIG.bars.model_copy(update={"fee": 0.002})}),
    },
    baseline="baseline",
    metric="pnl_per_day",
    pool=False,
)  # fmt: skip


def run(database: Database, artifacts: ArtifactStore, plan: Plan, **only: Any) -> None:
    for one in plan.sessions:
        if all(getattr(one.world, name, None) == value for name, value in only.items()):
            start, end = one.market.first_moment, one.market.end_moment
            feed = SimulatedMarket(one.config.simulator, one.world.seed, micros(start), micros(end))
            done = run_backtest(
                database, artifacts, feed, start=start, end=end, seed=one.world.seed,
                config=one.config, experiment=plan.design.name,
            )  # fmt: skip
            assert done.session.session_id == one.session_id


@pytest.fixture(scope="module")
def plan() -> Plan:
    return plan_of(DEFINITION)


@pytest.fixture(scope="module")
def whole(server: Any, artifacts: ArtifactStore, plan: Plan) -> Iterator[Database]:
    """A database with the experiment, all of it."""
    with create_database(server) as database:
        with database.connect() as connection:
            begin_experiment(connection, artifacts, plan.design)
        run(database, artifacts, plan)
        yield database


@pytest.fixture
def reader(whole: Database) -> Iterator[psycopg.Connection]:
    with whole.connect("trade_reader") as connection:
        yield connection


def test_the_figures_are_those_of_the_sessions_reports(
    reader: psycopg.Connection, artifacts: ArtifactStore, plan: Plan
) -> None:
    found = compare(reader, artifacts, "stops")
    assert (found.stored, found.sessions, found.complete, found.left_out) == (6, 6, True, ())
    assert found.differing["wide"] == {"strategy.exits.stop_loss": 0.5}
    (group,) = found.groups
    assert (group.market, group.days) == ("simulated", 2 * DAYS)
    assert group.worlds == (
        "simulated 2022-01-01 to 2022-01-04, seed 3", "simulated 2022-01-01 to 2022-01-04, seed 4",
    )  # fmt: skip
    for one in group.variants:
        reports = [
            session_report(reader, planned.session_id)
            for planned in plan.sessions
            if planned.variant == one.variant
        ]
        returns = [r for report in reports for r in report["returns"]]
        assert one.trades == len(returns) > 10
        assert one.pnl_usd == pytest.approx(math.fsum(r["total_pnl_usd"] for r in reports))
        assert one.mean_return_pct == pytest.approx(math.fsum(returns) / len(returns))
        assert one.metric == pytest.approx(one.pnl_usd / (2 * DAYS))
    by_name = {one.variant: one for one in group.variants}
    assert by_name["wide"].difference == pytest.approx(
        by_name["wide"].metric - by_name["baseline"].metric
    )
    assert by_name["twin"].verdict == SAME
    assert by_name["baseline"].verdict == "baseline"


def test_the_same_comparison_is_the_same_to_the_bit(
    reader: psycopg.Connection, artifacts: ArtifactStore
) -> None:
    assert repr(compare(reader, artifacts, "stops")) == repr(compare(reader, artifacts, "stops"))


def test_only_worlds_on_which_every_variant_has_finished_are_compared(
    fresh_database: Database, artifacts: ArtifactStore, plan: Plan
) -> None:
    with fresh_database.connect() as connection:
        begin_experiment(connection, artifacts, plan.design)
    empty = compare_in(fresh_database, artifacts)
    assert (empty.stored, empty.groups) == (0, ())
    run(fresh_database, artifacts, plan, seed=3)
    with fresh_database.connect("trade_reader") as connection:
        assert finished(connection, [one.session_id for one in plan.sessions]) == {
            one.session_id for one in plan.sessions if one.world.seed == 3
        }
    half = compare_in(fresh_database, artifacts)
    assert (half.stored, half.complete) == (3, False)
    assert half.left_out == ("simulated 2022-01-01 to 2022-01-04, seed 4",)
    assert half.groups[0].days == DAYS


def compare_in(database: Database, artifacts: ArtifactStore) -> Any:
    with database.connect("trade_reader") as connection:
        return compare(connection, artifacts, "stops")


def test_a_session_without_an_end_is_not_there(
    fresh_database: Database, artifacts: ArtifactStore, plan: Plan
) -> None:
    """It was killed on its way; somebody linked it all the same."""
    with fresh_database.connect() as connection:
        begin_experiment(connection, artifacts, plan.design)
    first = plan.sessions[0]

    def stopped(events: int, at: int) -> None:
        raise KeyboardInterrupt

    feed = SimulatedMarket(
        first.config.simulator, first.world.seed, START, START + DAYS * 86_400_000_000
    )
    with pytest.raises(KeyboardInterrupt):
        run_backtest(
            fresh_database, artifacts, feed, start=FIRST, end=first.market.end_moment,
            seed=first.world.seed, config=first.config, progress=stopped,
        )  # fmt: skip
    with fresh_database.connect() as connection:
        if connection.execute("SELECT FROM trade.sessions").fetchone():
            link_experiment(connection, "stops", first.session_id)
        assert finished(connection, [first.session_id]) == set()
        assert sessions_of(connection, plan.design) == (None, {})


def test_a_name_belongs_to_one_design(
    fresh_database: Database, artifacts: ArtifactStore, plan: Plan
) -> None:
    other = replace(plan.design, metric="sharpe")
    with fresh_database.connect() as connection:
        address = begin_experiment(connection, artifacts, plan.design)
        assert begin_experiment(connection, artifacts, plan.design) == address
        with pytest.raises(BadConfig, match=r"name='stops'.*another name"):
            begin_experiment(connection, artifacts, other)
        link_experiment(connection, "by-hand", None)
        with pytest.raises(BadConfig, match="without a definition"):
            begin_experiment(connection, artifacts, replace(plan.design, name="by-hand"))
        for name in ("by-hand", "none"):
            with pytest.raises(BadConfig, match=f"experiment='{name}'"):
                compare(connection, artifacts, name)
        listed = {one.experiment: one for one in experiments(connection)}
    assert listed["stops"].definition == address
    assert listed["stops"].description == DEFINITION.description
    assert listed["by-hand"].definition is None
    assert (datetime.now(UTC) - listed["stops"].begun).total_seconds() < 600


def test_settings_of_earlier_experiments_on_the_market_are_trials_as_well(
    server: Any, artifacts: ArtifactStore, plan: Plan
) -> None:
    with create_database(server) as database:
        early = replace(plan.design, name="early")
        with database.connect() as connection:
            begin_experiment(connection, artifacts, early)
        tried = {"baseline": CONFIG, "a": changed(stop_loss=0.3), "b": changed(stop_loss=0.4)}
        wider = plan_of(replace(DEFINITION, name="early", seeds=(5,), variants=tried))
        run(database, artifacts, wider)
        with database.connect() as connection:
            begin_experiment(connection, artifacts, plan.design)
        run(database, artifacts, plan)
        (group,) = compare_in(database, artifacts).groups
    # Its baseline is this one's, too.
    assert (group.trials_before, group.trials) == (2, 3 + 2)


def test_two_commands_never_run_an_experiment_at_once(fresh_database: Database) -> None:
    with fresh_database.connect() as one, fresh_database.connect() as other:
        with only_runner(one, "stops"):
            with pytest.raises(StoreUnavailable, match="by another command"):
                only_runner(other, "stops").__enter__()
            with only_runner(other, "targets"):
                pass
        with only_runner(other, "stops"):
            pass


def test_a_model_that_does_not_exist_is_refused_by_the_variant(
    fresh_database: Database, artifacts: ArtifactStore
) -> None:
    unknown = CONFIG.model_copy(update={"model": "sha256:" + "0" * 64})
    wrong = plan_of(replace(DEFINITION, variants={"baseline": CONFIG, "learned": unknown}))
    with (
        fresh_database.connect("trade_reader") as connection,
        pytest.raises(BadConfig, match="variant learned on simulated: model="),
    ):
        require_models(connection, artifacts, wrong)


def test_kinds_of_markets_are_pooled_only_when_that_is_asked_for(
    server: Any, artifacts: ArtifactStore, plan: Plan, tmp_path: Path
) -> None:
    """The second world is said to be of another kind; its sessions are the same."""
    with create_database(server) as database:
        run(database, artifacts, plan)
        for pool in (False, True):
            first, second = plan.design.worlds
            design = replace(
                plan.design, name=f"pooled-{pool}", pool=pool,
                worlds=(first, replace(second, kind="another")),
            )  # fmt: skip
            with database.connect() as connection:
                begin_experiment(connection, artifacts, design)
                for one in plan.sessions:
                    link_experiment(connection, design.name, one.session_id)
                connection.commit()
                groups = compare(connection, artifacts, design.name).groups
            told = [(one.market, one.days, one.comparisons) for one in groups]
            if pool:
                assert told == [("simulated + another", 2 * DAYS, 2)]
            else:
                assert told == [("simulated", DAYS, 4), ("another", DAYS, 4)]
