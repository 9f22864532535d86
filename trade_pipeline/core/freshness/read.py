"""What can be stale of the accounts that somebody wants to be traded now, from the records.

A replay has a time of its own and is never stale; neither is what no wanted account trades by.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import psycopg

from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.freshness.policy import Freshness, FreshnessConfig
from trade_pipeline.core.live.config import LiveConfig, LiveLimits
from trade_pipeline.core.live.lease import LeaseRow, read_lease
from trade_pipeline.core.live.requests import LiveRequest, requests

MARKET, SESSION, MODEL = "market_events", "live_session", "production_model"
_PRODUCTION = """
SELECT m.short_name, m.recorded_at, x.recorded_at, (SELECT max(r.recorded_at)
    FROM trade.monitoring_reports r WHERE r.deployment = d.deployment_id)
FROM trade.deployed d JOIN trade.models m USING (model_version)
JOIN trade.deployments x USING (deployment_id)
WHERE d.slot = 'production' AND d.active AND (d.market, d.venue, d.account) = (%s, %s, %s)
"""


def read_freshness(connection: psycopg.Connection, config: FreshnessConfig) -> list[Freshness]:
    """How old everything is that is watched."""
    found: list[Freshness] = []
    scopes: dict[Scope, None] = {}
    for request in requests(connection):
        if not request.wanted:
            continue
        live = request.config()
        lease = read_lease(connection, request.account)
        found.append(_session(request, lease, config))
        if live.market is not None:
            found += _market(live, lease, config)
            scopes[Scope(live.market.kind, live.venue, live.mode)] = None
    for scope in scopes:
        found += _model(connection, scope, config)
    return found


def least_free(connection: psycopg.Connection) -> int:
    """Bytes that each disk should have free: what the wanted accounts want, or else the default."""
    wanted = [one.config().limits for one in requests(connection) if one.wanted]
    return int(max((one.min_free_mb for one in wanted or [LiveLimits()]), default=0.0) * 1e6)


def _session(request: LiveRequest, lease: LeaseRow | None, config: FreshnessConfig) -> Freshness:
    return Freshness(
        SESSION, f"live session of account {request.account}", "the holder's newest heartbeat",
        None if lease is None else lease.heartbeat_at, request.recorded_at,
        timedelta(seconds=config.session_seconds),
    )  # fmt: skip


def _market(live: LiveConfig, lease: LeaseRow | None, config: FreshnessConfig) -> list[Freshness]:
    """Of a session that is held: without one, that is what is told."""
    if lease is None or not lease.alive or live.market is None:
        return []
    told: Any = lease.told.get("newest_event")
    minutes = config.bars_minutes if live.market.kind == "spot-1h" else config.pools_minutes
    return [
        Freshness(
            MARKET, f"market data of account {live.account}", "the newest event",
            None if told is None else datetime.fromisoformat(told), lease.taken_at,
            timedelta(minutes=minutes),
        )
    ]  # fmt: skip


def _model(
    connection: psycopg.Connection, scope: Scope, config: FreshnessConfig
) -> list[Freshness]:
    rows = connection.execute(
        _PRODUCTION.encode(), (scope.market, scope.venue, scope.account)
    ).fetchall()
    found = []
    for name, trained_at, deployed_at, monitored_at in rows:
        model = f"production model {name} of {scope}"
        found += [
            Freshness(
                MODEL, f"training of {model}", "its training", trained_at, trained_at,
                timedelta(days=config.trained_days),
            ),
            Freshness(
                MODEL, f"monitoring of {model}", "the newest look at it", monitored_at, deployed_at,
                timedelta(hours=config.monitored_hours),
            ),
        ]  # fmt: skip
    return found
