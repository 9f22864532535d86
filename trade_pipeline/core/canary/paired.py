"""The decisions that a canary and production both judged, as they were stored, and their labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import psycopg

from trade_pipeline.core.canary.blocks import PairedDecisions
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.dataset.frame import read_trade_frame
from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.calibration import Bools
from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.records import TerminationReason
from trade_pipeline.core.strategy.config import StrategyConfig
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.strategy.opinion import DecidingModel
from trade_pipeline.core.training.policy import idle_stakes

if TYPE_CHECKING:
    import pandas as pd

_STOPPED = (TerminationReason.STOP_LOSS, TerminationReason.RUGPULL_EXIT)


@dataclass(frozen=True, slots=True)
class Compared:
    """Decisions that both models judged, traded or not, the oldest first.  Arrays of one length.

    Attributes:
        paired: both stakes, and the label.  Where the canary failed production decided, so its
            stake counts for both.
        failed: the canary did not say how confident it was.
        token: a code per token.
        stopped: the label ended by a stop or a rug exit.
        by_canary: the canary's arm decided.
        propensity: the probability of the arm that was drawn.
        realised: what was fetched by a trade that ran to its own end; NaN: not traded, or open.
        rows: the same decisions with their features (see `read_trade_frame`).
        others: decisions of the scope at which the two were not compared.
    """

    paired: PairedDecisions
    failed: Bools
    token: Ints
    stopped: Bools
    by_canary: Bools
    propensity: Floats
    realised: Floats
    rows: pd.DataFrame
    others: int


def compared_since(
    connection: psycopg.Connection,
    scope: Scope,
    since: datetime,
    now: datetime,
    canary: str,
    production: str,
) -> Compared:
    """What was compared in a scope after a moment of market time, as it was known by another.

    A label that ended after ``now`` is not known yet.

    Args:
        canary, production: versions of the two; a decision that other models made is left out.
    """
    sessions = sessions_of(connection, scope)
    told = {
        str(uuid): both
        for uuid, content in connection.execute(
            "SELECT uuid, content FROM trade.candidates WHERE session_id = ANY(%s) "
            "AND canary_version = %s AND decided_at > %s AND decided_at <= %s",
            (sessions, canary, since, now),
        )
        if (both := orjson.loads(content)["canary"])["production_model"] == production
    }
    frame = read_trade_frame(connection, sessions=sessions, market=scope.market, since=since)
    frame = frame[frame["decided_at"] <= now]
    rows = _each_once(frame[frame.index.isin(list(told))])
    return _compared(rows, [told[uuid] for uuid in rows.index], now, len(frame) - len(told))


def decisions_since(connection: psycopg.Connection, scope: Scope, since: datetime) -> pd.DataFrame:
    """The decisions of a scope after a moment of market time, each once, the oldest first."""
    sessions = sessions_of(connection, scope)
    return _each_once(
        read_trade_frame(connection, sessions=sessions, market=scope.market, since=since)
    )


def newest_decision(connection: psycopg.Connection, scope: Scope) -> datetime | None:
    """Market time of the newest decision in a scope."""
    row = connection.execute(
        "SELECT max(decided_at) FROM trade.candidates WHERE session_id = ANY(%s)",
        (sessions_of(connection, scope),),
    ).fetchone()
    return None if row is None else row[0]


def sessions_of(connection: psycopg.Connection, scope: Scope) -> list[str]:
    """The sessions of a scope."""
    rows = connection.execute(
        "SELECT session_id FROM trade.sessions WHERE market = %s AND mode = %s",
        (scope.market, scope.account),
    )
    return [str(session) for (session,) in rows]


def judged_anew(
    canary: TradeModel, production: TradeModel | None, rows: pd.DataFrame, strategy: StrategyConfig
) -> PairedDecisions:
    """What both would have staked on decisions that neither made, from the stored features.

    It is what a canary can be expected to show before it starts; once it runs, what was stored at
    the decisions counts.

    Args:
        production: None: the heuristic.
        rows: labelled decisions in order of time, see `DatasetRows`.
    """
    return PairedDecisions(
        at=micros_of(rows["decided_at"]),
        canary_stake=_stakes(canary, rows, strategy),
        production_stake=_stakes(production, rows, strategy),
        returns=rows["target_return"].to_numpy(np.float64),
        ended_at=micros_of(rows["label_end"]),
    )


def _stakes(model: TradeModel | None, rows: pd.DataFrame, strategy: StrategyConfig) -> Floats:
    if model is None:
        confidence = rows["heuristic_confidence"].to_numpy(np.float64)
    else:
        confidence = model.predict(model.inputs_of(rows)).confidence
    if not np.isfinite(confidence).all():
        raise BadConfig("confidence=nan: the model does not say how confident it is")
    entry = DecidingModel(model=model).entry_confidence(strategy.signal)
    return idle_stakes(confidence, entry, rows, strategy)


def _each_once(rows: pd.DataFrame) -> pd.DataFrame:
    # A session that is run again decides the same; what has a label goes before what has none.
    order = rows["shadow_end"].isna().to_numpy()
    return (
        rows.assign(_open=order)
        .sort_values(["decided_at", "instrument", "_open"], kind="stable")
        .drop_duplicates(["instrument", "decided_at"])
        .drop(columns="_open")
    )


def _compared(
    rows: pd.DataFrame, told: Sequence[dict[str, Any]], now: datetime, others: int
) -> Compared:
    def stakes(name: str) -> Floats:
        values = [both[name]["stake"] for both in told]
        return np.array([np.nan if value is None else value for value in values], np.float64)

    ended = (rows["shadow_end"] <= now).to_numpy() & rows["shadow_return"].notna().to_numpy()
    ended_at = np.full(len(rows), -1, np.int64)
    ended_at[ended] = micros_of(rows["shadow_end"][ended])
    production, canary = stakes("production"), stakes("canary")
    failed = np.isnan(canary)
    own_end = ~rows["realised_reason"].isin([TerminationReason.SESSION_END])
    return Compared(
        paired=PairedDecisions(
            at=micros_of(rows["decided_at"]),
            canary_stake=np.where(failed, production, canary),
            production_stake=production,
            returns=np.where(ended, rows["shadow_return"].to_numpy(np.float64), np.nan),
            ended_at=ended_at,
        ),
        failed=failed,
        token=rows.groupby("instrument").ngroup().to_numpy().astype(np.int64),
        stopped=ended & rows["shadow_reason"].isin(_STOPPED).to_numpy(),
        by_canary=np.array([both["arm"] == "canary" for both in told], np.bool_),
        propensity=np.array([both["propensity"] for both in told], np.float64),
        realised=rows["realised_return"]
        .where(own_end & (rows["realised_end"] <= now))
        .to_numpy(np.float64),
        rows=rows,
        others=others,
    )


def production_version(model_version: str | None) -> str:
    """How a decision names what is in production; None: the heuristic."""
    return DecidingModel().version if model_version is None else model_version
