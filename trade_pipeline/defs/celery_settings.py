"""The Celery of one broker, as both sides know it: who launches runs, and the workers.

A run's message is acknowledged when a worker begins with it, and a worker takes no message before
it has a free process.  Acknowledged later, a broker would deliver it again while a long run goes on
(Redis after its visibility timeout, RabbitMQ after its consumer timeout), and Dagster would take
the end of the second delivery for the run's.  What became of a run whose worker died is found out
by asking the workers (`WorkerRunLauncher`), never by a second delivery.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from celery import Celery
from dagster_celery.make_app import make_app
from kombu.entity import Exchange, Queue

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.defs.queue import BATCH, LIVE
from trade_pipeline.settings import Settings

# Longer than any session: a state that is forgotten would look like a worker that is gone.
_RESULT_SECONDS = 400 * 86_400
_REDIS = ("redis", "rediss", "redis+socket", "sentinel")


def broker_of(settings: Settings) -> str:
    """The broker's URL.

    Raises:
        BadConfig: none is set.
    """
    if settings.broker_url is None:
        raise BadConfig("broker_url=None: set TRADE_PIPELINE_BROKER_URL to the broker's URL")
    return settings.broker_url.get_secret_value()


def celery_of(broker: str) -> Celery:
    """The app of a broker, without tasks."""
    scheme = urlsplit(broker).scheme
    app: Celery = make_app({"broker": broker, "backend": _backend(broker, scheme)})
    app.conf.update(
        task_queues=[
            # CeleryRunLauncher's routing keys are QUEUE.TASK.
            Queue(name, Exchange(name, type="topic"), routing_key=f"{name}.#")
            for name in (BATCH, LIVE)
        ],
        task_default_queue=BATCH,
        task_default_exchange=BATCH,
        task_default_exchange_type="topic",
        task_default_routing_key=f"{BATCH}.task",
        task_routes={},
        task_create_missing_queues=False,
        task_acks_late=False,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=scheme in _REDIS,
        # A process keeps what it has imported (seconds, for a session's contracts and pictures) and
        # gives back its memory now and then.
        worker_max_tasks_per_child=50,
        # Messages that a worker had taken and not begun; see the module's text.
        broker_transport_options={"visibility_timeout": 600} if scheme in _REDIS else {},
        broker_connection_retry_on_startup=True,
        # A worker goes on with its runs while the broker is away.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        result_expires=_RESULT_SECONDS,
        # Its log is where the run's is: with the worker's output.
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
    )
    if scheme == "rediss":
        checked = {"ssl_cert_reqs": ssl.CERT_REQUIRED}
        app.conf.update(broker_use_ssl=checked, redis_backend_use_ssl=checked)
    return app


def _backend(broker: str, scheme: str) -> str:
    """Where the states of tasks are kept: in the same Redis; other brokers keep none."""
    if scheme in _REDIS:
        return broker
    return "cache+memory://" if scheme == "memory" else "rpc://"
