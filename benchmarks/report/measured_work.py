"""Figures of experiments, of more than one machine, of backups and of security."""

from __future__ import annotations

from report.figure import Figure

_METRICS = ("pnl_per_day", "mean_return", "sharpe")
_DAYS = (21, 35, 60, 120, 365)

WORK = tuple(
    Figure(
        f"experiments.false_alarms.{metric}_{days}d",
        f"experiments of {days} days with equal variants that call one better by {metric}", "%",
        "experiment/judgement", asked=5,
    )
    for metric in _METRICS for days in _DAYS
)  # fmt: skip
