"""What a market answered about tokens at moments, as steps that give the same answers again.

A step holds from its moment to the next step's.  Only what differs from the step before is noted,
and whatever was asked in between is still answered as it was: facts are asked about now, about six
hours ago and about a day ago, in this order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.market.windows import LOOKBACK

# Steps of a token that are kept before old ones are forgotten.
_MANY = 512


@dataclass(frozen=True, slots=True)
class Told:
    """An answer: its columns, and their values as bytes (NaN is always the same NaN)."""

    names: tuple[str, ...]
    values: bytes

    @classmethod
    def rows(cls, columns: Mapping[str, Floats]) -> list[Told]:
        """The rows of some columns."""
        names = tuple(columns)
        table = np.stack([np.asarray(columns[name], np.float64) for name in names], axis=1)
        table[np.isnan(table)] = np.nan
        return [cls(names, row.tobytes()) for row in table]

    def numbers(self) -> list[float]:
        values: list[float] = np.frombuffer(self.values).tolist()
        return values


T = TypeVar("T")


@dataclass(slots=True)
class Steps(Generic[T]):
    """The answers about one token.

    Attributes:
        first, last: moments of each step between which it was asked; no step reaches the next one.
    """

    first: list[int] = field(default_factory=list)
    last: list[int] = field(default_factory=list)
    told: list[T] = field(default_factory=list)

    @classmethod
    def stored(cls, rows: Sequence[tuple[int, T]], asked_to: int) -> Steps[T]:
        """Steps that were noted before, in their order; any moment between them may be one that was
        asked about, up to ``asked_to``.
        """
        steps = cls()
        for at, told in rows:
            if steps.first and steps.first[-1] == at:
                steps.told[-1] = told
                continue
            if steps.last:
                steps.last[-1] = at - 1
            steps._insert(len(steps.first), at, max(at, asked_to), told)
        return steps

    def note(self, at: int, told: T) -> list[tuple[int, T]]:
        """Note an answer; gives the steps that must be stored for it, later ones over earlier."""
        step = bisect_right(self.first, at) - 1
        if step >= 0 and self.told[step] == told:
            self.last[step] = max(self.last[step], at)
            return []
        if step >= 0 and at <= self.last[step]:
            return self._split(step, at, told)
        if step + 1 < len(self.first) and self.told[step + 1] == told:
            self.first[step + 1] = at
        else:
            self._insert(step + 1, at, at, told)
            if len(self.first) > _MANY:
                self._forget(self.first[-1] - LOOKBACK)
        return [(at, told)]

    def _split(self, step: int, at: int, told: T) -> list[tuple[int, T]]:
        """Another answer within a step: whatever was asked after it keeps the step's."""
        before, last = self.told[step], self.last[step]
        stored = [(at, told)]
        if self.first[step] == at:
            self.told[step], self.last[step] = told, at
        else:
            self.last[step] = at - 1
            step += 1
            self._insert(step, at, at, told)
        if last > at:
            self._insert(step + 1, at + 1, last, before)
            stored.append((at + 1, before))
        return stored

    def _insert(self, step: int, first: int, last: int, told: T) -> None:
        self.first.insert(step, first)
        self.last.insert(step, last)
        self.told.insert(step, told)

    def _forget(self, before: int) -> None:
        """Drop old steps: nobody asks about a moment as long ago."""
        old = bisect_right(self.last, before)
        del self.first[:old], self.last[:old], self.told[:old]
