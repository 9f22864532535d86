"""The one page: every figure has its place, and nothing is told that was not measured."""

from __future__ import annotations

import ast
import json
import re
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import bench
import psutil
import pytest
import report.run
from hypothesis import given
from hypothesis import strategies as st
from report.compare import compare, with_their_first
from report.document import Cell, Paragraph, Table, markdown, page
from report.figure import Figure
from report.interval import of_repetitions, of_share
from report.page import headline, table, write_pages
from report.page import report as blocks_of
from report.parts import BENCHMARKS, FLOORS, ROOT, Part, UnknownPart, chosen, reliability_parts
from report.readme import BEGIN, END, BadReadme, put_headline
from report.record import FILE, computed, counted, measured
from report.registry import FIGURES, SECTIONS
from report.results import BadResults, Ended, Measured, Results, Run, combined
from report.run import run_parts

KEY, SHARE = "ledger.verify_s", "gates.noise_passed"
RUN = Run("0123456789abcdef", False, "2026-01-01T00:00:00+00:00", {"cores": "2"})


def one(value: float = 10.0, **other: Any) -> Measured:
    given: dict[str, Any] = {
        "value": value, "low": 9.0, "high": 12.0, "size": "1,000,000 records", "values": [value],
        "counts": [], "part": "ledger", "run": "first", "at": "2026-01-01", "full": False,
        "sound": True,
    }  # fmt: skip
    return Measured(**(given | other))


def results(**figures: Measured) -> Results:
    given = {key.replace("__", "."): figure for key, figure in figures.items()}
    return Results(given, {}, {"first": RUN, "second": replace(RUN, commit="fedcba9876543210")})


# What is recorded is registered, and the reverse.


def _recorded() -> dict[str, set[str]]:
    """Of each file that records figures, patterns of their keys."""
    found: dict[str, set[str]] = {}
    files = [*(ROOT / "benchmarks").glob("*.py"), *(ROOT / "trade_pipeline_tests").rglob("test_*")]
    for file in files:
        if file.suffix != ".py" or file == Path(__file__) or "report.record" not in (
            text := file.read_text()
        ):  # fmt: skip
            continue
        tree = ast.parse(text)
        keys = found.setdefault(str(file.relative_to(ROOT)), set())
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and node.value in FIGURES:
                keys.add(re.escape(node.value))
            called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            if called and node.func.id in ("measured", "counted", "computed"):
                key = node.args[0]
                if isinstance(key, ast.Constant):
                    keys.add(re.escape(key.value))
                elif isinstance(key, ast.JoinedStr):
                    keys.add("".join(
                        re.escape(part.value) if isinstance(part, ast.Constant) else ".+"
                        for part in key.values
                    ))  # fmt: skip
    return found


def test_every_registered_figure_is_recorded_and_every_recorded_one_is_registered() -> None:
    recorded = _recorded()
    patterns = set().union(*recorded.values())
    for pattern in patterns:
        assert any(re.fullmatch(pattern, key) for key in FIGURES), f"{pattern} is not registered"
    scripts = {part.name: part.script for part in [*BENCHMARKS, *reliability_parts(), FLOORS]}
    for key, figure in FIGURES.items():
        assert figure.part in scripts, f"{key}: no part is named {figure.part}"
        if not (ROOT / scripts[figure.part]).exists():
            continue
        # A benchmark may have its work in a module beside it; a test records for itself.
        own = scripts[figure.part] if "/" in figure.part else None
        places = [recorded.get(own, set())] if own else recorded.values()
        assert any(re.fullmatch(one, key) for found in places for one in found), (
            f"{key} is recorded nowhere in {figure.part}"
        )


