"""What a gate says."""

from __future__ import annotations

from dataclasses import asdict, dataclass, is_dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class GateResult:
    """A gate's verdict.

    Attributes:
        reasons: why it refuses, with value and threshold; empty where it passed.
        numbers: what it looked at; an interval is a mapping of value, low and high.
    """

    name: str
    passed: bool
    reasons: tuple[str, ...]
    numbers: dict[str, Any]


class Verdict:
    """Collects what a gate finds."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._reasons: list[str] = []
        self._numbers: dict[str, Any] = {}

    def number(self, **numbers: Any) -> None:
        """Note what was looked at."""
        for name, value in numbers.items():
            plain = is_dataclass(value) and not isinstance(value, type)
            self._numbers[name] = asdict(value) if plain else value

    def require(self, holds: object, reason: str) -> None:
        """Refuse for a reason unless something holds; a comparison with NaN never does."""
        if not holds:
            self._reasons.append(reason)

    def result(self) -> GateResult:
        """The verdict: passed if nothing was refused."""
        return GateResult(self._name, not self._reasons, tuple(self._reasons), self._numbers)
