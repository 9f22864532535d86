"""Running the parts one after the other, and keeping what each has said."""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from report.parts import FLOORS, FULL_COUNTS, ROOT, Part
from report.record import FILE
from report.registry import FIGURES
from report.results import Ended, Measured, Results, Run, combined

OK, FAILED, TIMED_OUT, NOT_RUN = "ok", "failed", "timed out", "not run"
# What a process that was told to end may take, seconds.
_GRACE = 20.0


def run_parts(parts: Sequence[Part], folder: Path, data: Path | None, *, full: bool) -> bool:
    """Run parts between two measurements of the machine; the folder's file grows with each.

    Returns:
        Whether every part that could be run ended well.
    """
    name = _now()
    run = Run(_git("rev-parse", "HEAD"), bool(_git("status", "--porcelain")), name, _machine())
    well, floors = True, list[dict[str, Any]]()
    for number, part in enumerate([FLOORS, *parts, FLOORS]):
        print(f"\n== {part.name} ({min(number, len(parts))} of {len(parts)}), {_now()}", flush=True)
        ended, lines = _run(part, folder, data, full=full)
        ended = replace(ended, run=name)
        if part is FLOORS:
            # What was measured before the parts and after them belongs together.
            floors += lines
            lines = floors
        figures = combined(lines)
        if part is FLOORS:
            run = replace(run, floors={key: one["value"] for key, one in figures.items()})
        if ended.status == OK and (missing := _missing(part, set(figures), full=full)):
            ended = replace(ended, status=FAILED, reason=f"measured no {', '.join(missing)}")
        with Results.changed(folder) as results:
            results.runs[name] = run
            for key, one in figures.items():
                measured = Measured(
                    **one, part=part.name, run=name, at=ended.at, sound=ended.status == OK,
                    full=part.is_test or (full and part.full is not None),
                )  # fmt: skip
                results.merge(key, measured)
            # A part that cannot be run now keeps what it has said.
            if ended.status != NOT_RUN or part.name not in results.parts:
                results.parts[part.name] = ended
        why = f": {ended.reason}" if ended.reason else ""
        print(f"== {part.name}: {ended.status}{why}, {ended.seconds:.0f} s", flush=True)
        well = well and ended.status in (OK, NOT_RUN)
    return well


def _missing(part: Part, found: set[str], *, full: bool) -> list[str]:
    """Figures that a part should have measured, and did not."""
    return sorted(
        key for key, figure in FIGURES.items()
        if figure.part == part.name and key not in found
        and not figure.optional and (full or not figure.only_full)
    )  # fmt: skip


def _run(
    part: Part, folder: Path, data: Path | None, *, full: bool
) -> tuple[Ended, list[dict[str, Any]]]:
    """Run a part's command, its output on the terminal and in a file of its own."""
    at, began = _now(), time.monotonic()
    command = part.command(data, full=full)
    if isinstance(command, str):
        return Ended(NOT_RUN, command, at, 0.0, ""), []
    log = folder / "logs" / f"{part.name.replace('/', '-')}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    limit = part.full_limit if full or part.is_test else part.limit
    with tempfile.TemporaryDirectory(prefix="figures") as place:
        figures = Path(place) / "figures"
        figures.touch()
        environment = os.environ | {FILE: str(figures), "PYTHONUNBUFFERED": "1"}
        # An installed program begins from its bytecode and does not compile itself each time.
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        if part.is_test:
            environment |= FULL_COUNTS
        code = _followed(command, environment, log, limit)
        lines = [json.loads(line) for line in figures.read_text().splitlines()]
    seconds = time.monotonic() - began
    if code is None:
        return Ended(TIMED_OUT, f"after {limit:.0f} s", at, seconds, ""), lines
    if code:
        return Ended(FAILED, f"exit code {code}: {_last_line(log)}", at, seconds, ""), lines
    return Ended(OK, "", at, seconds, ""), lines


def _followed(
    command: list[str], environment: dict[str, str], log: Path, limit: float
) -> int | None:
    """The exit code; None: it was ended at its limit.

    The output goes to a file that is read here, because a server that outlives its program by a
    moment would keep a pipe open.
    """
    with log.open("wb") as out, log.open("rb") as told:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            end = time.monotonic() + limit
            while process.poll() is None and time.monotonic() < end:
                _show(told.read())
                time.sleep(0.2)
            _show(told.read())
            return process.poll()
        finally:
            _end(process)


def _show(said: bytes) -> None:
    sys.stdout.write(said.decode("utf-8", "replace"))
    sys.stdout.flush()


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of it and of what it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][-200:] if lines else "it said nothing"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _machine() -> dict[str, str]:
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load before": " ".join(f"{one:.1f}" for one in os.getloadavg()),
    }


def _processor() -> str:
    """Its name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