def test_every_figure_has_a_section_and_every_benchmark_a_figure() -> None:
    assert {figure.section for figure in FIGURES.values()} <= SECTIONS.keys()
    assert {part.name for part in BENCHMARKS} <= {figure.part for figure in FIGURES.values()}
    assert {f.floor for f in FIGURES.values() if f.floor} <= FIGURES.keys()
    assert len({figure.words for figure in FIGURES.values() if figure.headline}) > 10


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: measured("ledger.nothing", [1.0]), "ledger.nothing: is not in"),
        (lambda: measured(KEY, []), "values=[]"),
        (lambda: measured(KEY, [1.0, float("nan")]), "nan"),
        (lambda: counted(SHARE, 3, 2), "found=3 of=2"),
        (lambda: counted(KEY, 1, 2), "counts are of the unit %"),
        (lambda: computed(KEY, float("inf")), "inf"),
    ],
)
def test_what_is_no_figure_is_refused_by_name(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        call()


def test_what_is_taken_down_of_one_key_belongs_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "figures"
    monkeypatch.setenv(FILE, str(file))
    measured(KEY, [1.0, 3.0], size="a million")
    measured(KEY, [2.0])
    counted(SHARE, 1, 1)
    counted(SHARE, 0, 3)
    computed("rugs.kang_mcc", 0.9, low=0.8, high=0.95)
    counted("gates.leak_passed", 0, 0)
    found = combined(json.loads(line) for line in file.read_text().splitlines())
    assert found[KEY]["value"] == 2.0
    assert (found[KEY]["values"], found[KEY]["size"]) == ([1.0, 3.0, 2.0], "a million")
    assert (found[SHARE]["value"], found[SHARE]["counts"]) == (25.0, [1, 4])
    assert (found["rugs.kang_mcc"]["low"], found["rugs.kang_mcc"]["high"]) == (0.8, 0.95)
    assert "gates.leak_passed" not in found


# Intervals.


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=20))
def test_an_interval_holds_every_repetition_and_is_never_empty(values: list[float]) -> None:
    value, low, high = of_repetitions(values)
    assert low <= min(values) <= value <= max(values) <= high
    assert high - low >= 0.49 * abs(value)


def test_a_second_run_lies_within_the_interval_as_often_as_is_said() -> None:
    import numpy as np

    draw = np.random.default_rng(1)
    for repetitions in (3, 5, 20):
        runs = np.exp(draw.normal(0, 0.5, (2, 600, repetitions)))
        inside = 0
        for first, second in zip(*runs, strict=True):
            _, low, high = of_repetitions(first.tolist())
            inside += low <= np.median(second) <= high
        assert inside / 600 > 0.92


def test_a_share_of_none_still_says_how_large_it_may_be() -> None:
    value, low, high = of_share(0, 500)
    assert (value, low) == (0, 0)
    assert high == pytest.approx(0.735, abs=0.01)


# Merging.


def test_figures_are_merged_by_key_and_remember_what_was_said_before() -> None:
    found = results(ledger__verify_s=one())
    found.merge(SHARE, one(1.0, size=""))
    found.merge(KEY, one(11.0, run="second"))
    assert found.figures[KEY].before is not None
    assert (found.figures[KEY].value, found.figures[KEY].before["value"]) == (11.0, 10.0)
    found.merge(KEY, one(11.5, run="second"))
    assert (found.figures[KEY].value, found.figures[KEY].before["value"]) == (11.5, 10.0)
    found.merge(KEY, one(5.0, run="third", size="1,000 records"))
    assert found.figures[KEY].before is None
    assert found.figures[SHARE].value == 1.0


def test_a_usual_size_never_takes_the_place_of_a_full_one() -> None:
    found = results(gates__noise_passed=one(0.2, full=True))
    found.merge(SHARE, one(8.0, full=False, run="second"))
    assert found.figures[SHARE].value == 0.2
    found.merge(SHARE, one(0.0, full=True, run="second"))
    assert found.figures[SHARE].value == 0.0


def test_results_are_read_as_they_were_written_and_a_wrong_file_is_named(tmp_path: Path) -> None:
    found = results(ledger__verify_s=one())
    found.merge(KEY, one(11.0, run="second"))
    found.parts["ledger"] = Ended("ok", "", "2026-01-01", 3.0, "second")
    found.runs["nobody"] = RUN
    found.write(tmp_path)
    read = Results.read(tmp_path)
    assert (read.figures, read.parts) == (found.figures, found.parts)
    assert read.runs.keys() == {"first", "second"}
    assert Results.read(tmp_path / "nothing") == Results()
    for wrong in ("{", "[]", '{"figures": {"a": {"value": 1}}, "parts": {}, "runs": {}}'):
        (tmp_path / "figures.json").write_text(wrong)
        with pytest.raises(BadResults, match=r"figures\.json"):
            Results.read(tmp_path)
        assert bench.main(["--folder", str(tmp_path), "page"]) == 2


def test_runs_at_the_same_time_keep_what_the_others_have_said(tmp_path: Path) -> None:
    def change(number: int) -> None:
        for _ in range(10):
            with Results.changed(tmp_path) as found:
                found.runs["first"] = RUN
                known = found.figures.get(KEY, one(0.0))
                found.figures[KEY] = replace(known, value=known.value + 1)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(change, range(4)))
    assert Results.read(tmp_path).figures[KEY].value == 40


