"""Facts of tokens that grow while a session runs: what was known when, and from which answers."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import DAY, FACT_NAMES, SENTIMENT, Floats, Ints, TokenFacts

# Facts are compared with those of a day ago.
_KEPT = 2 * DAY


@dataclass(slots=True)
class _Past:
    """What was told of one token by one part of the world, the oldest first."""

    known_at: list[int] = field(default_factory=list)
    columns: list[Mapping[str, float]] = field(default_factory=list)
    raw: list[tuple[str, ...]] = field(default_factory=list)


class FactLog:
    """Facts by token.  What is appended never changes what was known before.

    Args:
        max_age: microseconds after which a fact is unknown, unless it was told again.
    """

    def __init__(self, max_age: int) -> None:
        self._max_age = max_age
        self._tokens: dict[int, dict[str, _Past]] = {}
        self._supplies: dict[int, tuple[list[int], list[float]]] = {}
        self._sources: set[str] = set()

    def note(
        self, token: int, part: str, at: int, columns: Mapping[str, float], raw: Sequence[str]
    ) -> None:
        """Append what became known; it replaces what the same part told before.

        Args:
            part: who told it, such as ``token`` or ``social``.
            at: when this system had it.
        """
        past = self._tokens.setdefault(token, {}).setdefault(part, _Past())
        at = max(at, past.known_at[-1]) if past.known_at else at
        past.known_at.append(at)
        past.columns.append(columns)
        past.raw.append(tuple(raw))
        self._sources.update(name for name in columns if name.startswith(SENTIMENT))
        old = bisect_right(past.known_at, at - _KEPT - self._max_age)
        del past.known_at[:old], past.columns[:old], past.raw[:old]

    def note_supply(self, token: int, at: int, supply: float) -> None:
        """Append a circulating supply, in whole tokens."""
        times, supplies = self._supplies.setdefault(token, ([], []))
        times.append(max(at, times[-1]) if times else at)
        supplies.append(supply)

    def supply_at(self, token: int, at: int) -> tuple[float, int] | None:
        """The newest supply that was known at a moment, however old, and since when."""
        times, supplies = self._supplies.get(token, ([], []))
        row = bisect_right(times, at) - 1
        return None if row < 0 else (supplies[row], times[row])

    def facts_at(self, token: npt.NDArray[np.int32], at: Ints) -> dict[str, Floats]:
        """Columns as of `KnownMarket.facts_at`."""
        names = (*FACT_NAMES, *sorted(self._sources))
        found = {name: np.full(len(at), np.nan) for name in names}
        for pair, (one, moment) in enumerate(zip(token.tolist(), at.tolist(), strict=True)):
            for past, row in self._newest(one, moment):
                for name, value in past.columns[row].items():
                    found[name][pair] = value
        return found

    def raw_at(self, token: int, at: int) -> tuple[str, ...]:
        """Addresses of the answers behind `facts_at`, each once."""
        return tuple(
            dict.fromkeys(
                address for past, row in self._newest(token, at) for address in past.raw[row]
            )
        )

    def _newest(self, token: int, at: int) -> list[tuple[_Past, int]]:
        """By part, the newest row that was known and is not too old."""
        found = []
        for past in self._tokens.get(token, {}).values():
            row = bisect_right(past.known_at, at) - 1
            if row >= 0 and past.known_at[row] >= at - self._max_age:
                found.append((past, row))
        return found


def fact_columns(facts: TokenFacts) -> dict[str, float]:
    """The known facts as columns, truths as 0 and 1."""
    known = {name: float(value) for name, value in facts.as_dict().items()}
    return known | {SENTIMENT + source: level for source, level in facts.sentiment.items()}
