"""Serves the Dagster UI with its daemon, and ends with everything it started.

The embedded server lives as long as this process uses it.  All of Dagster's processes are in one
process group, which ends when this process is told to end, or is killed.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from trade_pipeline.core.errors import BadConfig, StoreUnavailable
from trade_pipeline.core.store.store import Store
from trade_pipeline.core.store.valkey_server import open_cache
from trade_pipeline.defs.instance import (
    dagster_environment,
    dagster_instance,
    dagster_server,
    project_file,
)
from trade_pipeline.defs.process_group import Told, guarded_group, signals_end_it
from trade_pipeline.settings import Settings

HOST = "127.0.0.1"
_START_SECONDS = 180.0
_POLL_SECONDS = 0.25


def serve(settings: Settings, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        ready: called with the address when the UI answers; unset: it is printed.

    Raises:
        BadConfig: the port is taken.
        StoreUnavailable: the database or one of Dagster's processes does not start, or ends.
    """
    address = f"http://{HOST}:{settings.ui_port}"
    _require_free(settings.ui_port)
    with ExitStack() as opened:
        opened.enter_context(signals_end_it())
        try:
            # Starts and migrates the embedded server, or checks the one of the URL.
            opened.enter_context(Store.open(settings))
            # The embedded cache lives as long as it is used: runs come and go.
            opened.enter_context(open_cache(settings))
            server = opened.enter_context(dagster_server(settings))
            with dagster_instance(settings, server):
                pass  # Makes Dagster's tables once, before two processes would at the same time.
            environment = os.environ | dagster_environment(settings, server)
            children = opened.enter_context(_children(settings, environment))
            _wait_until(address, children)
            (ready or _print_address)(address)
            while True:
                _require_alive(children)
                time.sleep(_POLL_SECONDS)
        except Told:
            return


def _print_address(address: str) -> None:
    print(f"Dagster UI: {address}  (Ctrl-C ends it)", flush=True)


@contextmanager
def _children(
    settings: Settings, environment: dict[str, str]
) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Dagster's webserver and daemon; afterwards they and all they started have ended."""
    workspace = ["-w", str(project_file("workspace.yaml"))]
    port = str(settings.ui_port)
    commands = {
        "webserver": ["dagster_webserver", "-h", HOST, "-p", port, *workspace],
        "daemon": ["dagster._daemon", "run", *workspace],
    }
    logs = settings.home.resolve() / "dagster"
    with guarded_group() as group:
        yield {
            name: _start(command, environment, group, logs / f"{name}.log")
            for name, command in commands.items()
        }


def _start(
    module: list[str], environment: dict[str, str], group: int, log: Path
) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", *module],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=group,
        )


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BadConfig(
                f"ui_port={port}: cannot listen on {HOST}:{port} ({error.strerror}); "
                "set TRADE_PIPELINE_UI_PORT to a free port"
            ) from None


def _require_alive(children: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, child in children.items():
        if child.poll() is not None:
            raise StoreUnavailable(
                f"Dagster's {name} ended with code {child.returncode}: see dagster/{name}.log"
            )


def _wait_until(address: str, children: dict[str, subprocess.Popen[bytes]]) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        _require_alive(children)
        try:
            with urllib.request.urlopen(f"{address}/server_info", timeout=5):
                return
        except OSError as error:
            if time.monotonic() > end:
                raise StoreUnavailable(f"the UI does not answer on {address}: {error}") from None
        time.sleep(_POLL_SECONDS)
