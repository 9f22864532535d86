"""What the newest decisions can be expected to earn, told before their labels have ended."""

from __future__ import annotations

import numpy as np

from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.decisions import JudgedDecisions
from trade_pipeline.core.monitoring.verdict import not_judged, verdict
from trade_pipeline.core.training.clustered import market_adjusted


def performance_estimate(
    decisions: JudgedDecisions, until: int, config: MonitoringConfig
) -> Guardrail:
    """Profit rate and market-adjusted return of what it enters, per unit stake, without labels.

    The calibrated confidence tells the one, the predicted return the other; beside them stands what
    the labels tell that have ended.  It is broken where the estimate itself says that what the
    model enters earns less than the average candidate by more than the margin.
    """
    newest = decisions.since(until - config.window_days * DAY)
    entered = int((newest.stake > 0).sum())
    known = newest.ended_at >= 0
    numbers = {
        "entered": entered,
        "expected_profit_rate": _per_stake(newest.confidence, newest.stake),
        "expected_return": _adjusted_per_stake(newest.predicted, newest.stake, newest.day),
        "labels": int((known & (newest.stake > 0)).sum()),
        "profit_rate": _per_stake(
            (newest.returns[known] > 0).astype(np.float64), newest.stake[known]
        ),
        "return": _adjusted_per_stake(
            newest.returns[known], newest.stake[known], newest.day[known]
        ),
        "margin": config.performance_margin,
    }
    if entered < config.min_rows:
        missing = f"it enters {entered} candidates, needs {config.min_rows}"
        return not_judged("performance_estimate", missing, numbers)
    expected = numbers["expected_return"]
    return verdict(
        "performance_estimate",
        expected >= -config.performance_margin,
        f"what it enters is expected to earn {expected:+.4f} beside the average candidate, allowed "
        f"{-config.performance_margin:+.4f}",
        numbers,
    )


def _per_stake(values: Floats, stake: Floats) -> float:
    total = float(stake.sum())
    return float((stake * values).sum()) / total if total > 0 else float("nan")


def _adjusted_per_stake(returns: Floats, stake: Floats, day: Ints) -> float:
    return _per_stake(market_adjusted(returns, day), stake) if len(day) else float("nan")
