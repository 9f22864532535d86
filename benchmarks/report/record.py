"""Taking down figures while they are measured, by benchmarks and by tests alike.

    measured("ledger.verify_s", seconds, size="1,000,000 records")   # each repetition's value
    counted("ledger.edits_found", found, of, size="13 kinds")        # how many of how many
    computed("rugs.kang_mcc", value)                                 # the same in every run

The file that the environment names gets a line for each call; where none is named, only the call
is checked, so that a benchmark or a test may be run by itself.  What several calls say of one key
belongs together: repetitions are put together, counts are added.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from report.registry import FIGURES

FILE = "TRADE_PIPELINE_FIGURES"


def measured(key: str, values: Iterable[float], *, size: str = "") -> None:
    """A figure that differs from one repetition to the next, in its registered unit.

    Args:
        values: of each repetition, at least one.
        size: how much work a repetition is.

    Raises:
        ValueError: the key is not registered, or a value is no finite number.
    """
    given = [float(value) for value in values]
    if not given or not all(map(math.isfinite, given)):
        raise ValueError(f"{key}: values={given} are not finite numbers, one or more")
    _write(key, size, {"values": given})


def of_rounds(values: Sequence[float], percent: float, rounds: int = 5) -> list[float]:
    """A percentile of each of some rounds that follow one another, as repetitions of it."""
    return [float(np.percentile(part, percent)) for part in np.array_split(values, rounds)]


def counted(key: str, found: int, of: int, *, size: str = "") -> None:
    """A share, as so many of so many; its registered unit is percent.

    Raises:
        ValueError: the key is not registered, or there are not as many.
    """
    if not 0 <= found <= of:
        raise ValueError(f"{key}: found={found} of={of}")
    _write(key, size, {"counts": [int(found), int(of)]})


def computed(
    key: str, value: float, *, low: float | None = None, high: float | None = None, size: str = ""
) -> None:
    """A figure that data and seed determine; with its own interval where it has one.

    Raises:
        ValueError: the key is not registered, or a value is no finite number.
    """
    bounds = [float(value if bound is None else bound) for bound in (value, low, high)]
    if not all(map(math.isfinite, bounds)):
        raise ValueError(f"{key}: value, low, high={bounds} are not finite numbers")
    _write(key, size, {"computed": bounds})


def _write(key: str, size: str, said: dict[str, Any]) -> None:
    if key not in FIGURES:
        raise ValueError(f"{key}: is not in benchmarks/report/registry.py")
    if "counts" in said and FIGURES[key].unit != "%":
        raise ValueError(f"{key}: counts are of the unit %, not {FIGURES[key].unit}")
    file = os.environ.get(FILE)
    if file is None:
        return
    # One write of one line: tests of several processes may share the file.
    with open(file, "a", encoding="utf-8") as out:
        out.write(json.dumps({"key": key, "size": size, **said}) + "\n")