# The page.


def row_of(found: Results, key: str) -> list[Cell]:
    (row,) = table([FIGURES[key]], found).rows
    return list(row)


def test_a_figure_that_was_not_measured_says_why_and_has_no_number() -> None:
    found = results()
    assert [cell.text for cell in row_of(found, SHARE)[1:3]] == ["-", "not run: gates"]
    found.parts["gates"] = Ended("not run", "needs a recording", "2026-01-01", 0.0, "first")
    assert row_of(found, SHARE)[2].text == "not run: needs a recording"
    found.parts["gates"] = Ended("timed out", "after 600 s", "2026-01-01", 600.0, "first")
    assert row_of(found, SHARE)[2].text == "its part timed out: gates"
    paragraphs = [one.text for one in blocks_of(found) if isinstance(one, Paragraph)]
    assert any(FIGURES[SHARE].words in text and "timed out" in text for text in paragraphs)


def test_a_bound_that_is_missed_and_a_part_that_failed_are_said() -> None:
    for value, sound, told, holds in (
        (10.0, True, "at most 60 s: kept", True),
        (61.0, True, "at most 60 s: missed", False),
        (10.0, False, "at most 60 s: kept (its part failed)", False),
    ):
        cell = row_of(results(ledger__verify_s=one(value, sound=sound)), KEY)[3]
        assert (cell.text, cell.holds) == (told, holds)


def test_a_figure_shows_its_commit_size_floor_and_what_others_reach() -> None:
    found = results(models__register_ms=one(20.0, size="20 models"))
    found.runs["first"] = replace(RUN, floors={"machine.commit_ms": 0.2}, changed=True)
    cells = [cell.text for cell in row_of(found, "models.register_ms")]
    assert cells[1] == "20 ms"
    assert "MLflow 3.17: 5,700 ms" in cells[4]
    assert cells[5] == "100 x 0.200 ms"
    assert cells[6] == "20 models"
    assert cells[7] == "0123456789 with changes, 2026-01-01"


def test_the_page_is_written_with_all_its_pictures_and_with_nothing(tmp_path: Path) -> None:
    found = results()
    write_pages(found, tmp_path)
    assert not list((tmp_path / "pictures").iterdir())
    drawn_of = ("canary", "live", "models")
    for key, figure in FIGURES.items():
        if figure.section not in drawn_of:
            continue
        value = 50.0 if figure.unit == "%" else 3.0
        counts = [5, 10] if figure.unit == "%" else []
        low, high = value / 2, value * 1.5
        found.merge(key, one(value, low=low, high=high, counts=counts))
        found.merge(key, one(value * 1.1, low=low, high=high, counts=counts, run="second"))
    write_pages(found, tmp_path)
    drawn = {file.stem for file in (tmp_path / "pictures").glob("*.svg")}
    assert drawn == {"anchors", "bounds", "latencies", "canaries", "second-run"}
    html = (tmp_path / "report.html").read_text()
    assert html.count("data:image/svg+xml;base64,") == len(drawn)
    assert "http" not in re.sub(r'src="[^"]*"', "", html)


EVIL = "<script>alert(1)</script> | a `b` [c](d) & \n# e"


def test_nothing_that_was_measured_is_taken_for_markup() -> None:
    shown = [Paragraph(EVIL), Table(("a",), [[Cell(EVIL)]])]
    html = page(EVIL, shown)
    assert "<script>" not in html
    assert html.count("&lt;script&gt;") == 3
    text = markdown(shown)
    assert "<script>" not in text
    table = text.split("\n\n")[1].splitlines()
    assert len(table) == 3
    assert table[2].replace("\\|", "").count("|") == 2
    assert "](d)" not in text.replace("\\](d)", "")


# The second run.


def test_a_second_run_is_held_against_the_first_s_intervals(tmp_path: Path) -> None:
    first = results(ledger__verify_s=one(), ledger__head_ms=one(), gates__noise_passed=one())
    second = results(
        ledger__verify_s=one(11.9), ledger__head_ms=one(12.1),
        gates__noise_passed=one(size="500"), models__load_ms=one(),
    )  # fmt: skip
    for key, measured_again in second.figures.items():
        second.figures[key] = replace(measured_again, run="second")
    found = compare(first, second)
    assert compare(first, first).alone.keys() == first.figures.keys()
    assert [key for key, *_ in found.inside] == ["ledger.verify_s"]
    assert [key for key, *_ in found.outside] == ["ledger.head_ms"]
    assert found.alone.keys() == {"gates.noise_passed", "models.load_ms"}
    told = found.told()
    assert "1 of 2 figures = 50 %" in told.replace("50%", "50 %")
    assert "outside: ledger.head_ms: 12.1 ms, the first run said 10 ms, 9 to 12" in told
    same = Results(
        {key: replace(figure, run="second") for key, figure in first.figures.items()},
        {}, first.runs,
    )  # fmt: skip
    for name, written in (("a", first), ("b", second), ("same", same)):
        written.write(tmp_path / name)
    assert bench.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert bench.main(["compare", str(tmp_path / "a"), str(tmp_path / "same")]) == 0
    assert bench.main(["compare", str(tmp_path / "a"), str(tmp_path / "none")]) == 1


