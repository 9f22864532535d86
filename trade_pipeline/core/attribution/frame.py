"""Closed trades with the parts of their results as a frame, and what groups them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, LiteralString

import numpy as np
import psycopg

from trade_pipeline.core.attribution.parts import PARTS
from trade_pipeline.core.features.registry import NAMES, feature_set

if TYPE_CHECKING:
    import pandas as pd

_KEYS = (
    "uuid", "session_id", "mode", "market", "instrument", "decided_at", "model_version",
    "learned_until", "arm", "termination_reason", "liquidity_usd", "realized_pnl_percent",
    "settings_known",
)  # fmt: skip


def read_attribution(
    connection: psycopg.Connection, sessions: Sequence[str] | None = None
) -> pd.DataFrame:
    """Closed trades of some sessions (None: all), in the order of their decisions.

    Returns:
        A row per trade, index ``uuid``: the keys of ``trade.attribution``, ``result`` and `PARTS`
        in micros (float64, exact), NaN where the records tell no result in USD.
    """
    columns = (*_KEYS, "result", *PARTS)
    frame = _frame(
        connection,
        "SELECT " + ", ".join(columns).replace("uuid", "uuid::text") + " FROM trade.attribution "
        "WHERE (%(sessions)s::text[] IS NULL OR session_id = ANY(%(sessions)s)) "
        "ORDER BY decided_at, uuid",
        columns,
        sessions,
    ).set_index("uuid")
    money = ["result", *PARTS]
    frame[money] = frame[money].astype("float64")
    frame.loc[frame["result"].isna(), money] = np.nan
    return frame


def read_signals(
    connection: psycopg.Connection, sessions: Sequence[str] | None = None
) -> pd.DataFrame:
    """What each feature gets of each closed trade's result; see ``trade.signal_attribution``.

    Returns:
        ``uuid``, ``feature``, ``log_odds``, ``share``, ``usd``, and ``out_of_sample``: None for
        what decided without having learned from trades.
    """
    columns = ("uuid", "feature", "log_odds", "share", "usd", "out_of_sample")
    return _frame(
        connection,
        "SELECT " + ", ".join(columns).replace("uuid", "uuid::text") + " "
        "FROM trade.signal_attribution "
        "WHERE (%(sessions)s::text[] IS NULL OR session_id = ANY(%(sessions)s))",
        columns,
        sessions,
    )


def read_ages(
    connection: psycopg.Connection, sessions: Sequence[str] | None = None
) -> pd.Series[float]:
    """Hours since a token's trading began, at the decision of each entered trade, by UUID."""
    place = NAMES.index("token_age_hours")
    frame = _frame(
        connection,
        "SELECT c.uuid::text, (f.content::jsonb -> 'vector' ->> %(place)s)::float8 "
        "FROM trade.candidates c JOIN trade.feature_rows f USING (uuid) "
        "WHERE c.decision = 'enter' AND f.feature_set = %(feature_set)s "
        "AND (%(sessions)s::text[] IS NULL OR c.session_id = ANY(%(sessions)s))",
        ("uuid", "hours"),
        sessions,
        place=place,
        feature_set=feature_set(),
    )
    return frame.set_index("uuid")["hours"].astype("float64")


def read_sentiment(
    connection: psycopg.Connection, sessions: Sequence[str] | None = None
) -> pd.DataFrame:
    """Level of each sentiment source that was known at an entered trade: uuid, source, level."""
    return _frame(
        connection,
        "SELECT c.uuid::text, said.key, said.value::float8 "
        "FROM trade.candidates c JOIN trade.research_docs d USING (uuid), "
        "jsonb_each_text(d.content::jsonb -> 'social_sentiment_scores') said "
        "WHERE c.decision = 'enter' "
        "AND (%(sessions)s::text[] IS NULL OR c.session_id = ANY(%(sessions)s))",
        ("uuid", "source", "level"),
        sessions,
    )


def _frame(
    connection: psycopg.Connection,
    query: LiteralString,
    columns: Sequence[str],
    sessions: Sequence[str] | None,
    **given: object,
) -> pd.DataFrame:
    import pandas as pd

    rows = connection.execute(
        query.encode(), {"sessions": None if sessions is None else list(sessions), **given}
    ).fetchall()
    return pd.DataFrame(rows, columns=list(columns))
