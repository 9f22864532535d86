"""A live session as a run of Dagster: asked for by the sensor, halted by a job."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from trade_pipeline.core.live.halts import newest_halt
from trade_pipeline.core.live.lease import Lease
from trade_pipeline.core.live.requests import end_sessions, newest_request, order_session
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.store import Store
from trade_pipeline.definitions import defs
from trade_pipeline.defs.live import ACCOUNT, live_session_sensor
from trade_pipeline.defs.outcomes import live_labelling_schedule
from trade_pipeline_tests.core.live import paper
from trade_pipeline_tests.core.session.stored import CONFIG
from trade_pipeline_tests.defs.launch import QUIET

NOW = datetime(2026, 1, 1, 2, tzinfo=UTC)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def tick(instance: dg.DagsterInstance) -> list[dg.RunRequest]:
    """What the sensor asks for, as the daemon gets it."""
    context = dg.build_sensor_context(instance=instance, resources=dict(defs.resources or {}))
    return list(live_session_sensor.evaluate_tick(context).run_requests or [])


def accounts(found: list[dg.RunRequest]) -> list[str]:
    return [one.tags[ACCOUNT] for one in found]


def test_the_sensor_asks_for_a_session_that_trades_and_nobody_else_does(
    store: Store, instance: dg.DagsterInstance
) -> None:
    with store.database.connect(autocommit=True) as connection:
        order_session(connection, paper.settings("dagster", days=0.1), by="test")
        asked = tick(instance)
        assert accounts(asked) == ["dagster"]
        with Lease(store.database, "dagster", holder="somebody", mode="paper"):
            assert accounts(tick(instance)) == []
        result = defs.resolve_job_def("live_job").execute_in_process(
            instance=instance,
            run_config={**asked[0].run_config, "loggers": QUIET},
            tags=asked[0].tags,
        )
        (told,) = result.asset_materializations_for_node("live_session")
        assert told.metadata["ended"].value == "market"
        request = newest_request(connection, "dagster")
        assert request is not None
        assert not request.wanted
        assert accounts(tick(instance)) == []


def test_a_run_that_says_it_runs_and_holds_no_lease_is_ended_and_replaced(
    store: Store, instance: dg.DagsterInstance
) -> None:
    with store.database.connect(autocommit=True) as connection:
        order_session(connection, paper.settings("ghost"), by="test")
        run = instance.create_run_for_job(defs.resolve_job_def("live_job"), tags={ACCOUNT: "ghost"})
        with Lease(store.database, "ghost", holder=run.run_id, mode="paper"):
            assert accounts(tick(instance)) == []
        # Its worker and code server died: Dagster will never say so.
        start = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, "live_job")
        instance.report_dagster_event(start, run.run_id)
        assert accounts(tick(instance)) == ["ghost"]
        ended = instance.get_run_by_id(run.run_id)
        assert ended is not None
        assert ended.status == dg.DagsterRunStatus.FAILURE
        end_sessions(connection, "ghost", by="test")


def test_the_sensor_that_outlived_dagster_dev_starts_nothing(
    store: Store, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with store.database.connect(autocommit=True) as connection:
        order_session(connection, paper.settings("orphan"), by="test")
        monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
        monkeypatch.setenv("DAGSTER_IS_DEV_CLI", "1")
        assert accounts(tick(instance)) == []
        monkeypatch.delenv("DAGSTER_IS_DEV_CLI")
        assert accounts(tick(instance)) == ["orphan"]
        end_sessions(connection, "orphan", by="test")


def test_while_the_database_takes_no_writes_no_session_is_asked_for_and_no_run_is_ended(
    store: Store, instance: dg.DagsterInstance, home: Path
) -> None:
    with (
        EmbeddedPostgres(home / "postgres") as server,
        psycopg.connect(server.url("postgres", "trade_pipeline"), autocommit=True) as superuser,
    ):

        def read_only(how: str) -> None:
            superuser.execute("SET default_transaction_read_only = off")
            superuser.execute(
                f"ALTER DATABASE trade_pipeline SET default_transaction_read_only = {how}".encode()
            )

        with store.database.connect(autocommit=True) as connection:
            order_session(connection, paper.settings("refused"), by="test")
            read_only("on")
            assert accounts(tick(instance)) == []
            read_only("off")
            assert accounts(tick(instance)) == ["refused"]
            end_sessions(connection, "refused", by="test")


@pytest.mark.parametrize("action", ["halt", "flatten", "resume"])
def test_the_kill_switch_is_a_job(store: Store, instance: dg.DagsterInstance, action: str) -> None:
    with store.database.connect(autocommit=True) as connection:
        order_session(connection, paper.settings("switched"), by="test")
        end_sessions(connection, "switched", by="test")
        config = {"account": "switched", "reason": "a try"}
        result = defs.resolve_job_def(f"{action}_job").execute_in_process(
            instance=instance,
            run_config={"ops": {"order_halt_op": {"config": config}}, "loggers": QUIET},
        )
        assert result.success
        halt = newest_halt(connection, "switched")
    assert halt is not None
    assert (halt.action, halt.reason) == (action, "a try")


def test_decisions_of_a_recorded_session_are_labelled_by_a_job_that_its_schedule_starts(
    store: Store, instance: dg.DagsterInstance
) -> None:
    def due() -> list[str | None]:
        context = dg.build_schedule_context(
            instance=instance, resources=dict(defs.resources or {}), scheduled_execution_time=NOW,
            repository_def=defs.get_repository_def(),
        )  # fmt: skip
        asked = live_labelling_schedule.evaluate_tick(context).run_requests or ()
        return [one.partition_key for one in asked]

    assert not due()
    trading = CONFIG.model_dump()
    trading["strategy"] |= {"exits": {"max_hold_hours": 1}}
    paper.run(store, "labelled", days=0.25, trading=trading, record=True)
    # The next day's decisions, of another account.
    paper.run(store, "later", days=1.1, trading=trading, record=True)
    day, next_day = due()
    assert (day, next_day) == ("2022-01-01", "2022-01-02")
    result = defs.resolve_job_def("live_labelling_job").execute_in_process(
        instance=instance, run_config={"loggers": QUIET}, partition_key=day
    )
    (told,) = result.asset_materializations_for_node("live_shadow_outcomes")
    assert int(str(told.metadata["new"].value)) > 5
    assert due()[-1] == next_day
