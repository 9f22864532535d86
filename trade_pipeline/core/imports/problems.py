"""What is wrong with a file of trades: all of it that a person reads at once, by line and field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trade_pipeline.core.errors import TradePipelineError

SHOWN = 20
_LONGEST = 80


@dataclass(frozen=True, slots=True)
class Problem:
    """One value that cannot be taken.

    Attributes:
        row: line of a CSV file, number of the trade (from 1) in a JSON file; 0: the whole file.
        expected: what would have been right.
    """

    row: int
    field: str
    value: object
    expected: str

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."
        where = f"row {self.row}: " if self.row else ""
        return f"{where}{self.field}={shown}: expected {self.expected}"


class BadTrades(TradePipelineError, ValueError):
    """A file of trades that cannot be taken as it is; nothing of it was stored."""

    def __init__(self, file: str, problems: Sequence[Problem]) -> None:
        shown = [str(problem) for problem in problems[:SHOWN]]
        if len(problems) > SHOWN:
            shown.append(f"... and {len(problems) - SHOWN} more")
        super().__init__("\n  ".join([f"{file}: nothing was imported", *shown]))
        self.problems = tuple(problems)


class Refused(Exception):
    """One value of a row; whoever knows the row makes a `Problem` of it."""

    def __init__(self, field: str, value: object, expected: str) -> None:
        super().__init__(field)
        self.field = field
        self.value = value
        self.expected = expected

    def of_row(self, row: int) -> Problem:
        """The problem of a row."""
        return Problem(row, self.field, self.value, self.expected)
