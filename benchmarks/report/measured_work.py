"""Figures of experiments, of more than one machine and of backups."""

from __future__ import annotations

from report.figure import Figure

_METRICS = ("pnl_per_day", "mean_return", "sharpe")
_DAYS = (21, 35, 60, 120, 365)


def _all_well(name: str, words: str, part: str, *, headline: bool = False) -> Figure:
    return Figure(
        f"operations.{name}", words, "%", part, more_is_better=True, asked=100, headline=headline
    )


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
    _all_well(
        "malformed_handled", "malformed inputs that are read or refused with a clear error",
        "fuzz/fuzz", headline=True,
    ),
    _all_well(
        "worker_deaths", "machines, workers, runs and commands lost in an experiment whose records "
        "are those of one process", "reliability/celery", headline=True,
    ),
    _all_well(
        "pod_deaths", "pods lost in an experiment of Kubernetes' launcher that ends complete",
        "deploy/kubernetes_runs",
    ),
    _all_well(
        "point_in_time", "records before a moment that are back after going back to it",
        "backup/point_in_time",
    ),
    Figure(
        "operations.other_worker_s", "from the end of a live worker to the lease of its session's "
        "successor on another one", "s", "reliability/celery_live",
    ),
    Figure(
        "operations.compose_healthy_s", "compose's services as processes, until all are healthy",
        "s", "deploy/compose_processes",
    ),
    Figure(
        "operations.compose_successor_s", "compose's live worker, killed: from its restart until a "
        "successor trades", "s", "deploy/compose_processes",
    ),
    Figure(
        "operations.unit_serves_s", "the unit of `up`, until the UI answers behind its login", "s",
        "deploy/unit_processes",
    ),
    Figure(
        "operations.unit_successor_s", "a unit's session, killed: from its restart until a "
        "successor holds the lease", "s", "deploy/unit_processes",
    ),
    Figure(
        "operations.run_s", "a run that does next to nothing, in a process of its own", "s",
        "dagster_runs",
    ),
    Figure(
        "operations.materialisations_per_s", "materialisations stored by one process", "1/s",
        "dagster_runs", more_is_better=True,
    ),
    Figure(
        "operations.materialisations_x", "with connections that are kept, against Dagster's own "
        "storage", "x", "dagster_runs", more_is_better=True,
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
