"""The trade frame: every stored decision with its feature vector and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import psycopg

from trade_pipeline.core.features.registry import FEATURES, NAMES, AddedFeature, feature_set
from trade_pipeline.core.features.vector import clock_columns, matrix_of
from trade_pipeline.core.ids import micros
from trade_pipeline.core.research.rug import WEIGHTS
from trade_pipeline.core.session.config import TradingConfig

if TYPE_CHECKING:
    import pandas as pd

KEYS = (
    "session_id", "market", "kind", "instrument", "decided_at", "slot", "decision", "feature_set",
    "vector_source",
)  # fmt: skip
RESULTS = (
    "shadow_return", "shadow_end", "shadow_reason",
    "realised_return", "realised_end", "realised_reason",
)  # fmt: skip

# Each decision's results are looked up by their key: joined as a whole, without statistics of fresh
# rows, they were compared with every decision.
_RESULT = """
        SELECT realized_pnl_percent AS percent, closed_at, termination_reason AS reason,
               time_in_market_seconds AS held
        FROM trade.outcomes o WHERE o.uuid = c.uuid AND o.kind = '{kind}'
        ORDER BY o.revision DESC LIMIT 1
"""
_QUERY = f"""
    WITH chosen AS (
        SELECT session_id, market, mode FROM trade.sessions
        WHERE (%(sessions)s::text[] IS NULL OR session_id = ANY(%(sessions)s))
          AND (%(imported)s OR mode <> 'imported')
          AND (%(market)s::text IS NULL OR market = %(market)s)
    )
    SELECT c.uuid::text, c.session_id, s.market, s.mode, c.instrument, c.decided_at, c.decision,
           f.content, CASE WHEN f.uuid IS NULL THEN d.content END,
           w.percent, w.closed_at, w.reason,
           r.percent, coalesce(r.closed_at, c.decided_at + make_interval(secs => r.held)),
           r.reason
    FROM chosen s
    JOIN trade.candidates c USING (session_id)
    LEFT JOIN trade.feature_rows f ON f.uuid = c.uuid AND f.feature_set = %(feature_set)s
    LEFT JOIN trade.research_docs d ON d.uuid = c.uuid
    LEFT JOIN LATERAL ({_RESULT.format(kind="shadow")}) w ON true
    LEFT JOIN LATERAL ({_RESULT.format(kind="realised")}) r ON true
    WHERE (%(since)s::timestamptz IS NULL
           OR c.uuid >= trade.uuid7_floor(%(since)s) AND c.decided_at > %(since)s)
    ORDER BY c.decided_at, c.uuid
"""


def read_trade_frame(
    connection: psycopg.Connection,
    *,
    sessions: Sequence[str] | None = None,
    market: str | None = None,
    since: datetime | None = None,
    include_imported: bool = False,
) -> pd.DataFrame:
    """Decisions of some sessions (None: all) on a kind of market (None: any), oldest first.

    Args:
        since: only those after it.
        include_imported: with the trades of older bots, of which nothing but the hour is known: no
            vector was stored at their decisions, and no research.

    Returns:
        A row per decision, index ``uuid``: `KEYS`, `RESULTS` (fractions after all costs, when they
        ended and why; missing where there is none yet) and one float64 column per feature, NaN
        where unknown.  ``frame.attrs["features"]`` names the features.  ``vector_source`` is
        ``stored`` for the vector that was stored at the decision, ``research`` where there is none
        and the research document tells what it can.  A realised trade that was stored without
        ``closed_at`` ended its time in the market after the decision.
    """
    import pandas as pd

    rows: list[tuple[Any, ...]] = []
    vectors: list[list[float | None]] = []
    with connection.cursor(name="trade_frame") as cursor:
        cursor.itersize = 5_000
        cursor.execute(
            _QUERY,
            {
                "sessions": None if sessions is None else list(sessions),
                "market": market,
                "since": since,
                "imported": include_imported,
                "feature_set": feature_set(),
            },
        )
        for (
            uuid,
            session,
            kind,
            mode,
            instrument,
            at,
            decision,
            stored,
            document,
            *results,
        ) in cursor:
            if stored is not None:
                vectors.append(orjson.loads(stored)["vector"])
            else:
                told = research_vector(None if document is None else orjson.loads(document), at)
                vectors.append([told.get(name) for name in NAMES])
            source = "research" if stored is None else "stored"
            rows.append(
                (
                    uuid,
                    session,
                    kind,
                    kind_of(kind, mode),
                    instrument,
                    at,
                    decision,
                    source,
                    *results,
                )
            )
    names = ("uuid", "session_id", "market", "kind", "instrument", "decided_at", "decision",
             "vector_source", *RESULTS)  # fmt: skip
    keys = pd.DataFrame(rows, columns=list(names)).set_index("uuid")
    for name in ("decided_at", "shadow_end", "realised_end"):
        keys[name] = pd.to_datetime(keys[name], utc=True).astype("datetime64[us, UTC]")
    for name in ("shadow_return", "realised_return"):
        # Not in SQL, which refuses a percentage that is too small for its hundredth.
        keys[name] = keys[name].astype("float64") / 100
    keys["slot"] = _slots(keys)
    keys["feature_set"] = feature_set()
    features = pd.DataFrame(matrix_of(vectors), index=keys.index, columns=list(NAMES))
    frame = pd.concat([keys[[*KEYS, *RESULTS]], features], axis=1)
    frame.attrs["features"] = list(NAMES)
    return frame


def kind_of(market: str, mode: str) -> str:
    """What was learned on one kind is not mixed with another unasked."""
    if mode == "backtest":
        return "simulated" if market == "simulated" else "recorded"
    return mode if mode in ("manual", "imported") else "live"


def feature_versions() -> dict[str, str]:
    """Version of each feature's definition, by name; of an added one with that of its code."""
    return {
        one.name: f"{one.version}-{one.code}" if isinstance(one, AddedFeature) else str(one.version)
        for one in FEATURES
    }


def research_vector(document: Mapping[str, Any] | None, decided_at: Any) -> dict[str, float | None]:
    """What a research document tells of the features, for a decision without a stored vector."""
    at = np.array([micros(decided_at)])
    found: dict[str, float | None] = {
        name: float(values[0]) for name, values in clock_columns(at).items()
    }
    if document is None:
        return found
    for told in (document["market"], document["facts"]):
        # Somebody's own facts may be texts.
        numbers = {name: value for name, value in told.items() if isinstance(value, (int, float))}
        found |= {name: float(value) for name, value in numbers.items() if name in NAMES}
    scores = document["rugpull_heuristic_scores"]
    found |= {f"rug_{name}": score for name, score in scores.items() if name in WEIGHTS}
    levels = document["social_sentiment_scores"]
    found |= {f"sentiment_{source}": level for source, level in levels.items()}
    for name, field in (
        ("market_cap_usd", "initial_market_cap"),
        ("liquidity_usd", "liquidity_usd"),
        ("volume_24h_usd", "volume_24h_usd"),
        ("holders", "holders"),
        ("rug_risk", "rug_risk"),
        ("sentiment_level", "sentiment"),
        ("sentiment_momentum", "sentiment_momentum"),
        ("sentiment_consensus", "sentiment_consensus"),
    ):
        found[name] = document[field]
    return found


def _slots(keys: pd.DataFrame) -> pd.Series[Any]:
    """The decision slot of each row: its time, floored to the market's interval."""
    import pandas as pd

    slots = pd.Series(keys["decided_at"])
    for market, group in keys.groupby("market"):
        interval = TradingConfig().interval(str(market))
        slots[group.index] = group["decided_at"].dt.floor(f"{interval}us")
    return slots