def test_what_is_computed_is_the_same_but_for_its_last_bits() -> None:
    exact = one(0.1, low=0.1, high=0.1)
    assert exact.holds(0.1 + 1e-17)
    assert not exact.holds(0.1001)


def test_the_page_tells_how_much_of_a_second_run_was_as_said() -> None:
    found = results(ledger__verify_s=one(), ledger__head_ms=one())
    found.merge(KEY, one(11.0, run="second"))
    found.merge("ledger.head_ms", one(20.0, run="second"))
    compared = with_their_first(found)
    assert (len(compared.inside), len(compared.outside)) == (1, 1)
    assert any(
        isinstance(block, Paragraph) and block.text.startswith("1 of 2 figures")
        for block in blocks_of(found)
    )


# The README.


def test_the_headline_table_is_put_between_its_marks_and_all_else_stays(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    file.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    found = results(ledger__verify_s=one())
    for _ in range(2):
        put_headline(file, found)
        text = file.read_text()
        assert text.startswith(f"before\n{BEGIN}\n| figure |")
        assert text.endswith(f"{END}\nafter\n")
        assert "old" not in text
        assert text.count("verifying a million records | 10 s | 9 to 12 |") == 1
    assert len(headline(found).rows) == sum(figure.headline for figure in FIGURES.values())


@pytest.mark.parametrize("text", ["none", BEGIN, END, END + BEGIN, 2 * (BEGIN + END), None])
def test_a_readme_without_its_marks_is_named_and_left(tmp_path: Path, text: str | None) -> None:
    file = tmp_path / "README.md"
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadReadme, match=r"README\.md"):
        put_headline(file, results())
    assert text is None or file.read_text() == text


# The parts.


@pytest.fixture
def without_floors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = {"key": "machine.commit_ms", "size": "", "values": [0.2]}
    rest = [{"key": key, "size": "", "values": [1.0]} for key, figure in FIGURES.items()
            if figure.part == "floors" and key != line["key"]]  # fmt: skip
    monkeypatch.setattr(report.run, "FLOORS", program(tmp_path, "floors", [line, *rest]))


def program(folder: Path, name: str, lines: list[dict[str, Any]], after: str = "") -> Part:
    """A part that takes down lines, and then does something else."""
    script = folder / f"{name}.py"
    script.write_text(textwrap.dedent(f"""
        import os, subprocess, sys, time
        with open(os.environ["{FILE}"], "a") as out:
            out.write({"".join(json.dumps(line) + chr(10) for line in lines)!r})
        print("it works", flush=True)
        """) + after)  # fmt: skip
    return Part(name, str(script), limit=2.0)


LOADED = {"key": "models.load_ms", "size": "", "values": [3.0]}


@pytest.mark.usefixtures("without_floors")
def test_a_part_that_fails_is_told_and_the_others_and_the_page_are_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [
        program(tmp_path, "broken", [LOADED], "raise SystemExit('no such thing')"),
        program(tmp_path, "well", [LOADED | {"key": "models.explain_ms"}]),
        Part("absent", "benchmarks/not_there.py"),
        Part("recorded", str(tmp_path / "well.py"), data="spot_1h"),
        Part("long", str(tmp_path / "well.py"), None, ()),
        program(tmp_path, "ledger", [LOADED | {"key": KEY}]),
    ]
    folder = tmp_path / "reports"
    assert not run_parts(parts, folder, None, full=False)
    found = Results.read(folder)
    assert found.parts["broken"].status == "failed"
    assert "no such thing" in found.parts["broken"].reason
    assert not found.figures["models.load_ms"].sound
    assert found.parts["well"].status == "ok"
    assert found.figures["models.explain_ms"].value == 3.0
    assert {name: found.parts[name].reason for name in ("absent", "recorded", "long")} == {
        "absent": "benchmarks/not_there.py is not there",
        "recorded": "needs the recording spot_1h: DATA=folder",
        "long": "only in a full run: FULL=1",
    }
    # It ended well without what it is there for.
    assert found.parts["ledger"].status == "failed"
    assert "ledger.head_ms" in found.parts["ledger"].reason
    (run,) = found.runs.values()
    assert run.floors["machine.commit_ms"] == 0.2
    assert found.figures["machine.commit_ms"].values == [0.2, 0.2]
    assert (folder / "logs" / "well.txt").read_text() == "it works\n"
    assert "it works" in capsys.readouterr().out
    write_pages(found, folder)
    # What cannot be run now keeps what it has said before.
    found.parts["absent"] = Ended("ok", "", "2026-01-01", 1.0, next(iter(found.runs)))
    found.write(folder)
    assert run_parts(parts[1:3], folder, None, full=True)
    assert Results.read(folder).parts["absent"].status == "ok"
    assert Results.read(folder).figures["models.explain_ms"].before is not None


