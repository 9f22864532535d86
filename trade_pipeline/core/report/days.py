"""What a session recorded, by UTC day of the decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import psycopg

from trade_pipeline.core.ids import uuid7_floor


@dataclass(frozen=True, slots=True)
class DayRecords:
    """The records of the decisions of one day.

    Attributes:
        executions: order events; ``fills`` of them are fills.
        pnl_usd: of the day's closed trades, newest revisions.
    """

    day: date
    research: int
    candidates: int
    entered: int
    executions: int
    fills: int
    outcomes: int
    pnl_usd: float


def session_days(connection: psycopg.Connection, session_id: str) -> list[DayRecords]:
    """Every day of a session's range, those without a decision as well."""
    row = connection.execute(
        "SELECT range_start, range_end FROM trade.sessions WHERE session_id = %s", (session_id,)
    ).fetchone()
    if row is None:
        return []
    start, end = row
    rows = connection.execute(
        """
        WITH decisions AS (
            SELECT uuid, decision, (decided_at AT TIME ZONE 'UTC')::date AS day
            FROM trade.candidates
            WHERE session_id = %(session)s AND uuid >= %(low)s AND uuid <= %(high)s
        ), research AS (
            SELECT uuid, count(*) AS n FROM trade.research_docs
            JOIN decisions USING (uuid) GROUP BY uuid
        ), orders AS (
            SELECT uuid, count(*) AS n,
                   count(*) FILTER (WHERE event IN ('filled', 'partly_filled')) AS fills
            FROM trade.executions JOIN decisions USING (uuid) GROUP BY uuid
        ), results AS (
            SELECT DISTINCT ON (uuid) uuid, pnl_usd, count(*) OVER (PARTITION BY uuid) AS n
            FROM trade.outcomes JOIN decisions USING (uuid)
            WHERE kind = 'realised' ORDER BY uuid, revision DESC
        ), counted AS (
            SELECT d.day, sum(r.n) AS research, count(*) AS candidates,
                   count(*) FILTER (WHERE d.decision = 'enter') AS entered,
                   sum(o.n) AS executions, sum(o.fills) AS fills, sum(t.n) AS outcomes,
                   sum(t.pnl_usd) AS pnl
            FROM decisions d LEFT JOIN research r USING (uuid) LEFT JOIN orders o USING (uuid)
            LEFT JOIN results t USING (uuid)
            GROUP BY d.day
        )
        SELECT g.day::date, coalesce(research, 0)::int, coalesce(candidates, 0)::int,
               coalesce(entered, 0)::int, coalesce(executions, 0)::int, coalesce(fills, 0)::int,
               coalesce(outcomes, 0)::int, coalesce(pnl, 0)::float8
        FROM generate_series(
            (%(start)s AT TIME ZONE 'UTC')::date::timestamp,
            ((%(end)s - interval '1 microsecond') AT TIME ZONE 'UTC')::date::timestamp,
            interval '1 day') AS g (day)
        LEFT JOIN counted ON counted.day = g.day::date
        ORDER BY 1
        """,
        {
            "session": session_id,
            "start": start,
            "end": end,
            "low": uuid7_floor(start),
            "high": uuid7_floor(end),
        },
    )
    return [DayRecords(*row) for row in rows]
