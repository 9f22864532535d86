"""What a canary and production make of the same decisions, from what was stored at them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
import psycopg

from trade_pipeline.core.canary.blocks import PairedDecisions
from trade_pipeline.core.canary.record import Scope
from trade_pipeline.core.dataset.frame import read_trade_frame
from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.strategy.config import SignalConfig
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.policy import stakes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Pair:
    """The two that are compared.

    Attributes:
        production: None: the heuristic.
        signal: the filters that hold for both.
    """

    canary: TradeModel
    production: TradeModel | None
    signal: SignalConfig

    def judge(self, rows: pd.DataFrame) -> PairedDecisions:
        """Both models' stakes on decisions with their features, every slot free.

        The label is the simulated executable one for both, never the realised one for either.

        Args:
            rows: see `read_trade_frame`, in order of time.
        """
        ended = rows["shadow_end"].notna().to_numpy() & rows["shadow_return"].notna().to_numpy()
        return PairedDecisions(
            at=micros_of(rows["decided_at"]),
            canary_stake=model_stakes(self.canary, rows, self.signal),
            production_stake=model_stakes(self.production, rows, self.signal),
            returns=rows["shadow_return"].to_numpy(np.float64),
            ended_at=np.where(ended, micros_of(rows["shadow_end"].ffill().bfill()), -1)
            if ended.any()
            else np.full(len(rows), -1, np.int64),
        )


def model_stakes(model: TradeModel | None, rows: pd.DataFrame, signal: SignalConfig) -> Floats:
    """What a model (None: the heuristic) would stake on each row, as a share of the full stake."""
    if model is None:
        confidence = rows["heuristic_confidence"].to_numpy(np.float64)
        return stakes(confidence, signal.min_confidence, rows, signal)
    confidence = model.predict(model.inputs_of(rows)).confidence
    if not np.isfinite(confidence).all():
        raise BadConfig("confidence=nan: the model does not say how confident it is")
    return stakes(confidence, model.entry_confidence, rows, signal)


def decisions_since(connection: psycopg.Connection, scope: Scope, since: datetime) -> pd.DataFrame:
    """The decisions of a scope after a moment of market time, each once, the oldest first."""
    rows = read_trade_frame(connection, sessions=_sessions(connection, scope), market=scope.market)
    rows = rows[rows["decided_at"] > since]
    # A session that is run again decides the same; what has a label goes before what has none.
    order = rows["shadow_end"].isna().to_numpy()
    return (
        rows.assign(_open=order)
        .sort_values(["decided_at", "instrument", "_open"], kind="stable")
        .drop_duplicates(["instrument", "decided_at"])
        .drop(columns="_open")
    )


def newest_decision(connection: psycopg.Connection, scope: Scope) -> datetime | None:
    """Market time of the newest decision in a scope."""
    row = connection.execute(
        "SELECT max(decided_at) FROM trade.candidates WHERE session_id = ANY(%s)",
        (_sessions(connection, scope),),
    ).fetchone()
    return None if row is None else row[0]


def _sessions(connection: psycopg.Connection, scope: Scope) -> list[str]:
    rows = connection.execute(
        "SELECT session_id FROM trade.sessions WHERE market = %s AND mode = %s",
        (scope.market, scope.account),
    )
    return [str(session) for (session,) in rows]
