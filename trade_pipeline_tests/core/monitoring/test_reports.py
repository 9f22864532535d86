"""What a stored report may take back, and what it may not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation, ForeignKeyViolation, UniqueViolation

from trade_pipeline.core.canary.deployments import (
    Active,
    NotDeployed,
    begin_canary,
    deployed,
    history,
    productions,
    promote,
    rollback,
)
from trade_pipeline.core.canary.record import Deployment, Scope
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.monitoring.record import MonitoringReport
from trade_pipeline.core.monitoring.reports import (
    act_on,
    breaches,
    is_acted_on,
    newest_report,
    read_report,
    record_report,
)
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline_tests.conftest import create_database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.canary.eligible import MARKET, store_decisions, store_model
from trade_pipeline_tests.core.samples import START

NOW = datetime(2026, 5, 1, tzinfo=UTC)
SCOPE = Scope(MARKET, "pools", "paper")


@dataclass(frozen=True, slots=True)
class Ready:
    """A database with two eligible models."""

    database: Database
    a: str
    b: str


@pytest.fixture(scope="module")
def ready(server: EmbeddedPostgres, artifacts: ArtifactStore) -> Iterator[Ready]:
    with create_database(server) as database:
        with database.connect() as connection:
            store_decisions(connection)
            a, b = (store_model(connection, artifacts, number) for number in (1, 2))
        yield Ready(database, a, b)


@pytest.fixture
def writer(ready: Ready) -> Iterator[psycopg.Connection]:
    """A connection as ``trade_writer``; what a test writes is taken back."""
    with ready.database.connect() as connection, connection.transaction(force_rollback=True):
        yield connection


def put(connection: psycopg.Connection, model: str) -> Active:
    return promote(connection, SCOPE, model, by="t", reason="t", override="a test")


def report_on(
    connection: psycopg.Connection, active: Active, *, rolls_back: bool = True, at: datetime = NOW
) -> MonitoringReport:
    """A stored report."""
    line = {
        "name": "expectation" if rolls_back else "freshness", "passed": False,
        "rolls_back": rolls_back, "reason": "it is off", "numbers": {"mean": -0.1},
    }  # fmt: skip
    report = MonitoringReport(
        "", active.model_version, "model", SCOPE.market, SCOPE.venue, SCOPE.account,
        active.deployment_id, None, at, NOW, True, rolls_back, 0.25, [line], [], {}, [],
    ).addressed()  # fmt: skip
    record_report(connection, report)
    return report


def raw(connection: psycopg.Connection, model: str, stage: str = "retired", **more: Any) -> None:
    """An INSERT around everything that `core.canary.deployments` would ask."""
    record = Deployment(
        model, SCOPE.market, SCOPE.venue, SCOPE.account, stage, more.pop("slot", "production"),
        NOW, "raw", "because", **more,
    )  # fmt: skip
    append_now(connection, read_chain(connection, "raw"), record)


def test_the_model_before_decides_again_with_all_of_the_fund_and_then_the_heuristic_with_a_part(
    writer: psycopg.Connection, ready: Ready
) -> None:
    first, second = put(writer, ready.a), put(writer, ready.b)
    begin_canary(writer, SCOPE, ready.a, by="t", reason="t", evidence={})
    report = report_on(writer, second)
    act_on(writer, report, by="monitoring")
    now = deployed(writer, SCOPE)
    assert now.production is not None
    assert (now.production.model_version, now.canary, now.fund_share) == (ready.a, None, 1.0)
    line = history(writer, SCOPE)[-1].deployment
    assert (line.restores, line.report_id) == (first.deployment_id, report.report_id)
    assert (line.deployed_by, line.reason) == ("monitoring", "expectation: it is off")
    assert line.evidence["lines"][0]["numbers"] == {"mean": -0.1}
    newest = writer.execute("SELECT max(decided_at) FROM trade.candidates c JOIN trade.sessions "
                            "USING (session_id) WHERE mode = 'paper'").fetchone()  # fmt: skip
    assert newest == (None,)
    assert line.evidence["starts_at"] is None

    act_on(writer, report_on(writer, now.production), by="monitoring")
    now = deployed(writer, SCOPE)
    assert (now.production, now.fund_share) == (None, 0.25)
    assert deployed(writer, Scope(MARKET)).fund_share == 1.0
    begin_canary(writer, SCOPE, ready.b, by="t", reason="t", evidence={})
    assert deployed(writer, SCOPE).fund_share == 0.25
    put(writer, ready.b)
    assert deployed(writer, SCOPE).fund_share == 1.0
    rollback(writer, SCOPE, by="a person", reason="a feeling")
    assert deployed(writer, SCOPE).fund_share == 1.0


def test_a_promotion_stores_the_market_time_at_which_it_begins(
    writer: psycopg.Connection, ready: Ready
) -> None:
    scope = Scope(MARKET)
    session, decision = (
        samples.session("elsewhere", market=MARKET),
        samples.candidate(5, "elsewhere"),
    )
    append_now(writer, read_chain(writer, "elsewhere"), session, decision)
    promote(writer, scope, ready.a, by="t", reason="t", override="a test")
    told = history(writer, scope)[-1].deployment.evidence["starts_at"]
    assert datetime.fromisoformat(told) == decision.decided_at
    assert [(where.account, one.model_version) for where, one in productions(writer)] == [
        ("backtest", ready.a)
    ]


def test_a_report_is_stored_once_and_read_back_as_it_was(
    writer: psycopg.Connection, ready: Ready
) -> None:
    with pytest.raises(BadConfig, match="no monitoring report is stored"):
        newest_report(writer)
    active = put(writer, ready.a)
    report = report_on(writer, active)
    record_report(writer, replace(report, monitored_at=START).addressed())
    assert writer.execute("SELECT count(*) FROM trade.monitoring_reports").fetchone() == (1,)
    assert read_report(writer, report.report_id) == newest_report(writer) == report
    with pytest.raises(BadConfig, match="sha256:none"):
        read_report(writer, "sha256:none")


def test_a_report_is_acted_on_once_and_takes_back_nothing_that_came_later(
    writer: psycopg.Connection, ready: Ready
) -> None:
    report = report_on(writer, put(writer, ready.a))
    assert [one.report_id for one in breaches(writer)] == [report.report_id]
    assert not is_acted_on(writer, report)
    act_on(writer, report, by="t")
    assert is_acted_on(writer, report)
    assert breaches(writer) == []
    for model in (ready.b, ready.a):
        with pytest.raises(NotDeployed, match="is not in production any more"):
            act_on(writer, report, by="t")
        put(writer, model)
    assert breaches(writer) == []


def test_only_the_newest_report_on_what_is_in_production_asks_for_a_rollback(
    writer: psycopg.Connection, ready: Ready
) -> None:
    active = put(writer, ready.a)
    report_on(writer, active)
    later = report_on(writer, active, rolls_back=False, at=START)
    # Within a transaction the clock of the records stands still.
    assert newest_report(writer).report_id == later.report_id
    assert breaches(writer) == []
    with pytest.raises(NotDeployed, match="asks for no rollback"):
        act_on(writer, later, by="t")
    assert deployed(writer, SCOPE).production == active


def test_the_database_refuses_what_no_report_asks_for(
    writer: psycopg.Connection, ready: Ready
) -> None:
    first = report_on(writer, put(writer, ready.a))
    active = put(writer, ready.b)
    harmless = report_on(writer, active, rolls_back=False)
    broken = report_on(writer, active)
    refused: tuple[tuple[type[Exception], dict[str, Any]], ...] = (
        (ForeignKeyViolation, {"report_id": harmless.report_id}),
        (CheckViolation, {"report_id": first.report_id}),
        (CheckViolation, {"report_id": "never stored"}),
        (CheckViolation, {"fund_share": 0.0}),
        (CheckViolation, {"fund_share": 1.5}),
        (CheckViolation, {"stage": "production", "override": "o", "fund_share": 0.5}),
        (CheckViolation, {"stage": "production", "override": "o", "report_id": broken.report_id}),
    )
    for error, more in refused:
        with pytest.raises(error), writer.transaction():
            raw(writer, ready.b, **more)
    act_on(writer, broken, by="t")
    with pytest.raises((UniqueViolation, CheckViolation)), writer.transaction():
        raw(writer, ready.a, report_id=broken.report_id)
