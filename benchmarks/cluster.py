"""Several machines on this one: what they share, and each with a home and processes of its own.

Shared are a PostgreSQL, a broker (Valkey) and a server that speaks S3.  Each machine's processes
are started by `trade-pipeline exec`, as its units and containers do.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self
from urllib.request import Request, urlopen

import boto3
import fsspec
import psutil
from moto.server import ThreadedMotoServer

from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.valkey_server import EmbeddedValkey

_START_SECONDS = 120.0
_END_SECONDS = 60.0
_COMMAND = [sys.executable, "-m", "trade_pipeline.cli"]


@contextmanager
def object_store() -> Iterator[dict[str, str]]:
    """An empty server that speaks S3; gives the variables by which every client finds it."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        url = f"http://{host}:{port}"
        # What an earlier one of this process was given is still there.
        with urlopen(Request(f"{url}/moto-api/reset", method="POST")):
            pass
        # File systems are kept by their arguments, and the endpoint is none.
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        yield {
            "AWS_ENDPOINT_URL": url,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }
    finally:
        server.stop()


class Cluster:
    """Use with ``with``: afterwards all that was started has ended.

    Attributes:
        shared: the settings that are the same on every machine.
        database: the records.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.shared: dict[str, str] = {}
        self._stack = ExitStack()
        self._started: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        s3 = enter(object_store())
        boto3.client(
            "s3", endpoint_url=s3["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id="testing", aws_secret_access_key="testing",
        ).create_bucket(Bucket="bucket")  # fmt: skip
        server = enter(EmbeddedPostgres(self.folder / "postgres"))
        self.database = enter(Database.embedded(self.folder / "postgres"))
        broker = EmbeddedValkey(self.folder / "broker")
        enter(broker)
        self.shared = s3 | {
            "TRADE_PIPELINE_DATABASE_URL": server.url("postgres", "trade_pipeline"),
            "TRADE_PIPELINE_DAGSTER_URL": server.url("dagster", "dagster", "postgresql+psycopg2"),
            "TRADE_PIPELINE_ARTIFACTS_URL": "s3://bucket/trade_pipeline",
            "TRADE_PIPELINE_BROKER_URL": f"redis+socket://{broker.socket_path}",
        }
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.poll() is None:
                end_group(process)
        self._stack.close()

    def environment(self, machine: str, **more: str) -> dict[str, str]:
        """Of a machine's processes; it has a home of its own."""
        home = str(self.folder / machine)
        given = {k: v for k, v in os.environ.items() if not k.startswith("TRADE_PIPELINE_")}
        return given | self.shared | {"TRADE_PIPELINE_HOME": home} | more

    def command(self, machine: str, *words: str, **given: object) -> subprocess.Popen[bytes]:
        """Start a command of `trade-pipeline` on a machine, in a session of its own."""
        home = self.folder / machine
        home.mkdir(exist_ok=True)
        with (home / "output.log").open("ab") as log:
            streams = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log} | given
            process = subprocess.Popen(
                [*_COMMAND, *words], env=self.environment(machine), start_new_session=True,
                cwd=home, **streams,
            )  # type: ignore[call-overload]  # fmt: skip
        self._started.append(process)
        return process

    def worker(self, machine: str, queue: str = "batch", processes: int = 1) -> Worker:
        """Start a worker, and wait until it answers."""
        worker = Worker(
            self.command(
                machine, "exec", "celery", "-A", "trade_pipeline.defs.celery_app", "worker",
                "-Q", queue, "-c", str(processes), "-n", f"{machine}@%h", "-l", "INFO",
            ),
            self.folder / machine / "output.log",
        )  # fmt: skip
        wait_for(worker.ready, _START_SECONDS, f"the worker on {machine}")
        return worker


class Worker:
    """A worker of Celery, and the processes of its runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log
        self._before = self._log.stat().st_size if self._log.exists() else 0

    def ready(self) -> bool:
        """Whether it takes runs.

        Raises:
            AssertionError: it has ended.
        """
        said = self._log.read_bytes()[self._before :]
        assert self.process.poll() is None, said[-3000:].decode()
        return b" ready." in said

    def children(self) -> list[psutil.Process]:
        """The processes of its runs."""
        return psutil.Process(self.process.pid).children()

    def kill(self) -> list[psutil.Process]:
        """SIGKILL to it and to the processes of its runs, as when its machine dies; gives these."""
        children = self.children()
        for one in (psutil.Process(self.process.pid), *children):
            one.kill()
        self.process.wait(_END_SECONDS)
        psutil.wait_procs(children, _END_SECONDS)
        return children

    def end(self, number: int = signal.SIGTERM) -> None:
        """Tell it to end and wait for that."""
        self.process.send_signal(number)
        self.process.wait(_END_SECONDS)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and whatever hangs below it, kindly and then not."""
    below = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for one in psutil.wait_procs(below, 5)[1]:
        one.kill()


def wait_for(done: Callable[[], bool], seconds: float, what: str) -> float:
    """Wait for something; the seconds it took.

    Raises:
        AssertionError: it did not come in time.
    """
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise AssertionError(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return time.monotonic() - began


def records(database: Database) -> Mapping[str, list[tuple[bytes, ...]]]:
    """The content hashes that each table of records holds; no time of storing is in them."""
    from trade_pipeline.core.ledger.tables import record_tables

    with database.connect("trade_reader") as connection:
        return {
            table.name: connection.execute(
                f"SELECT content_hash FROM trade.{table.name} ORDER BY content_hash".encode()
            ).fetchall()
            for table in record_tables(connection)
        }
