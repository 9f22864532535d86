"""The headline table in the README, between two marks."""

from __future__ import annotations

from pathlib import Path

from report.document import Paragraph, markdown
from report.page import headline
from report.results import Results

BEGIN, END = "<!-- headline -->", "<!-- /headline -->"


class BadReadme(ValueError):
    """The file has no place for the table."""


def put_headline(file: Path, results: Results) -> None:
    """Put the table where the marks are; all else stays as it is.

    Raises:
        BadReadme: the file is not there, or the marks are not there once and in order.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise BadReadme(f"{file}: is not there") from error
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise BadReadme(f"{file}: {BEGIN} and {END} are not there once, in this order")
    shown = markdown([headline(results), Paragraph(_told(results))])
    file.write_text(f"{before}{BEGIN}\n{shown}{END}{after}", encoding="utf-8")


def _told(results: Results) -> str:
    """Which machine the figures are of."""
    runs = sorted(results.runs.values(), key=lambda run: run.at)
    if not runs:
        return "Nothing was measured yet."
    machine = ", ".join(
        f"{runs[-1].machine[name]}{word}"
        for name, word in (("processor", ""), ("cores", " cores"), ("memory", ""))
        if name in runs[-1].machine
    )
    commits = {results.runs[one.run].commit[:10] for one in results.figures.values()}
    told = f"Measured on {machine}; {', '.join(sorted(commits))}."
    return f"{told} All others: the page that make bench writes (docs/benchmarks.md)."
