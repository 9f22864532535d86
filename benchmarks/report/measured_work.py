"""Figures of experiments, of more than one machine and of backups."""

from __future__ import annotations

from report.figure import Figure

_METRICS = ("pnl_per_day", "mean_return", "sharpe")
_DAYS = (21, 35, 60, 120, 365)

_OPERATIONS = (
    Figure(
        "operations.workers_against_a_process_x", "an experiment on two workers, against one "
        "process without a broker", "x", "celery_workers", more_is_better=True, asked=1.6,
        floor="machine.two_cores_x", headline=True,
    ),
    Figure(
        "operations.workers_against_a_worker_x", "an experiment on two workers, against one", "x",
        "celery_workers", more_is_better=True, asked=1.6, floor="machine.two_cores_x",
        headline=True,
    ),
    Figure(
        "operations.days_apart_x", "processor time of features and labels made day by day, "
        "against one build", "x", "daily",
    ),
    Figure(
        "operations.restore_s", "database and half of the artifacts lost: restored and verified",
        "s", "restore_drill", headline=True,
    ),
)  # fmt: skip

_FALSE_ALARMS = tuple(
    Figure(
        f"experiments.false_alarms.{metric}_{days}d",
        f"experiments of {days} days with equal variants that call one better by {metric}", "%",
        "experiment/judgement", asked=5,
    )
    for metric in _METRICS for days in _DAYS
)  # fmt: skip

WORK = (*_FALSE_ALARMS, *_OPERATIONS)
