"""Whether the stored records hold together: every session, not only the newest.

Each function looks at the whole store with one query and returns what is wrong, by session and UTC
day of the decision.  Completeness and cash are asked of backtests that ran to their end, since all
their trades are closed then, and of live sessions, whose open trades lack what comes later; time is
asked of every session.  Trades of older bots are theirs: they are judged when they are imported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import LiteralString

import psycopg

Check = Callable[[psycopg.Connection], "list[Violation]"]


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that is wrong on one UTC day of one session.

    Attributes:
        what: how many trades it concerns, in which way, and the first one's UUID.
    """

    session_id: str
    day: date
    what: str


# What each query begins with: the decisions of the sessions that ran to their end, and those of
# live sessions, whose trades may be open.  ``late``: an order of then must have ended.
_DECISIONS: LiteralString = """
    WITH decisions AS NOT MATERIALIZED (
        SELECT c.uuid, c.session_id, c.decision, e.session_id IS NULL AS is_live,
               e.session_id IS NOT NULL OR c.decided_at < (
                   SELECT to_timestamp(p.reached / 1e6) - interval '1 day'
                   FROM trade.live_decisions l JOIN trade.live_progress p USING (account)
                   WHERE l.uuid = c.uuid) AS late,
               (c.decided_at AT TIME ZONE 'UTC')::date AS day
        FROM trade.candidates c JOIN trade.sessions s USING (session_id)
        LEFT JOIN trade.session_ends e USING (session_id)
        WHERE e.session_id IS NOT NULL OR s.mode IN ('paper', 'live')
    )
"""

# And what each ends with: violations are counted by session, day and kind.
_COUNTED: LiteralString = """
    SELECT session_id, day, what, count(*), min(uuid::text)
    FROM wrong GROUP BY session_id, day, what ORDER BY session_id, day, what
"""


def unfinished_sessions(connection: psycopg.Connection) -> list[str]:
    """The backtests without an end: still running, or stopped on their way."""
    rows = connection.execute(
        "SELECT session_id FROM trade.sessions LEFT JOIN trade.session_ends e USING (session_id) "
        "WHERE mode = 'backtest' AND e.session_id IS NULL ORDER BY sessions.recorded_at"
    )
    return [str(session) for (session,) in rows]


def candidates_without_research(connection: psycopg.Connection) -> list[Violation]:
    """Decisions without the research behind them."""
    return _find(
        connection,
        _DECISIONS
        + """, wrong AS (
            SELECT d.session_id, d.day, d.uuid, 'candidate without research' AS what
            FROM decisions d LEFT JOIN trade.research_docs r USING (uuid)
            WHERE r.uuid IS NULL
        )"""
        + _COUNTED,
    )


def entries_without_end(connection: psycopg.Connection) -> list[Violation]:
    """Entered candidates whose entry order has no end, and closed trades without their fills."""
    return _find(
        connection,
        _DECISIONS
        + """, orders AS (
            SELECT uuid,
                   bool_or(leg = 'entry' AND event IN ('filled', 'rejected', 'cancelled')) AS ended,
                   bool_or(leg = 'entry' AND event IN ('filled', 'partly_filled')) AS bought,
                   bool_or(leg = 'exit' AND event IN ('filled', 'partly_filled')) AS sold
            FROM trade.executions GROUP BY uuid
        ), closed AS (
            SELECT DISTINCT ON (uuid) uuid, content FROM trade.outcomes
            WHERE kind = 'realised' ORDER BY uuid, revision DESC
        ), judged AS (
            SELECT d.session_id, d.day, d.uuid,
                CASE
                    WHEN d.decision = 'enter' AND d.late AND o.ended IS NOT TRUE
                        THEN 'entry that is neither filled, rejected nor cancelled'
                    WHEN c.uuid IS NOT NULL AND o.bought IS NOT TRUE
                        THEN 'closed trade without a fill of its entry'
                    WHEN c.uuid IS NOT NULL AND o.sold IS NOT TRUE
                         AND (c.content::jsonb -> 'written_off') IS DISTINCT FROM 'true'::jsonb
                        THEN 'closed trade without a fill of its exit that is not written off'
                END AS what
            FROM decisions d LEFT JOIN orders o USING (uuid) LEFT JOIN closed c USING (uuid)
            WHERE d.decision = 'enter' OR c.uuid IS NOT NULL
        ), wrong AS (SELECT * FROM judged WHERE what IS NOT NULL)"""
        + _COUNTED,
    )


