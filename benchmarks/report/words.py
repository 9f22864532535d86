"""How values, bounds, anchors and moments are told."""

from __future__ import annotations

import math

from report.figure import Figure
from report.results import Measured, Results


def number(value: float) -> str:
    """Three significant digits at least, thousands apart, no exponent."""
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 100:
        return f"{value:,.0f}"
    if value == round(value):
        return f"{value:.0f}"
    digits = max(0, 2 - math.floor(math.log10(size)))
    return f"{value:.{digits}f}"


def with_unit(value: float, unit: str) -> str:
    if unit == "x":
        return f"{number(value)} x"
    return f"{number(value)} {unit}".rstrip()


def value_of(figure: Figure, found: Measured) -> str:
    told = with_unit(found.value, figure.unit)
    if found.counts:
        told += f" ({found.counts[0]:,} of {found.counts[1]:,})"
    return told


def interval_of(figure: Figure, found: Measured) -> str:
    if found.low == found.high:
        return "exactly"
    return f"{number(found.low)} to {number(found.high)}"


def asked_of(figure: Figure) -> str:
    if figure.asked is None:
        return ""
    side = "at least" if figure.more_is_better else "at most"
    return f"{side} {figure.asked:,g} {figure.unit}".rstrip()


def anchors_of(figure: Figure) -> str:
    return "; ".join(
        f"{one.name}: {with_unit(one.value, figure.unit)} ({one.source})" for one in figure.anchors
    )


def anchors_in_short(figure: Figure) -> str:
    """Without who measured them and how."""
    return "; ".join(f"{one.name}: {with_unit(one.value, figure.unit)}" for one in figure.anchors)


def of_floor(figure: Figure, found: Measured, results: Results) -> str:
    """The value against the machine's own figure of the same run."""
    if figure.floor is None:
        return ""
    floor = results.runs[found.run].floors.get(figure.floor)
    beside = results.figures.get(figure.floor)
    if floor is None and beside is not None and beside.run == found.run:
        floor = beside.value
    if not floor:
        return ""
    return f"{number(found.value / floor)} x {with_unit(floor, _unit(figure.floor))}"


def _unit(key: str) -> str:
    from report.registry import FIGURES

    return FIGURES[key].unit


def origin_of(found: Measured, results: Results) -> str:
    """Commit and day of a figure."""
    run = results.runs[found.run]
    return f"{run.commit[:10]}{' with changes' if run.changed else ''}, {found.at[:10]}"
