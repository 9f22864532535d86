"""What was measured so far: a file of figures by key, of the parts and of the runs."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from report.interval import of_repetitions, of_share

FILE = "figures.json"


class BadResults(ValueError):
    """A file of results that is none."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A figure as one run measured it.

    Attributes:
        low: a second run of the same size on the same machine is expected to lie between this
        high: and that.
        values: of each repetition, where there were some.
        counts: found, and of how many, where it is a share.
        run: the run that measured it.
        at: when, UTC.
        full: whether in a run of the full sizes.
        sound: whether its part ended well.
        before: what an earlier run of the same size said.
    """

    value: float
    low: float
    high: float
    size: str
    values: list[float]
    counts: list[int]
    part: str
    run: str
    at: str
    full: bool
    sound: bool
    before: dict[str, Any] | None = None

    def holds(self, value: float) -> bool:
        """Whether a value lies within the interval, but for the last bits of a computed one."""
        slack = 1e-9 * max(abs(self.low), abs(self.high))
        return self.low - slack <= value <= self.high + slack


@dataclass(frozen=True, slots=True)
class Ended:
    """How a part went: ok, failed, timed out or not run, and why."""

    status: str
    reason: str
    at: str
    seconds: float
    run: str


@dataclass(frozen=True, slots=True)
class Run:
    """One run of some parts: on which commit and machine."""

    commit: str
    changed: bool
    at: str
    machine: dict[str, str]
    floors: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Results:
    """All of it; figures, parts and runs by their keys, names and numbers."""

    figures: dict[str, Measured] = field(default_factory=dict)
    parts: dict[str, Ended] = field(default_factory=dict)
    runs: dict[str, Run] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Results:
        """What a folder holds; nothing if there is no file.

        Raises:
            BadResults: the file is none of this program.
        """
        file = folder / FILE
        try:
            given = json.loads(file.read_bytes())
            return cls(
                {key: Measured(**one) for key, one in given["figures"].items()},
                {name: Ended(**one) for name, one in given["parts"].items()},
                {name: Run(**one) for name, one in given["runs"].items()},
            )
        except FileNotFoundError:
            return cls()
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadResults(f"{file}: is no file of figures: {error}") from error

    @classmethod
    @contextmanager
    def changed(cls, folder: Path) -> Iterator[Results]:
        """What a folder holds, to be changed and written again; other runs wait meanwhile.

        Raises:
            BadResults: the file is none of this program.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f".{FILE}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            results = cls.read(folder)
            yield results
            results.write(folder)

    def write(self, folder: Path) -> None:
        """Replace the folder's file."""
        folder.mkdir(parents=True, exist_ok=True)
        written = folder / f".{FILE}"
        # Runs whose every figure was measured anew are of no use.
        used = {one.run for one in self.figures.values()}
        used |= {part.run for part in self.parts.values()}
        used |= {one.before["run"] for one in self.figures.values() if one.before}
        kept = Results(
            self.figures, self.parts, {name: run for name, run in self.runs.items() if name in used}
        )
        written.write_text(json.dumps(asdict(kept), indent=1), encoding="utf-8")
        os.replace(written, folder / FILE)

    def merge(self, key: str, found: Measured) -> None:
        """Put a figure in the place of an older one; a usual size never replaces a full one."""
        older = self.figures.get(key)
        if older is not None:
            if older.full and not found.full:
                return
            if older.run == found.run:
                found = replace(found, before=older.before)
            elif (older.full, older.size) == (found.full, found.size):
                found = replace(found, before=asdict(older) | {"before": None})
        self.figures[key] = found


def combined(lines: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The figures of what was taken down: value, interval, repetitions or counts, by key."""
    gathered: dict[str, dict[str, Any]] = {}
    for line in lines:
        one = gathered.setdefault(
            line["key"], {"size": "", "values": [], "counts": [0, 0], "computed": None}
        )
        one["size"] = line["size"] or one["size"]
        one["values"] += line.get("values", [])
        one["counts"] = [
            a + b for a, b in zip(one["counts"], line.get("counts", [0, 0]), strict=True)
        ]
        one["computed"] = line.get("computed", one["computed"])
    found = {}
    for key, one in gathered.items():
        values, counts, exact = one["values"], one["counts"], one.pop("computed")
        if values:
            value, low, high = of_repetitions(values)
        elif counts[1]:
            value, low, high = of_share(*counts)
        elif exact is not None:
            value, low, high = exact
        else:
            # Nothing of nothing was counted: there is no share to tell.
            continue
        found[key] = {**one, "value": value, "low": low, "high": high}
        found[key]["counts"] = counts if counts[1] else []
    return found
