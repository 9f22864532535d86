"""The queue of runs: live sessions and the kill switch never wait behind other work."""

from __future__ import annotations

import json

import dagster as dg
from dagster import QueuedRunCoordinator, SubmitRunContext

# The setting `batch_runs` limits how many runs of the kind `batch` there are at once.
KIND = "trade_pipeline/queue"
BATCH, LIVE = "batch", "live"
# Of a job that starts at once.  Nothing of it is tried again: what comes next recovers.
AT_ONCE = {
    KIND: "at_once",
    "dagster/priority": "100",
    "dagster/max_retries": "0",
}
# Of a job that trades, halts or takes a model back.  Where Celery's workers execute runs, those of
# the queue `live` have no other work.  Where runs are jobs of Kubernetes, its pod is placed first,
# by the class in deploy/kubernetes.yaml, and has memory of its own.
_POD = {
    "pod_spec_config": {"priority_class_name": "trade-pipeline-live"},
    "container_config": {
        "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}}
    },
}
TRADING = AT_ONCE | {"dagster-celery/queue": LIVE, "dagster-k8s/config": json.dumps(_POD)}

# Of a job whose failed run may be a verdict, such as a gate that refuses: that is no incident.
VERDICT = "trade_pipeline/fails_as_verdict"


class TradeRunCoordinator(QueuedRunCoordinator):
    """Marks every run as `batch` that is not marked otherwise, whoever asks for it.

    A limit on all runs would count the live sessions, too: two accounts that trade would leave no
    room for a training, and two trainings none for a session.
    """

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        run = context.dagster_run
        if KIND not in run.tags:
            self._instance.add_run_tags(run.run_id, {KIND: BATCH})
        return super().submit_run(context)
