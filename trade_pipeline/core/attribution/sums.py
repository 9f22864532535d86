"""Whether the parts of every closed trade sum to its result, asked of the outcomes themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from trade_pipeline.core.attribution.parts import PARTS
from trade_pipeline.core.execution.book import MICRO

_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Sums:
    """What was found in the whole store.

    Attributes:
        without_result: closed trades that tell no result in USD.
        unexplained_usd: of the trades that are not wrong, absolute amounts together: what was
            stored through the Python API, filled by an exchange, or corrected.
        wrong: at most 50 trades, with what is wrong; ``text`` says how many there are.
    """

    trades: int
    without_result: int
    unexplained_usd: float
    wrong: list[dict[str, Any]]
    text: str


def wrong_sums(connection: psycopg.Connection) -> Sums:
    """Closed trades that are not in the attribution once, whose parts do not sum to the newest
    outcome's result to the millionth, or of which an own simulated fill is not explained.
    """
    rows = connection.execute(_WRONG).fetchall()
    trades, without, unexplained, count = rows[0][:4]
    wrong = [
        {"uuid": str(uuid), "session": session, "what": what, "usd": usd}
        for *_, uuid, session, what, usd in rows
        if uuid is not None
    ]
    text = f"{trades} closed trades asked, nothing found"
    if wrong:
        first = wrong[0]
        text = f"{count} of {trades} closed trades fail, first {first['uuid']}: {first['what']}"
    return Sums(trades, without, unexplained / MICRO, wrong, text)


_WRONG = f"""
    WITH newest AS (
        SELECT DISTINCT ON (uuid) uuid, revision, pnl_usd AS pnl FROM trade.outcomes
        WHERE kind = 'realised' ORDER BY uuid, revision DESC
    ), told AS (
        SELECT uuid, count(*) AS times, min(session_id) AS session_id, min(mode) AS mode,
               min(revision) AS revision, min(result) AS result, min(unexplained) AS unexplained,
               min({" + ".join(PARTS)}) AS parts
        FROM trade.attribution GROUP BY uuid
    ), judged AS MATERIALIZED (
        SELECT n.uuid, t.session_id, n.pnl, t.result, t.unexplained,
               CASE WHEN t.times = 1 THEN t.unexplained END AS off,
               CASE
                   WHEN t.times IS DISTINCT FROM 1 THEN 'is not in the attribution once'
                   WHEN t.revision <> n.revision THEN 'is attributed by a corrected outcome'
                   WHEN t.parts <> t.result OR round(n.pnl::numeric * 1000000) <> t.parts
                       THEN 'its parts do not sum to its result'
                   WHEN t.mode IN ('backtest', 'paper') AND n.revision = 0
                        AND t.unexplained IS DISTINCT FROM 0
                       THEN 'a part of its result is not explained'
               END AS what
        FROM newest n LEFT JOIN told t USING (uuid)
    )
    SELECT counted.*, w.uuid, w.session_id, w.what, (coalesce(w.off, 0) / 1e6)::float8
    FROM (
        SELECT count(*), count(*) FILTER (WHERE pnl IS NULL AND result IS NULL),
               coalesce(sum(abs(unexplained)) FILTER (WHERE what IS NULL), 0)::bigint, count(what)
        FROM judged
    ) counted
    LEFT JOIN (SELECT * FROM judged WHERE what IS NOT NULL ORDER BY uuid LIMIT {_SHOWN}) w ON true
"""
