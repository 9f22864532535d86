"""Fuzzes the readers in a process of its own: ``python -m trade_pipeline_tests.fuzz.run --help``.

The process may use so much memory, and an input so much time of the processor; whatever an input
does to it, the file ``--at`` tells which one it was.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import json
import logging
import mmap
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline_tests.fuzz import answers, stored, tapes, texts
from trade_pipeline_tests.fuzz.parser import Parser

# Beyond what the libraries need for themselves.
MEMORY = 1 << 30
SECONDS = 5.0
SHOWN = 20


class TooLong(BaseException):
    """An input that took longer than any may; nothing of the product's catches it."""


def registry(folder: Path) -> list[Parser]:
    """Every reader of what others may have written."""
    places = [folder / name for name in ("texts", "tapes", "exchange")]
    for place in places:
        place.mkdir(parents=True)
    text, tape, exchange = places
    return [
        *texts.parsers(text), *tapes.parsers(tape), *answers.parsers(exchange), *stored.parsers(),
    ]  # fmt: skip


def shares(parsers: Sequence[Parser], count: int) -> dict[str, int]:
    """How many inputs each reader gets, by weight; at least so many as were asked for."""
    whole = sum(parser.weight for parser in parsers)
    return {parser.name: -(-count * parser.weight // whole) for parser in parsers}


@contextmanager
def limited() -> Iterator[None]:
    """Ends an input that takes longer than `SECONDS` of the processor."""

    def end(_number: int, _frame: FrameType | None) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, end)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def problem_of(parser: Parser, data: bytes) -> str | None:
    """What is wrong with how an input was taken; None: it was read, or refused as it should be."""
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        parser.parse(data)
    except parser.clean as error:
        # The message is one that people read.
        said = str(error)
        if not isinstance(error, TradePipelineError):
            return None
        if len(said) > 4100 or not all(c.isprintable() or c == "\n" for c in said):
            return f"the message of {type(error).__name__}: {said[:300]!r}"
        return None
    except TooLong:
        return f"more than {SECONDS:g} s"
    except Exception:  # noqa: BLE001 - whatever it is, it is a finding
        return "".join(traceback.format_exc(limit=-8))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return None


def main(given: Sequence[str] | None = None) -> int:
    """Prints a line of JSON for each reader."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--count", type=int, default=2000, help="inputs of all parts together")
    arguments.add_argument("--part", type=int, default=0)
    arguments.add_argument("--parts", type=int, default=1)
    arguments.add_argument("--only", help="the name of a reader")
    arguments.add_argument("--number", type=int, help="this input alone")
    arguments.add_argument("--at", type=Path, help="file that tells which input is read")
    chosen = arguments.parse_args(given)
    faulthandler.enable()
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory(dir=_memory()) as folder, limited():
        parsers = registry(Path(folder))
        counts = shares(parsers, chosen.count)
        at = _place(chosen.at or Path(folder, "at"))
        _limit_memory()
        gc.freeze()
        for parser in parsers:
            if chosen.only not in (None, parser.name):
                continue
            numbers = range(chosen.part, counts[parser.name], chosen.parts)
            if chosen.number is not None:
                numbers = range(chosen.number, chosen.number + 1)
            print(json.dumps(_run(parser, chosen.seed, numbers, at)), flush=True)
    return 0


def _run(parser: Parser, seed: int, numbers: range, at: mmap.mmap) -> dict[str, object]:
    began, found, bad = time.process_time(), [], 0
    stdout, sys.stdout = sys.stdout, open(os.devnull, "w")  # noqa: SIM115 - closed below
    try:
        for number in numbers:
            told = f"{parser.name} {number}".encode().ljust(len(at), b"\0")
            at[:] = told
            data = parser.input(seed, number)
            if (problem := problem_of(parser, data)) is not None:
                bad += 1
                if len(found) < SHOWN:
                    found.append({"number": number, "problem": problem, "input": repr(data[:300])})
    finally:
        sys.stdout.close()
        sys.stdout = stdout
    seconds = round(time.process_time() - began, 2)
    return {
        "parser": parser.name, "inputs": len(numbers), "bad": bad, "seconds": seconds,
        "findings": found,
    }  # fmt: skip


def _memory() -> Path | None:
    return Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None


def _place(file: Path) -> mmap.mmap:
    """Memory that the file still tells when this process is gone."""
    file.write_bytes(bytes(200))
    with file.open("r+b") as opened:
        return mmap.mmap(opened.fileno(), 200)


def _limit_memory() -> None:
    with open("/proc/self/statm") as file:
        used = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


if __name__ == "__main__":
    sys.exit(main())