@pytest.mark.usefixtures("without_floors")
def test_a_part_that_hangs_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    started = tmp_path / "started"
    hangs = f"""
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({str(started)!r}, "w").write(str(child.pid))
time.sleep(600)
"""
    part = program(tmp_path, "hangs", [LOADED], hangs)
    assert not run_parts([part], tmp_path / "reports", None, full=False)
    found = Results.read(tmp_path / "reports")
    assert (found.parts["hangs"].status, found.parts["hangs"].reason) == ("timed out", "after 2 s")
    assert not found.figures["models.load_ms"].sound
    pid = int(started.read_text())
    # Where nobody collects orphans, it stays as a zombie.
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_parts_are_chosen_by_name_or_pattern_and_others_are_refused() -> None:
    names = [part.name for part in chosen(BENCHMARKS, "ledger, replay-*")]
    assert names == ["replay-simulated", "replay-uniswap-v2", "replay-spot-1h", "ledger"]
    assert chosen(BENCHMARKS, "") == list(BENCHMARKS)
    with pytest.raises(UnknownPart, match="ONLY=leger: there are"):
        chosen(BENCHMARKS, "leger")
    assert bench.main(["run", "--only", "leger"]) == 2
    assert bench.main(["run", "--data", "/not/there"]) == 2
    assert bench.main(["reliability", "--only", "nothing"]) == 2


def test_every_file_with_a_test_of_reliability_is_a_part_with_a_name_of_its_own() -> None:
    found = reliability_parts()
    assert len({part.name for part in found}) == len(found)
    by_name = {part.name: part for part in found}
    assert {"live/chaos", "session/kills", "canary/kills", "ledger/edits"} <= by_name.keys()
    command = by_name["live/chaos"].command(None, full=False)
    assert command[:2] == [sys.executable, "-m"]
    assert command[-3:] == ["-m", "reliability", "trade_pipeline_tests/core/live/test_chaos.py"]


def test_a_full_run_has_its_own_arguments_and_a_recording_its_folder(tmp_path: Path) -> None:
    gates = next(part for part in BENCHMARKS if part.name == "gates")
    (tmp_path / "spot_1h").mkdir()
    short, full = (gates.command(tmp_path, full=how) for how in (False, True))
    assert str(tmp_path) in short
    assert "--noise" in short
    assert "--noise" not in full
    assert gates.command(tmp_path / "other", full=False) == f"{tmp_path}/other/spot_1h is not there"


@pytest.mark.parametrize(
    ("found", "of", "said"),
    [(0, 12, "kept by too few to show it"), (0, 4_000, "kept"), (1, 12, "missed")],
)
def test_a_share_that_so_few_cannot_show_is_not_said_to_be_kept(
    found: int, of: int, said: str
) -> None:
    value, low, high = of_share(found, of)
    share = one(value, low=low, high=high, values=[], counts=[found, of], part="gates")
    row = table([FIGURES[SHARE]], results(gates__noise_passed=share)).rows[0]
    assert f"at most 0.2 %: {said}" in [cell.text for cell in row]


def test_up_is_better_or_down_is() -> None:
    less = Figure("a.b", "", "ms", "p", asked=2.0)
    more = replace(less, more_is_better=True)
    assert [less.keeps(value) for value in (1.0, 2.0, 3.0)] == [True, True, False]
    assert [more.keeps(value) for value in (1.0, 2.0, 3.0)] == [False, True, True]
    assert replace(less, asked=None).keeps(1.0) is None
