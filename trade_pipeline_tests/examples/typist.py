"""Commands of a user in a folder of their own, each in a process of its own.

What is imported by every command is imported once: each command is a fork of a process that has
read neither features nor extensions.  Run as a program it is that process.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_SECONDS = 180


@dataclass(frozen=True)
class Typed:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


class Typist:
    """Types commands in a folder.

    Args:
        folder: where they run; ``environment``: what is set for all of them.
    """

    def __init__(
        self, process: subprocess.Popen[str], folder: Path, environment: Mapping[str, str]
    ) -> None:
        self._process, self.folder, self._environment = process, folder, environment

    def __call__(self, *arguments: str, **environment: str) -> Typed:
        """Run ``trade-pipeline`` with some arguments; more settings may be given."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        told = {
            "arguments": arguments,
            "folder": str(self.folder),
            "environment": dict(self._environment) | environment,
        }
        self._process.stdin.write(json.dumps(told) + "\n")
        self._process.stdin.flush()
        return Typed(**json.loads(self._process.stdout.readline()))


@contextlib.contextmanager
def typist(folder: Path, environment: Mapping[str, str]) -> Iterator[Typist]:
    """A typist in a folder; afterwards its process has ended."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Typist(process, folder, environment)
        finally:
            process.kill()


def _serve(orders: IO[str], answers: IO[str]) -> None:
    import numpy  # noqa: F401
    import pandas as pd  # noqa: F401
    import pyarrow.parquet as pq  # noqa: F401

    from trade_pipeline.cli import main

    for line in orders:
        order = json.loads(line)
        out, err = Path(order["folder"], ".out"), Path(order["folder"], ".err")
        pid = os.fork()
        if pid == 0:
            _become(order, out, err)
            main()
            sys.exit(0)
        _, status = os.waitpid(pid, 0)
        ended = {"code": os.waitstatus_to_exitcode(status), "out": out.read_text()}
        answers.write(json.dumps(ended | {"err": err.read_text()}) + "\n")
        answers.flush()


def _become(order: Mapping[str, Any], out: Path, err: Path) -> None:
    """Be the process that a shell would have started."""
    import signal

    signal.alarm(_SECONDS)
    for file, number in ((out, 1), (err, 2)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.chdir(order["folder"])
    os.environ.update(order["environment"])
    sys.argv = ["trade-pipeline", *order["arguments"]]


if __name__ == "__main__":
    _serve(sys.stdin, sys.stdout)
