"""Whatever others wrote is read, or refused with a clear error: no other exception, no crash.

A short run takes some thousands of inputs; `make reliability` takes a million.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from report.record import counted

from trade_pipeline.core.document import MAX_BYTES, parse_document
from trade_pipeline.core.errors import BadConfig
from trade_pipeline_tests.conftest import KILLS
from trade_pipeline_tests.fuzz.mutations import mutate
from trade_pipeline_tests.fuzz.run import registry

SHORT, FULL = 2_000, 1_000_000
SEED = int(os.environ.get("TRADE_PIPELINE_TEST_SEED", "1"))


def fuzzed(count: int, folder: Path, seed: int, parts: int) -> Iterator[dict[str, object]]:
    """What each reader made of its inputs, from processes of their own."""
    running = []
    for part in range(parts):
        at = folder / f"at-{part}"
        command = [
            sys.executable, "-m", "trade_pipeline_tests.fuzz.run", "--seed", str(seed),
            "--count", str(count), "--part", str(part), "--parts", str(parts), "--at", str(at),
        ]  # fmt: skip
        output = (folder / f"out-{part}").open("w+")
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.PIPE, text=True)
        running.append((process, output, at))
    try:
        for process, output, at in running:
            _, told = process.communicate(timeout=max(300, count / 100))
            last = at.read_bytes().rstrip(b"\0").decode() if at.exists() else "its start"
            assert process.returncode == 0, f"ended by {last} (seed {seed}): {told[-2000:]}"
            output.seek(0)
            yield from map(json.loads, output)
    finally:
        for process, output, _ in running:
            process.kill()
            process.wait()
            output.close()


def totals(found: Iterator[dict[str, object]]) -> tuple[dict[str, int], list[object]]:
    """Inputs by reader, and the findings."""
    counts: dict[str, int] = {}
    findings: list[object] = []
    for one in found:
        name = str(one["parser"])
        counts[name] = counts.get(name, 0) + int(str(one["inputs"]))
        findings += [(name, told) for told in one["findings"]]  # type: ignore[attr-defined]
    return counts, findings


def test_malformed_inputs_are_read_or_refused_by_every_reader(tmp_path: Path) -> None:
    counts, findings = totals(fuzzed(SHORT, tmp_path, SEED, 1))
    assert findings == []
    assert sum(counts.values()) >= SHORT
    assert min(counts.values()) >= 5


@pytest.mark.reliability
@pytest.mark.skipif(KILLS < 50, reason="minutes: make reliability runs it")
def test_a_million_malformed_inputs(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    counts, findings = totals(fuzzed(FULL, tmp_path, SEED, 2))
    with capfd.disabled():
        print()
        for name, number in counts.items():
            print(f"{name:40} {number:>9,}")
        print(f"{'malformed inputs':40} {sum(counts.values()):>9,}; findings: {len(findings)}")
    number = sum(counts.values())
    size = f"{len(counts)} readers"
    counted("operations.malformed_handled", max(0, number - len(findings)), number, size=size)
    assert findings == []
    assert number >= FULL


def test_the_samples_are_valid_and_inputs_are_the_same_again(tmp_path: Path) -> None:
    """A reader that refuses its samples would be fuzzed for nothing."""
    for parser in registry(tmp_path / "made"):
        for sample in parser.samples:
            if parser.name not in ("order",):
                parser.parse(sample)
        assert parser.input(1, 5) == parser.input(1, 5)
    samples = [b'{"a": [1, 2, {"b": "c"}]}']
    made = {mutate(Random(number), samples, "json") for number in range(200)}
    assert len(made) > 150


BOMBS = {
    "an alias, which multiplies": (".yaml", b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]"),
    "a tag, which makes objects": (".yaml", b"a: !!python/object/apply:os.system [ls]"),
    "a name given twice": (".yaml", b"a: 1\na: 2"),
    "a name given twice in JSON": (".json", b'{"a": 1, "a": 2}'),
    "a name of thousands of parts": (".toml", b"a." * 60_000 + b"a = 1"),
    "brackets without end": (".json", b'{"a":' + b"[" * 100_000),
    "brackets without end in TOML": (".toml", b"a=" + b"[" * 100_000),
    "brackets without end in YAML": (".yaml", b"a: " + b"[" * 100_000),
    "a number of thousands of digits": (".toml", b"a = 0x" + b"f" * 10_000),
    "no number": (".json", b'{"a": NaN}'),
    "no end of numbers": (".yaml", b"a: .inf"),
    "NUL": (".json", b'{"a": "\\u0000"}'),
    "half a character": (".json", b'{"a": "\\ud800"}'),
    "another encoding": (".toml", 'a = "ü"'.encode("utf-16")),
    "too many bytes": (".toml", b"#" * (MAX_BYTES + 1)),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_documents_that_would_cost_time_memory_or_code_are_refused(bomb: str) -> None:
    end, data = BOMBS[bomb]
    with pytest.raises(BadConfig):
        parse_document(data, end, "file")
