"""The parts of the report: one command each, in a process of its own, with a time limit."""

from __future__ import annotations

import fnmatch
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TESTS = ROOT / "trade_pipeline_tests"
_MARK = "pytest.mark.reliability"
# Of what `make reliability` sets: the full counts, fsync included.
FULL_COUNTS = {"TRADE_PIPELINE_TEST_KILLS": "50"}
_HOUR = 3_600.0


class UnknownPart(ValueError):
    """A pattern that no part's name matches."""


@dataclass(frozen=True, slots=True)
class Part:
    """A benchmark, or a file of tests of reliability.

    Attributes:
        script: the program, from the root of the repository; ``DATA`` stands for the folder.
        short: its arguments in a usual run; None: only a full run has it.
        full: its arguments in a full run; None: those of a usual one.
        limit: seconds that it may take in a usual run; a full run's may take ``full_limit``.
        data: a recording that it needs.
    """

    name: str
    script: str
    short: tuple[str, ...] | None = ()
    full: tuple[str, ...] | None = None
    limit: float = 1_200.0
    full_limit: float = 4 * _HOUR
    data: str | None = None

    def command(self, data: Path | None, *, full: bool) -> list[str] | str:
        """What to run, or the reason why it is not."""
        arguments = self.full if full and self.full is not None else self.short
        if arguments is None:
            return "only in a full run: FULL=1"
        if not (ROOT / self.script).exists():
            return f"{self.script} is not there"
        if self.data is not None:
            if data is None:
                return f"needs the recording {self.data}: DATA=folder"
            if not (data / self.data).is_dir():
                return f"{data / self.data} is not there"
        start = ("-m", "pytest", "-n0", "-s", "-m", "reliability") if self.is_test else ()
        given = (one.replace("DATA", str(data)) for one in arguments)
        return [sys.executable, *start, self.script, *given]

    @property
    def is_test(self) -> bool:
        return self.script.startswith(TESTS.name)


def _markets(script: str) -> Iterable[Part]:
    days = {"session": ("2021-09-03", "2021-10-08"), "replay": ("2021-05-01", "2021-05-15")}
    spot = {"session": ("2021-01-01", "2022-01-01"), "replay": ("2021-05-01", "2021-06-05")}
    yield Part(
        f"{script}-simulated", f"benchmarks/{script}.py", ("--end", days[script][1])
        if script == "session" else ("--end", "2021-05-08"),
    )  # fmt: skip
    for market, folder, span in (
        ("uniswap-v2", "uniswap_v2", ("2021-09-03", "2021-10-08")),
        ("spot-1h", "spot_1h", spot[script]),
    ):
        yield Part(
            f"{script}-{market}", f"benchmarks/{script}.py",
            ("--market", market, "--data", f"DATA/{folder}", "--start", span[0], "--end", span[1]),
            data=folder,
        )  # fmt: skip


_TAPE = ("--market", "uniswap-v2", "--data", "DATA/uniswap_v2", "--start", "2021-05-01")
BENCHMARKS = (
    *_markets("session"),
    *_markets("replay"),
    Part("features", "benchmarks/features.py", ("--feast",)),
    Part("online", "benchmarks/online.py"),
    Part("live", "benchmarks/live.py"),
    Part("ledger", "benchmarks/ledger.py"),
    Part("models", "benchmarks/models.py", ("--mlflow",)),
    Part(
        "provenance", "benchmarks/provenance.py", ("--trades", "100000"),
        ("--trades", "10000000"),
    ),
    Part("rug", "benchmarks/rug.py", ("--data", "DATA"), data="rug_benchmarks"),
    Part("canary", "benchmarks/canary.py", ("--data", "DATA"), data="spot_1h"),
    Part(
        "gates", "benchmarks/gates.py",
        ("--data", "DATA", "--noise", "12", "--signal", "6", "--leak", "3"),
        ("--data", "DATA"), data="spot_1h", full_limit=12 * _HOUR,
    ),
    Part("celery_workers", "benchmarks/celery_workers.py", limit=2_400),
    Part("daily", "benchmarks/daily.py"),
    Part("dagster_runs", "benchmarks/dagster_runs.py"),
    Part("restore_drill", "benchmarks/restore_drill.py"),
    Part("demo", "benchmarks/demo.py", None, ()),
    Part("sustained", "benchmarks/live.py", None, ("--sustained", "10")),
    Part(
        "soak", "benchmarks/soak.py", None, ("--minutes", "30", "--kill", *_TAPE),
        data="uniswap_v2",
    ),
)  # fmt: skip
FLOORS = Part("floors", "benchmarks/floors.py", limit=120)


def reliability_parts() -> list[Part]:
    """Each file of tests that has one of reliability, by its folder and name."""
    found = []
    for file in sorted(TESTS.rglob("test_*.py")):
        if _MARK in file.read_text():
            name = f"{file.parent.name}/{file.stem.removeprefix('test_')}"
            found.append(Part(name, str(file.relative_to(ROOT)), full_limit=6 * _HOUR))
    return found


def chosen(parts: Sequence[Part], only: str) -> list[Part]:
    """Those whose names match one of the patterns between commas; all of none.

    Raises:
        UnknownPart: a pattern matches no name.
    """
    patterns = [one.strip() for one in only.split(",") if one.strip()]
    names = [part.name for part in parts]
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UnknownPart(f"ONLY={pattern}: there are {', '.join(names)}")
    return [
        part for part in parts
        if not patterns or any(fnmatch.fnmatchcase(part.name, one) for one in patterns)
    ]  # fmt: skip