def trades_without_one_outcome(connection: psycopg.Connection) -> list[Violation]:
    """Filled trades without one realised outcome whose revisions are 0, 1, ... without gap."""
    return _find(
        connection,
        _DECISIONS
        + """, bought AS (
            SELECT uuid, sum(size) FILTER (WHERE leg = 'exit') >=
                   (1 - 1e-9) * sum(size) FILTER (WHERE leg = 'entry') AS sold
            FROM trade.executions WHERE event IN ('filled', 'partly_filled')
            GROUP BY uuid HAVING bool_or(leg = 'entry')
        ), closed AS (
            SELECT uuid, count(*) AS revisions, max(revision) AS newest
            FROM trade.outcomes WHERE kind = 'realised' GROUP BY uuid
        ), judged AS (
            SELECT d.session_id, d.day, uuid,
                CASE
                    WHEN c.uuid IS NULL AND d.is_live AND b.sold IS NOT TRUE THEN NULL
                    WHEN c.uuid IS NULL THEN 'filled trade without an outcome'
                    WHEN b.uuid IS NULL THEN 'outcome of a trade that was never filled'
                    WHEN c.revisions <> c.newest + 1 THEN 'outcome with a missing revision'
                END AS what
            FROM (bought b FULL JOIN closed c USING (uuid)) JOIN decisions d USING (uuid)
        ), wrong AS (SELECT * FROM judged WHERE what IS NOT NULL)"""
        + _COUNTED,
    )


def cash_that_does_not_add_up(connection: psycopg.Connection) -> list[Violation]:
    """Trades, days and sessions whose money differs by half a cent or more.

    A trade's profit and loss is what its exits fetched, less what its entries paid, less the costs
    of all its orders.  A session's is the sum of its outcomes less the costs of the entries that
    were never filled.
    """
    return _find(
        connection,
        _DECISIONS
        + """, flows AS (
            SELECT uuid,
                   sum(coalesce(fees_usd, 0)::numeric) AS costs,
                   coalesce(sum(CASE leg WHEN 'exit' THEN value_usd ELSE -value_usd END::numeric)
                       FILTER (WHERE event IN ('filled', 'partly_filled')), 0) AS traded,
                   bool_or(leg = 'entry' AND event IN ('filled', 'partly_filled')) AS bought
            FROM trade.executions GROUP BY uuid
        ), closed AS (
            SELECT DISTINCT ON (uuid) uuid, pnl_usd::numeric AS pnl FROM trade.outcomes
            WHERE kind = 'realised' ORDER BY uuid, revision DESC
        ), trades AS (
            SELECT d.session_id, d.day, d.uuid, c.uuid AS closed, c.pnl,
                   coalesce(f.traded - f.costs, 0) AS flow,
                   coalesce(c.pnl, 0) - CASE WHEN f.bought THEN 0 ELSE coalesce(f.costs, 0) END
                       AS booked
            FROM decisions d LEFT JOIN flows f USING (uuid) LEFT JOIN closed c USING (uuid)
            -- An open trade has paid, and earned nothing yet.
            WHERE (f.uuid IS NOT NULL OR c.uuid IS NOT NULL)
              AND NOT (d.is_live AND c.uuid IS NULL)
        ), days AS (
            SELECT session_id, day, min(uuid::text)::uuid AS uuid, sum(flow - booked) AS off,
                   sum(sum(flow - booked)) OVER (PARTITION BY session_id) AS session_off
            FROM trades GROUP BY session_id, day
        ), wrong AS (
            SELECT session_id, day, uuid,
                   'trade whose outcome differs from its fills and costs' AS what
            FROM trades WHERE closed IS NOT NULL AND (pnl IS NULL OR abs(flow - pnl) >= 0.005)
            UNION ALL
            SELECT session_id, day, uuid,
                   format('sum of the day: its executions differ from its outcomes by %s USD '
                          '(whole session: %s USD)', round(off, 6), round(session_off, 6))
            FROM days WHERE abs(off) >= 0.005 OR (off <> 0 AND abs(session_off) >= 0.005)
        )"""
        + _COUNTED,
    )


def records_from_the_future(connection: psycopg.Connection) -> list[Violation]:
    """Facts that were known only after the decision, and what happened before it."""
    return _find(
        connection,
        """
        WITH decisions AS NOT MATERIALIZED (
            SELECT uuid, session_id, decided_at, (decided_at AT TIME ZONE 'UTC')::date AS day
            FROM trade.candidates WHERE session_id NOT IN (
                SELECT session_id FROM trade.sessions WHERE mode = 'imported')
        ), wrong AS (
            SELECT session_id, day, uuid, 'research that was known only after the decision' AS what
            FROM decisions JOIN trade.research_docs USING (uuid) WHERE known_at > decided_at
            UNION ALL
            SELECT session_id, day, uuid, 'order event before the decision'
            FROM decisions JOIN trade.executions USING (uuid) WHERE occurred_at < decided_at
            UNION ALL
            SELECT session_id, day, uuid, 'outcome before the decision'
            FROM decisions JOIN trade.outcomes USING (uuid) WHERE closed_at < decided_at
        )"""
        + _COUNTED,
    )


def _find(connection: psycopg.Connection, query: LiteralString) -> list[Violation]:
    return [
        Violation(session, day, f"{count} x {what}, first {uuid}")
        for session, day, what, count, uuid in connection.execute(query)
    ]
