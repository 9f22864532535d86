"""Judged decisions as a test wants them."""

from __future__ import annotations

from typing import Any

import numpy as np

from trade_pipeline.core.market.event import DAY, HOUR
from trade_pipeline.core.monitoring.decisions import JudgedDecisions


def decisions(
    days: int, a_day: int, seed: int = 0, skill: float = 1.0, **more: Any
) -> JudgedDecisions:
    """Candidates spread over days; the return is ``skill`` times what was predicted, and noise.

    Half of them are entered, those that promise most.
    """
    draw = np.random.default_rng(seed)
    rows = days * a_day
    at = (np.arange(rows) * (DAY // a_day)).astype(np.int64)
    predicted = draw.normal(0, 0.03, rows)
    # What a day does to all of its candidates.
    market = np.repeat(draw.normal(0, 0.05, days), a_day)
    confidence = 1 / (1 + np.exp(-predicted / 0.03))
    fields: dict[str, Any] = {
        "at": at,
        "confidence": confidence,
        "predicted": predicted,
        "stake": np.where(confidence > 0.5, confidence, 0.0),
        "returns": skill * predicted + market + draw.normal(0, 0.1, rows),
        "ended_at": at + HOUR,
        "inputs": draw.normal(size=(rows, 2)),
    }
    return JudgedDecisions(**fields | more)
