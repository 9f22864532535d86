"""Whether what the model calls 60 % still happens in about 60 of 100."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.canary.guardrails import Guardrail
from trade_pipeline.core.market.event import DAY, Floats, Ints
from trade_pipeline.core.monitoring.config import MonitoringConfig
from trade_pipeline.core.monitoring.decisions import JudgedDecisions
from trade_pipeline.core.monitoring.verdict import not_judged, verdict
from trade_pipeline.core.training.calibration_error import Tenth, calibration_error

_DRAWS = 300
# Days that are drawn together: labels live up to two of them.
_RUN_DAYS = 3
_LEVEL = 0.99


@dataclass(frozen=True, slots=True)
class Calibration:
    """The verdict, and the tenths that it rests on."""

    guardrail: Guardrail
    tenths: Sequence[Tenth]


def calibration(decisions: JudgedDecisions, until: int, config: MonitoringConfig) -> Calibration:
    """The calibration error of the newest decisions whose labels have ended.

    It is broken where the error and the lower end of its interval are above what is allowed.
    """
    newest = decisions.since(until - config.calibration_days * DAY)
    known = newest.ended_at >= 0
    rows = int(known.sum())
    if rows < config.min_labels:
        missing = f"{rows} labels ended, needs {config.min_labels}"
        return Calibration(not_judged("calibration", missing, {"labels": rows}), ())
    confidence = newest.confidence[known]
    won = (newest.returns[known] > 0).astype(np.float64)
    found = calibration_error(confidence, won)
    low = _lower_end(found.error, confidence, won, newest.day[known])
    allowed = config.max_calibration_error
    line = verdict(
        "calibration",
        not (found.error > allowed and low > allowed),
        f"calibration error {found.error:.3f}, at least {low:.3f}, allowed {allowed:g}",
        {"labels": rows, "error": found.error, "low": low, "level": found.level,
         "allowed": allowed},
    )  # fmt: skip
    return Calibration(line, found.tenths)


def _lower_end(error: float, confidence: Floats, won: Floats, day: Ints) -> float:
    """Of the error's one-sided interval, by drawing runs of days (basic bootstrap).

    An error of absolute distances comes out too large in a sample, and in a draw from it by as much
    again: the basic interval takes that off.
    """
    order = np.argsort(day, kind="stable")
    _, starts = np.unique(day[order], return_index=True)
    rows_of_day = np.split(order, starts[1:])
    days = len(rows_of_day)
    draw = np.random.default_rng(0)
    errors = np.empty(_DRAWS)
    for number in range(_DRAWS):
        firsts = draw.integers(0, days, -(-days // _RUN_DAYS))
        chosen = (firsts[:, None] + np.arange(_RUN_DAYS)).ravel()[:days] % days
        rows = np.concatenate([rows_of_day[one] for one in chosen.tolist()])
        errors[number] = calibration_error(confidence[rows], won[rows]).error
    return 2 * error - float(np.quantile(errors, _LEVEL))
