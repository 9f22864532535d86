"""A command as a user types it, and how it ended."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import pytest

from trade_pipeline.cli import main


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def facts(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


def run_in(patch: pytest.MonkeyPatch, environment: dict[str, str]) -> Run:
    """Runs the command line with some settings in the environment."""
    for name, value in environment.items():
        patch.setenv(name, value)
    patch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> Ended:
        out, err = io.StringIO(), io.StringIO()
        patch.setattr("sys.argv", ["trade-pipeline", *arguments])
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main()
        code = ended.value.code
        return Ended(code if isinstance(code, int) else 0, out.getvalue(), err.getvalue())

    return run
