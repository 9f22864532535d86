"""Stored reports, and the rollbacks that rest on them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, LiteralString

import orjson
import psycopg

from trade_pipeline.core.canary.deployments import (
    Active,
    NotDeployed,
    deployed,
    roll_back_production,
)
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import lock_chain
from trade_pipeline.core.monitoring.record import MonitoringReport

_MOMENTS = ("starts_at", "looked_at", "monitored_at")


def record_report(connection: psycopg.Connection, report: MonitoringReport) -> None:
    """Store a report, once."""
    chain = f"monitoring:{scope_of(report)}"
    with connection.transaction():
        lock_chain(connection, chain)
        stored = connection.execute(
            "SELECT FROM trade.monitoring_reports WHERE report_id = %s", (report.report_id,)
        ).fetchone()
        if stored is None:
            append_now(connection, read_chain(connection, chain), report)


def read_report(connection: psycopg.Connection, report_id: str) -> MonitoringReport:
    """A stored report.

    Raises:
        BadConfig: there is none of this id.
    """
    found = _read(connection, "WHERE report_id = %s", (report_id,))
    if found is None:
        raise BadConfig(f"report={report_id!r}: no such monitoring report is stored")
    return found


def newest_report(connection: psycopg.Connection) -> MonitoringReport:
    """The report that was stored last.

    Raises:
        BadConfig: there is none.
    """
    found = _read(connection, "ORDER BY recorded_at DESC, chain_seq DESC LIMIT 1", ())
    if found is None:
        raise BadConfig("no monitoring report is stored: materialise monitoring_report first")
    return found


def breaches(connection: psycopg.Connection) -> list[MonitoringReport]:
    """Of each model that is in production, the newest report, where it asks for a rollback that did
    not happen.
    """
    rows = connection.execute(
        "SELECT r.report_id FROM trade.deployed d CROSS JOIN LATERAL ("
        "SELECT report_id, rolls_back FROM trade.monitoring_reports "
        "WHERE deployment = d.deployment_id ORDER BY recorded_at DESC, chain_seq DESC LIMIT 1) r "
        "WHERE d.slot = 'production' AND r.rolls_back ORDER BY d.deployment_id"
    ).fetchall()
    return [read_report(connection, report_id) for (report_id,) in rows]


def is_acted_on(connection: psycopg.Connection, report: MonitoringReport) -> bool:
    """Whether a rollback rests on a report."""
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM trade.deployments WHERE report_id = %s)", (report.report_id,)
    ).fetchone()
    return row is not None and bool(row[0])


def act_on(connection: psycopg.Connection, report: MonitoringReport, *, by: str) -> Active:
    """Roll back what a stored report found broken; each report is acted on once.

    The last good model decides again, or else the heuristic with the report's part of the fund.

    Raises:
        NotDeployed: the report asks for no rollback, or what it looked at is not in production any
            more.
    """
    scope = scope_of(report)
    if not report.rolls_back:
        raise NotDeployed(f"{scope}: report {report.report_id} asks for no rollback")
    production = deployed(connection, scope).production
    if production is None or production.deployment_id != report.deployment:
        raise NotDeployed(
            f"{scope}: {report.model} of deployment {report.deployment}, which report "
            f"{report.report_id} looked at, is not in production any more"
        )
    return roll_back_production(
        connection, scope, production, by=by, reason=report.reason, report_id=report.report_id,
        fund_share=report.fund_share,
        evidence={"looked_at": report.looked_at.isoformat(), "lines": list(report.lines)},
    )  # fmt: skip


def scope_of(report: MonitoringReport) -> Scope:
    """Where a report looked."""
    return Scope(report.market, report.venue, report.account)


def _read(
    connection: psycopg.Connection, which: LiteralString, values: tuple[Any, ...]
) -> MonitoringReport | None:
    row = connection.execute(
        f"SELECT content FROM trade.monitoring_reports {which}", values
    ).fetchone()
    if row is None:
        return None
    fields = orjson.loads(row[0])
    moments = {name: fields[name] and datetime.fromisoformat(fields[name]) for name in _MOMENTS}
    return MonitoringReport(**fields | moments)
