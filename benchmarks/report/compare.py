"""Whether a second run says what the first one did, within the intervals that the first stated."""

from __future__ import annotations

from dataclasses import dataclass, field

from report import words
from report.registry import FIGURES
from report.results import Measured, Results


@dataclass(slots=True)
class Comparison:
    """Figures of the same size that both have.

    Attributes:
        inside: whose second value lies in the first's interval: key, first, second.
        outside: whose does not.
        alone: keys that cannot be compared, and why.
    """

    inside: list[tuple[str, Measured, Measured]] = field(default_factory=list)
    outside: list[tuple[str, Measured, Measured]] = field(default_factory=list)
    alone: dict[str, str] = field(default_factory=dict)

    def add(self, key: str, first: Measured, second: Measured) -> None:
        (self.inside if first.holds(second.value) else self.outside).append((key, first, second))

    def in_short(self) -> str:
        of = len(self.inside) + len(self.outside)
        share = f" = {len(self.inside) / of:.0%}" if of else ""
        return (
            f"{len(self.inside)} of {of} figures{share} of the second run lie within the intervals "
            "that the first one stated."
        )

    def told(self) -> str:
        """The share, each exception, and what could not be compared."""
        lines = [self.in_short()]
        for key, first, second in self.outside:
            figure = FIGURES[key]
            lines.append(
                f"  outside: {key}: {words.value_of(figure, second)}, the first run said "
                f"{words.value_of(figure, first)}, {words.interval_of(figure, first)}"
            )
        lines += [f"  not compared: {key}: {why}" for key, why in self.alone.items()]
        return "\n".join(lines)


def compare(first: Results, second: Results) -> Comparison:
    """One folder's figures against another's."""
    found = Comparison()
    for key in sorted((first.figures.keys() | second.figures.keys()) & FIGURES.keys()):
        one, other = first.figures.get(key), second.figures.get(key)
        if one is None or other is None:
            found.alone[key] = f"only in the {'second' if one is None else 'first'}"
        elif one.run == other.run:
            found.alone[key] = "the same measurement"
        elif (one.full, one.size) != (other.full, other.size):
            found.alone[key] = f"of another size: {one.size!r} and {other.size!r}"
        else:
            found.add(key, one, other)
    return found


def with_their_first(results: Results) -> Comparison:
    """Each figure that was measured again against what was said before."""
    found = Comparison()
    for key, second in results.figures.items():
        if second.before is not None and key in FIGURES:
            found.add(key, Measured(**second.before), second)
    return found
