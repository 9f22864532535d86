"""The app of Celery's workers: ``celery -A trade_pipeline.defs.celery_app worker -Q batch``.

Each run is a process of its own below its worker and ends with it.  A worker that is told to end
(SIGTERM, Ctrl-C) lets its batch runs finish and ends its live sessions as the UI ends a run: their
positions stay open, and the next session takes them over.
"""

from __future__ import annotations

import os
import signal
from typing import Any

from celery import signals
from celery.worker import state
from dagster_celery.tasks import create_execute_job_task, create_resume_job_task

from trade_pipeline.cli.inputs import read_settings
from trade_pipeline.defs.celery_settings import broker_of, celery_of
from trade_pipeline.defs.owner import OwnerWatch
from trade_pipeline.defs.queue import LIVE

app = celery_of(broker_of(read_settings()))
execute_job = create_execute_job_task(app)
resume_job = create_resume_job_task(app)


def load_definitions(**_: Any) -> None:
    """Import once what every run's process needs; they are forked from this one."""
    from trade_pipeline.definitions import defs

    defs.get_repository_def()


def begin_process(**_: Any) -> None:
    """In a run's process: it ends with its worker; a terminal's Ctrl-C is for the worker alone."""
    os.setpgid(0, 0)
    watch = OwnerWatch()
    watch.__enter__()
    signals.task_postrun.connect(restore_signals)


def restore_signals(**_: Any) -> None:
    """Dagster leaves SIGTERM as it found SIGINT, which Celery ignores here."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_live_sessions(**_: Any) -> None:
    """A session may go on for days: nobody who stops a worker waits for that."""
    for request in list(state.active_requests):
        key = (request.delivery_info or {}).get("routing_key") or ""
        if key.partition(".")[0] == LIVE and request.worker_pid:
            os.kill(request.worker_pid, signal.SIGTERM)


signals.worker_init.connect(load_definitions)
signals.worker_process_init.connect(begin_process)
signals.worker_shutting_down.connect(end_live_sessions)
