"""The whole attribution of some sessions, read from the records; lists are ready for tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import psycopg

from trade_pipeline.core.attribution.experiment import arm_effects
from trade_pipeline.core.attribution.frame import read_attribution
from trade_pipeline.core.attribution.groups import NAMES, rows_by
from trade_pipeline.core.attribution.parts import PARTS
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.execution.book import MICRO

if TYPE_CHECKING:
    import pandas as pd


def attribution_report(
    connection: psycopg.Connection,
    session_id: str | None = None,
    by: Sequence[str] = NAMES,
) -> dict[str, Any]:
    """Parts and groups of a session's closed trades (None: those of all sessions).

    Args:
        by: of `groups.NAMES`.

    Returns:
        ``trades``; ``without_result``: those that tell no result in USD and are in no other figure;
        ``without_settings``: trades whose barriers are unknown; ``unfilled_entries_usd``: costs of
        entries that bought nothing, which are in no trade's result; ``result_usd``; ``parts``:
        ``part``, ``usd`` and ``per_trade_usd``; ``by``: rows by name, see `rows_by`;
        ``experiment``: see `arm_effects`.

    Raises:
        BadConfig: no such session is stored, or there is no such group.
    """
    for name in by:
        if name not in NAMES:
            raise BadConfig(f"by={name!r}: expected one of {', '.join(NAMES)}")
    sessions = None if session_id is None else [session_id]
    if (
        sessions is not None
        and not connection.execute(
            "SELECT 1 FROM trade.sessions WHERE session_id = %s", (session_id,)
        ).fetchone()
    ):
        raise BadConfig(f"session_id={session_id!r}: no such session is stored")
    read = read_attribution(connection, sessions)
    trades = read[read["result"].notna()]
    return {
        "session_id": session_id,
        "trades": len(trades),
        "without_result": len(read) - len(trades),
        "without_settings": int((~trades["settings_known"].astype(bool)).sum()),
        "unfilled_entries_usd": _unfilled(connection, sessions),
        "result_usd": _usd(trades["result"]),
        "parts": [
            {"part": name, "usd": _usd(trades[name]), "per_trade_usd": _mean(trades[name])}
            for name in PARTS
        ],
        "by": {name: rows_by(connection, trades, name, sessions) for name in by} if len(trades)
        else {name: [] for name in by},
        "experiment": arm_effects(connection, sessions),
    }  # fmt: skip


def _unfilled(connection: psycopg.Connection, sessions: list[str] | None) -> float:
    row = connection.execute(
        "SELECT coalesce(sum(trade.micros(fees_usd)), 0)::bigint "
        "FROM trade.candidates c JOIN trade.executions e USING (uuid) "
        "WHERE e.fees_usd <> 0 "
        "AND (%(sessions)s::text[] IS NULL OR session_id = ANY(%(sessions)s)) "
        "AND NOT EXISTS (SELECT FROM trade.executions f WHERE f.uuid = c.uuid "
        "AND f.event IN ('filled', 'partly_filled'))",
        {"sessions": sessions},
    ).fetchone()
    assert row is not None
    return -int(row[0]) / MICRO


def _usd(micros: pd.Series[float]) -> float:
    # Micros are whole numbers, so that the sum is exact before it is divided.
    return int(micros.sum()) / MICRO


def _mean(micros: pd.Series[float]) -> float:
    return _usd(micros) / len(micros) if len(micros) else math.nan
