"""What the command line prints: tables and progress for people, JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from trade_pipeline.core.errors import printable
from trade_pipeline.core.ids import micros
from trade_pipeline.core.records import Session

if TYPE_CHECKING:
    # Features are read with it, and what a user added must not fail before a command runs.
    from trade_pipeline.core.session.engine import Progress as ProgressCall

out = Console()
# Progress and messages never mix with what a program reads.
err = Console(stderr=True)


def print_json(facts: Any) -> None:
    """Facts as JSON on standard output; NaN, which is unknown, as null."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    print(orjson.dumps(facts, option=options, default=str).decode())


def print_table(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Rows of the same keys as a table; nothing for no rows."""
    if not rows:
        return
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(rows[0]):
        numeric = isinstance(rows[0][name], int | float)
        # The first column names the row, for the next command: it stays whole as long as it can.
        table.add_column(
            name.replace("_", " "),
            justify="right" if numeric else "left",
            no_wrap=number == 0,
        )
    for row in rows:
        # Not as markup: a token may be named like it.
        table.add_row(*(Text(printable(text_of(value))) for value in row.values()))
    out.print(table)


def text_of(value: Any) -> str:
    """A value as people read it."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


@contextmanager
def market_progress(start: int, end: int) -> Iterator[ProgressCall]:
    """A progress bar over market time, on standard error; gives the session's callback."""
    with _bar() as bar:
        task = bar.add_task("reading the market", total=end - start)

        def advance(events: int, at: int) -> None:
            bar.update(task, completed=max(0, at - start), description=f"{events:,} market events")

        yield advance


@contextmanager
def sessions_progress() -> Iterator[Callable[[Session], ProgressCall]]:
    """A progress bar over sessions, one after the other; gives what a session's begin asks for."""
    with _bar() as bar:
        task = bar.add_task("reading the records", total=None)

        def begins(session: Session) -> ProgressCall:
            name = f"session {session.session_id[:12]} on {session.market}"
            assert session.range_start is not None
            start = micros(session.range_start)
            total = None if session.range_end is None else micros(session.range_end) - start
            bar.reset(task, total=total, description=name)
            return lambda events, at: bar.update(task, completed=max(0, at - start))

        yield begins


@contextmanager
def rows_progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar over rows, on standard error; gives a callback (rows done, all rows)."""
    with _bar() as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def batch_progress(total: int, what: str = "sessions") -> Iterator[Callable[[float], None]]:
    """A progress bar over runs, on standard error; gives a callback (how many are done)."""
    with _bar() as bar:
        task = bar.add_task(f"0 of {total} {what}", total=total)
        yield lambda done: bar.update(
            task, completed=done, description=f"{int(done)} of {total} {what}"
        )


def _bar() -> Progress:
    return Progress(
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
    )
