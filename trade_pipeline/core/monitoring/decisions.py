"""Decisions as the production model judges them, with what is known of their labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from trade_pipeline.core.dataset.weights import micros_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.strategy.config import SignalConfig
from trade_pipeline.core.strategy.model import TradeModel
from trade_pipeline.core.training.policy import stakes

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class JudgedDecisions:
    """Candidates and what the model says of them, traded or not.  Arrays of one length.

    Attributes:
        at: market time of the decision, microseconds.
        confidence: calibrated probability of a profit.
        predicted: return to expect after all costs, as a fraction.
        stake: share of the full stake with every slot free; 0 where it does not enter.
        returns: the simulated executable label; NaN where it is not known yet.
        ended_at: when the label ended, microseconds; -1 where it is not known yet.
        inputs: (rows, inputs) of the model, NaN where unknown.
    """

    at: Ints
    confidence: Floats
    predicted: Floats
    stake: Floats
    returns: Floats
    ended_at: Ints
    inputs: Floats

    @property
    def day(self) -> Ints:
        """UTC days since 1970."""
        return self.at // DAY

    def __len__(self) -> int:
        return len(self.at)

    def since(self, at: int) -> JudgedDecisions:
        """Those after a moment."""
        kept = self.at > at
        return JudgedDecisions(
            *(getattr(self, name)[kept] for name in JudgedDecisions.__dataclass_fields__)
        )


def judge(
    model: TradeModel, rows: pd.DataFrame, signal: SignalConfig, until: int
) -> JudgedDecisions:
    """Ask a model about decisions.

    Args:
        rows: with their features, ``shadow_return`` and ``shadow_end``; see `read_trade_frame`.
        until: what was decided later is not there, and what ended later is not known.

    Raises:
        BadConfig: the model says of a candidate what is no number.
    """
    at = micros_of(rows["decided_at"])
    rows, at = rows[at <= until], at[at <= until]
    inputs = model.inputs_of(rows)
    said = model.predict(inputs)
    for name in ("confidence", "expected_return"):
        if not np.isfinite(getattr(said, name)).all():
            raise BadConfig(f"{name}=nan: the model does not say what it expects")
    returns = rows["shadow_return"].to_numpy(np.float64)
    ended = ~np.isnan(returns) & rows["shadow_end"].notna().to_numpy()
    ended_at = np.full(len(rows), -1, np.int64)
    ended_at[ended] = micros_of(rows["shadow_end"][ended])
    known = ended & (ended_at <= until)
    return JudgedDecisions(
        at=at,
        confidence=said.confidence,
        predicted=said.expected_return,
        stake=stakes(said.confidence, model.entry_confidence, rows, signal),
        returns=np.where(known, returns, np.nan),
        ended_at=np.where(known, ended_at, -1),
        inputs=inputs,
    )
