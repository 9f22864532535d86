"""The days of heads: one root for each UTC day, for a time-stamp authority and for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson

from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.ledger.chain import GENESIS
from trade_pipeline.core.ledger.merkle import merkle_root
from trade_pipeline.core.ledger.report import Problem
from trade_pipeline.core.ledger.stamps import stamp_of
from trade_pipeline.core.store.head_files import DAY_FORMAT, HeadFiles


@dataclass(slots=True)
class DaysChecked:
    """What came of the days' files; ``stamped`` counts the time stamps that are right."""

    days: int = 0
    stamped: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_days(files: HeadFiles, heads: Mapping[int, bytes]) -> DaysChecked:
    """Compare each day's file with its heads, with the day before, and with its time stamp.

    Args:
        heads: the hash of each head's file, by number.
    """
    checked = DaysChecked()
    names = files.days()
    data = files.read_of_days(names)
    stamps = files.read_of_days(sorted(files.stamped_days()), "tsr")
    before, following = GENESIS, 0
    for name in names:
        checked.days += 1
        wrong = None
        try:
            told = orjson.loads(data[name])
            first, last = int(told["first"]), int(told["last"])
            if (told["format"], told["day"]) != (DAY_FORMAT, name):
                wrong = "is not this day's file"
            elif bytes.fromhex(told["previous"]) != before:
                wrong = "does not follow from the file of the day before"
            elif first != following:
                wrong = f"begins with head {first}, the day before leaves off before {following}"
            elif (
                root := merkle_root([heads.get(n, b"") for n in range(first, last + 1)])
            ) != bytes.fromhex(told["root"]):
                wrong = f"has another root than its heads {first} to {last}: {root.hex()}"
            following = last + 1
        except (ValueError, KeyError, TypeError) as error:
            first, wrong = following, f"cannot be read: {error!r}"
        if wrong is not None:
            checked.problems.append(Problem("file", f"day {name} {wrong}", head=first))
        before = sha256(data.get(name, b""))
        if name in stamps:
            stamp = stamp_of(stamps[name])
            if stamp is None or stamp.digest != before:
                what = f"the time stamp of day {name} is for another file"
                checked.problems.append(Problem("file", what, head=first))
            else:
                checked.stamped += 1
    unstamped = checked.days - checked.stamped
    if checked.stamped and unstamped:
        checked.notes.append(f"{unstamped} days wait for their time stamp")
    return checked
