"""A live account as its records tell it: what its sessions decided, and what came from outside.

Halts, limits, dropped looks and the models on duty are inputs of a live session as its market is:
they are taken as they were recorded, and checked against the records of who gave them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ids import micros
from trade_pipeline.core.live.config import LiveConfig
from trade_pipeline.core.live.session import live_session_id
from trade_pipeline.core.records import Session, TradeCandidate
from trade_pipeline.core.replay.stored import in_utc
from trade_pipeline.core.session.stored import read_session
from trade_pipeline.core.strategy.confidence import HEURISTIC_VERSION

# Why a live session refuses entries, besides what the strategy says.
HALTED, UNKNOWN = "halted", "halt_unknown"
STORAGE = ("disk_low", "writes_refused")
LIMITS = ("stale_data", "price_sanity", "order_rate")
_BACK_PRESSURE = "back_pressure"
# A session hears of a halt or a deployment within this time, and is a little later in writing.
_HEARD = timedelta(seconds=5)


@dataclass(slots=True)
class LiveTrade:
    """A decision of a live session.

    Attributes:
        recorded_at: the database's time when it became durable.
        hashes: content hashes by table, in the order of the trade.
        production, canary: versions of the models that were on duty; None: there was no canary.
    """

    uuid: UUID
    session_id: str
    decision_no: int
    instrument: str
    at: int
    reason: str
    recorded_at: datetime
    production: str
    canary: str | None
    raw_answers: Sequence[str]
    hashes: dict[str, list[bytes]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Deployed:
    """A line of the history of deployments.

    Attributes:
        model: that came to its slot; None: it was left without.
    """

    when: datetime
    slot: str
    model: str | None
    fund_share: float


@dataclass(slots=True)
class LiveAccount:
    """What is stored of an account.

    Attributes:
        reached: how far the sessions had read the market; None: none of them had begun.
        sessions: in the order of their epochs.
        dropped: slots (microseconds) of market time in which looks were dropped.
        at_exchange: its orders were filled by an exchange, and not by a model of one.
        deployments: the history of the models in its scope, the oldest first.
    """

    name: str
    reached: int | None
    sessions: Sequence[Session]
    trades: dict[UUID, LiveTrade]
    dropped: set[int]
    at_exchange: bool
    halts: Sequence[tuple[datetime, str, str]]
    deployments: Sequence[Deployed]
    requests: Sequence[tuple[datetime, LiveConfig]]
    findings: Mapping[str, int]

    def config_of(self, trade: LiveTrade) -> LiveConfig | None:
        """The settings under which a decision was made; None: nobody stored them."""
        number = bisect_right([when for when, _ in self.requests], trade.recorded_at)
        return self.requests[number - 1][1] if number else None

    def fund_share(self, trade: LiveTrade) -> float:
        """The part of its fund with which production decided then."""
        before = [one for one in self.deployments if one.when <= trade.recorded_at]
        shares = [one.fund_share for one in before if one.slot == "production"]
        return shares[-1] if shares else 1.0

    def was_on_duty(self, trade: LiveTrade) -> bool:
        """Whether the models that decided were deployed then, or a moment before."""
        since, until = trade.recorded_at - _HEARD, trade.recorded_at
        duties = [_on_duty([one for one in self.deployments if one.when <= since])]
        for number, one in enumerate(self.deployments, 1):
            if since < one.when <= until:
                duties.append(_on_duty(self.deployments[:number]))
        return (trade.production, trade.canary) in duties

    def was_halted(self, trade: LiveTrade) -> bool:
        """Whether a halt was in force when the decision was made, or a moment before."""
        since, until = trade.recorded_at - _HEARD, trade.recorded_at
        before = [action for when, action, _ in self.halts if when <= since][-1:]
        meanwhile = [action for when, action, _ in self.halts if since < when <= until]
        return any(action != "resume" for action in before + meanwhile)

    @property
    def flattened(self) -> Sequence[str]:
        """What was said when the account was flattened."""
        return [f"{reason} ({when.isoformat()})" for when, action, reason in self.halts
                if action == "flatten"]  # fmt: skip


def account_of(connection: psycopg.Connection, session_id: str) -> str | None:
    """The account that a live session traded."""
    rows = connection.execute("SELECT account, epoch FROM trade.leases ORDER BY account")
    for account, newest in rows.fetchall():
        if any(live_session_id(account, n) == session_id for n in range(1, newest + 1)):
            return str(account)
    return None


def read_account(connection: psycopg.Connection, account: str) -> LiveAccount:
    """Everything of an account that a replay needs."""
    row = connection.execute(
        "SELECT epoch FROM trade.leases WHERE account = %s", (account,)
    ).fetchone()
    ids = [live_session_id(account, n) for n in range(1, (row[0] if row else 0) + 1)]
    there = connection.execute(
        "SELECT session_id FROM trade.sessions WHERE session_id = ANY(%s)", (ids,)
    ).fetchall()
    stored = {name for (name,) in there}
    sessions = [in_utc(read_session(connection, one)) for one in ids if one in stored]
    trades = _trades(connection, account)
    _hashes(connection, account, trades)
    requests = _requests(connection, account)
    progress = connection.execute(
        "SELECT reached FROM trade.live_progress WHERE account = %s", (account,)
    ).fetchone()
    return LiveAccount(
        name=account,
        reached=None if progress is None else progress[0],
        sessions=sessions,
        trades=trades,
        dropped=_dropped(connection, ids),
        at_exchange=any(one.mode == "live" for one in sessions)
        or _filled_elsewhere(connection, account),
        halts=connection.execute(
            "SELECT recorded_at, action, reason FROM trade.halts WHERE account = %s "
            "ORDER BY halt_id",
            (account,),
        ).fetchall(),
        deployments=_deployments(connection, sessions, requests),
        requests=requests,
        findings=dict(
            connection.execute(
                "SELECT kind, count(*) FROM trade.reconciliations "
                "WHERE account = %s AND kind <> 'start' GROUP BY kind ORDER BY kind",
                (account,),
            ).fetchall()
        ),
    )


def _trades(connection: psycopg.Connection, account: str) -> dict[UUID, LiveTrade]:
    rows = connection.execute(
        "SELECT c.uuid, c.session_id, c.decision_no, c.instrument, c.decided_at, c.reason, "
        "c.recorded_at, coalesce(c.content::jsonb #>> '{canary,production_model}', "
        "c.model_version), c.canary_version, r.content::jsonb -> 'raw_answers', c.content_hash "
        "FROM trade.live_decisions d JOIN trade.candidates c USING (uuid) "
        "LEFT JOIN trade.research_docs r USING (uuid) WHERE d.account = %s "
        "ORDER BY c.decided_at, c.uuid",
        (account,),
    )
    found = {}
    for uuid, session, number, instrument, at, *rest in rows:
        reason, when, production, canary, raw, digest = rest
        trade = LiveTrade(
            uuid, session, number, instrument, micros(at), reason, when, production, canary,
            raw or (),
        )  # fmt: skip
        trade.hashes[TradeCandidate.TABLE] = [digest]
        found[trade.uuid] = trade
    return found


def _hashes(connection: psycopg.Connection, account: str, trades: Mapping[UUID, LiveTrade]) -> None:
    mine = "uuid IN (SELECT uuid FROM trade.live_decisions WHERE account = %s)"
    for table in ("research_docs", "feature_rows", "executions", "outcomes"):
        realised = " AND kind = 'realised' AND revision = 0" if table == "outcomes" else ""
        rows = connection.execute(
            f"SELECT uuid, content_hash FROM trade.{table} WHERE {mine}{realised} "
            "ORDER BY recorded_at, chain_seq".encode(),
            (account,),
        )
        for uuid, digest in rows:
            trades[uuid].hashes.setdefault(table, []).append(digest)


def _dropped(connection: psycopg.Connection, sessions: Sequence[str]) -> set[int]:
    rows = connection.execute(
        "SELECT slot, content FROM trade.scans WHERE session_id = ANY(%s)", (list(sessions),)
    )
    return {micros(slot) for slot, text in rows if _BACK_PRESSURE in orjson.loads(text)["failed"]}


def _filled_elsewhere(connection: psycopg.Connection, account: str) -> bool:
    row = connection.execute(
        "SELECT EXISTS (SELECT FROM trade.order_intents WHERE account = %(account)s) "
        "AND NOT EXISTS (SELECT FROM trade.paper_orders WHERE account = %(account)s)",
        {"account": account},
    ).fetchone()
    assert row is not None
    return bool(row[0])


def _requests(connection: psycopg.Connection, account: str) -> list[tuple[datetime, LiveConfig]]:
    rows: list[tuple[datetime, Any]] = connection.execute(
        "SELECT recorded_at, settings FROM trade.live_requests WHERE account = %s AND wanted "
        "ORDER BY request_id",
        (account,),
    ).fetchall()
    found = []
    for when, settings in rows:
        try:
            found.append((when, LiveConfig.from_json(settings)))
        except BadConfig:
            # Of another time: as if nobody had stored them.
            continue
    return found


def _deployments(
    connection: psycopg.Connection,
    sessions: Sequence[Session],
    requests: Sequence[tuple[datetime, LiveConfig]],
) -> list[Deployed]:
    if not sessions:
        return []
    venue = requests[-1][1].venue if requests else "default"
    rows = connection.execute(
        "SELECT recorded_at, slot, CASE stage WHEN 'retired' THEN NULL ELSE model_version END, "
        "coalesce(fund_share, 1.0) FROM trade.deployments "
        "WHERE (market, venue, account) = (%s, %s, %s) ORDER BY deployment_id",
        (sessions[0].market, venue, sessions[0].mode),
    ).fetchall()
    return [Deployed(*row) for row in rows]


def _on_duty(history: Sequence[Deployed]) -> tuple[str, str | None]:
    """Versions of the production model and the canary at the end of a history."""
    production = [one.model for one in history if one.slot == "production"]
    newest = history[-1] if history else None
    canary = newest.model if newest is not None and newest.slot == "canary" else None
    return (production[-1] if production else None) or HEURISTIC_VERSION, canary
