"""Whether the model still gets the inputs that it learned with."""

from __future__ import annotations

import numpy as np

from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.market.event import DAY, Floats
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.decisions import JudgedDecisions
from trade_pipeline.core.monitoring.verdict import not_judged, verdict


def missing_features(
    decisions: JudgedDecisions, learned: Floats, until: int, config: MonitoringConfig
) -> Guardrail:
    """The share of unknown inputs of the newest decisions against that in training.

    Args:
        learned: (rows, inputs) of the training.
    """
    newest = decisions.since(until - config.window_days * DAY)
    if len(newest) < config.min_rows:
        missing = f"{len(newest)} decisions, needs {config.min_rows}"
        return not_judged("missing_features", missing, {"rows": len(newest)})
    share, before = (float(np.isnan(one).mean()) for one in (newest.inputs, learned))
    return verdict(
        "missing_features",
        share - before <= config.max_missing,
        f"{share:.1%} of the inputs are unknown, {before:.1%} in training, allowed "
        f"{config.max_missing:.0%} more",
        {"rows": len(newest), "share": share, "training": before, "allowed": config.max_missing},
    )
