"""The page: the headline, pictures, a section for each noun, parts, runs and the second run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from report import words
from report.compare import with_their_first
from report.document import Block, Cell, Heading, Paragraph, Picture, Table, markdown, page
from report.figure import Figure
from report.interval import LEAST, SINGLE
from report.pictures import pictures
from report.registry import FIGURES, SECTIONS
from report.results import Measured, Results
from report.run import NOT_RUN, OK

TITLE = "What trade_pipeline was measured to do"
_HEAD = (
    "figure",
    "measured",
    "a second run",
    "asked",
    "others",
    "of the floor",
    "size",
    "measured on",
)
_KEPT, _MISSED, _FAILED = "kept", "missed", "its part failed"
_OPEN = "kept by too few to show it"


def write_pages(results: Results, folder: Path) -> list[Path]:
    """Write report.md, report.html and the pictures; returns the two pages."""
    blocks = report(results)
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    for block in blocks:
        if isinstance(block, Picture):
            (folder / "pictures" / f"{block.name}.svg").write_bytes(block.svg)
    written = {"report.md": markdown(blocks), "report.html": page(TITLE, blocks)}
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in written]


def report(results: Results) -> list[Block]:
    """Everything that is known, and what is not."""
    blocks: list[Block] = [
        Heading(TITLE, 1),
        *_summary(results),
        Heading("In short"),
        headline(results),
    ]
    drawn = pictures(results)
    if drawn:
        blocks += [Heading("In pictures"), *drawn]
    for section, title in SECTIONS.items():
        figures = [figure for figure in FIGURES.values() if figure.section == section]
        if figures:
            blocks += [Heading(title), *_section(figures, results)]
    return [*blocks, *_second_run(results), *_parts(results), *_runs(results), *_reading()]


def headline(results: Results) -> Table:
    """The figures that stand for all; sources and commits stand in the sections."""
    figures = [figure for figure in FIGURES.values() if figure.headline]
    rows = []
    for figure in figures:
        what, value, second, asked, _, floor, size, _ = _row(figure, results)
        rows.append([what, value, second, asked, Cell(words.anchors_in_short(figure)), floor, size])
    return Table(_HEAD[:7], rows)


def table(figures: Sequence[Figure], results: Results) -> Table:
    """A row for each figure; a column in which nothing stands is left out."""
    rows = [_row(figure, results) for figure in figures]
    shown = [n for n in range(len(_HEAD)) if n < 2 or any(row[n].text for row in rows)]
    return Table([_HEAD[n] for n in shown], [[row[n] for n in shown] for row in rows])


def _section(figures: Sequence[Figure], results: Results) -> list[Block]:
    """The figures that were measured, and why the others were not."""
    measured = [figure for figure in figures if figure.key in results.figures]
    blocks: list[Block] = [table(measured, results)] if measured else []
    missing: dict[str, list[str]] = {}
    for figure in figures:
        if figure.key not in results.figures:
            missing.setdefault(_why_not(figure, results), []).append(figure.words)
    for why, which in missing.items():
        blocks.append(Paragraph(f"Not measured ({why}): {'; '.join(which)}."))
    return blocks


def _why_not(figure: Figure, results: Results) -> str:
    """Why there is no such figure."""
    part = results.parts.get(figure.part)
    if part is None:
        return f"not run: {figure.part}"
    if part.status == NOT_RUN:
        return f"not run: {part.reason}"
    if part.status == OK:
        # Its part ended well without it: a usual run, or what it compares with is not here.
        return "only in a full run" if figure.only_full else "could not be measured here"
    return f"its part {part.status}: {figure.part}"


def _row(figure: Figure, results: Results) -> list[Cell]:
    asked, others = words.asked_of(figure), words.anchors_of(figure)
    found = results.figures.get(figure.key)
    if found is None:
        return [
            Cell(figure.words), Cell("-"), Cell(_why_not(figure, results)), Cell(asked),
            Cell(others), Cell(""), Cell(""), Cell(""),
        ]  # fmt: skip
    judged = _judged(figure, found)
    keeps = None if judged is None else judged != _MISSED
    if asked:
        asked += f": {judged}"
    if not found.sound:
        keeps, asked = False, f"{asked} ({_FAILED})" if asked else _FAILED
    return [
        Cell(figure.words), Cell(words.value_of(figure, found)),
        Cell(words.interval_of(figure, found)), Cell(asked, keeps), Cell(others),
        Cell(words.of_floor(figure, found, results)), Cell(found.size),
        Cell(words.origin_of(found, results)),
    ]  # fmt: skip


def _judged(figure: Figure, found: Measured) -> str | None:
    """Whether a figure keeps its bound, in a word or some; None: it has none."""
    keeps = figure.keeps(found.value)
    if keeps is None:
        return None
    # That all or none do can be shown by no number of cases.
    if keeps and found.counts and figure.asked not in (0, 100):
        shown = figure.keeps(found.low if figure.more_is_better else found.high)
        return _KEPT if shown else _OPEN
    return _KEPT if keeps else _MISSED


def _summary(results: Results) -> list[Block]:
    told: Counter[str] = Counter()
    for figure in FIGURES.values():
        found = results.figures.get(figure.key)
        if found is None:
            told["not measured"] += 1
        elif not found.sound:
            told["of a part that failed"] += 1
        else:
            told[_judged(figure, found) or "measured, with no bound"] += 1
    counts = ", ".join(f"{count} {what}" for what, count in told.most_common())
    commits = sorted({results.runs[one.run].commit[:10] for one in results.figures.values()})
    failed = [name for name, part in results.parts.items() if part.status not in (OK, NOT_RUN)]
    blocks: list[Block] = [
        Paragraph(f"{len(FIGURES)} figures: {counts}. Commits: {', '.join(commits) or 'none'}.")
    ]
    if failed:
        blocks.append(Paragraph(f"Parts that did not end well: {', '.join(failed)}."))
    return blocks


def _second_run(results: Results) -> list[Block]:
    compared = with_their_first(results)
    if not compared.inside and not compared.outside:
        return []
    rows = [
        [Cell(FIGURES[key].words), Cell(words.value_of(FIGURES[key], second)),
         Cell(words.interval_of(FIGURES[key], first)), Cell("no", False)]
        for key, first, second in compared.outside
    ]  # fmt: skip
    blocks: list[Block] = [
        Heading("A second run against the first"),
        Paragraph(compared.in_short()),
    ]
    if rows:
        blocks.append(Table(("figure", "second run", "the first run's interval", "inside"), rows))
    return blocks


def _parts(results: Results) -> list[Block]:
    rows = [
        [Cell(name), Cell(part.status, None if part.status == NOT_RUN else part.status == OK),
         Cell(f"{part.seconds:,.0f} s"), Cell(part.at), Cell(part.reason)]
        for name, part in sorted(results.parts.items())
    ]  # fmt: skip
    return [Heading("The parts"), Table(("part", "ended", "took", "begun", "why"), rows)]


def _runs(results: Results) -> list[Block]:
    blocks: list[Block] = [Heading("The runs and their machine")]
    for run in sorted(results.runs.values(), key=lambda one: one.at):
        machine = ", ".join(f"{name} {value}" for name, value in run.machine.items())
        floors = "; ".join(
            f"{FIGURES[key].words}: {words.with_unit(value, FIGURES[key].unit)}"
            for key, value in run.floors.items()
        )
        changed = ", with changes that are not committed" if run.changed else ""
        blocks.append(Paragraph(f"{run.at}, commit {run.commit}{changed}. {machine}. {floors}."))
    return blocks


def _reading() -> list[Block]:
    return [
        Heading("How to read this"),
        Paragraph(
            "A value is the median of its repetitions. Beside it stands where the median of a "
            "second run of the same size on the same machine is expected: the 95 % prediction "
            "interval of Student's t of the logarithms, at least as wide as the repetitions and "
            f"as {LEAST:.0%} to each side; of a single repetition, {SINGLE:.0%}. Shares have exact "
            "95 % intervals (Clopper and Pearson). 'Exactly' means that data and seed determine "
            "the value. Others' figures were measured or published as their source says, mostly "
            "on another machine; the floor is this machine's own, measured before and after the "
            "parts of the same run."
        ),
    ]  # fmt: skip
