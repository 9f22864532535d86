"""The report's pictures, each as an SVG; one that has nothing to show is left out."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import matplotlib
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from report import words
from report.compare import with_their_first
from report.document import Picture
from report.figure import Figure
from report.measured_models import TRUTHS
from report.registry import FIGURES
from report.results import Measured, Results

OWN, OTHER, GOOD, BAD = "#1f5fbf", "#b9c2cf", "#2a8f54", "#c0392b"
# What a bound of zero or a value of zero is drawn as: this many times better.
_BEYOND = 1_000.0
_WIDTH = 10.0


def pictures(results: Results) -> list[Picture]:
    """All that the results suffice for."""
    drawn = (
        ("anchors", "Beside others at the same job (logarithmic)", _anchors),
        ("bounds", "How far from what is asked for: right of the line it is kept", _bounds),
        ("latencies", "Latencies: from the median to the 99th percentile", _latencies),
        ("canaries", "How canaries end by day 56, and by averages after 48 h", _canaries),
        ("second-run", "The second run, and the interval that the first one stated", _second),
    )
    found = []
    for name, caption, draw in drawn:
        svg = _drawn(draw, results)
        if svg is not None:
            found.append(Picture(name, svg, caption))
    return found


def _drawn(draw: Callable[[Results], Canvas | None], results: Results) -> bytes | None:
    # Words stay words, ids are the same in every drawing, and a dollar is no formula.
    style = {"svg.fonttype": "none", "svg.hashsalt": "report", "text.parse_math": False}
    with matplotlib.rc_context({**style, "font.size": 9.0, "axes.spines.top": False,
                                "axes.spines.right": False}):  # fmt: skip
        canvas = draw(results)
        if canvas is None:
            return None
        out = io.BytesIO()
        canvas.savefig(out, format="svg", metadata={"Date": None})
        return out.getvalue()


def _measured(results: Results) -> list[tuple[Figure, Measured]]:
    return [
        (figure, results.figures[figure.key])
        for figure in FIGURES.values() if figure.key in results.figures
    ]  # fmt: skip


def _anchors(results: Results) -> Canvas | None:
    shown = [
        (figure, one) for figure, one in _measured(results)
        if figure.anchors and one.value > 0 and figure.unit not in ("%", "AUC", "F1", "MCC")
    ]  # fmt: skip
    if not shown:
        return None
    heights = [1 + len(figure.anchors) for figure, _ in shown]
    canvas = Canvas(figsize=(_WIDTH, 0.55 * len(shown) + 0.27 * sum(heights)), layout="constrained")
    panels = canvas.subplots(len(shown), 1, height_ratios=heights, squeeze=False)[:, 0]
    for axes, (figure, one) in zip(panels, shown, strict=True):
        names = ["trade_pipeline", *(anchor.name for anchor in figure.anchors)]
        values = [one.value, *(anchor.value for anchor in figure.anchors)]
        axes.barh(names, values, color=[OWN] + [OTHER] * len(figure.anchors))
        axes.bar_label(
            axes.containers[0], [words.with_unit(value, figure.unit) for value in values], padding=3
        )
        axes.invert_yaxis()
        axes.set_xlim(min(values) / 3, max(values) * 8)
        _logarithmic(axes)
        better = "more" if figure.more_is_better else "less"
        axes.set_title(f"{figure.words} ({better} is better)", loc="left", fontsize=9)
        axes.tick_params(axis="x", labelsize=7)
    return canvas


def _bounds(results: Results) -> Canvas | None:
    shown = [(figure, one) for figure, one in _measured(results) if figure.asked is not None]
    if not shown:
        return None
    shown.reverse()
    canvas = Canvas(figsize=(_WIDTH, 1.0 + 0.2 * len(shown)), layout="constrained")
    axes = canvas.subplots()
    for place, (figure, one) in enumerate(shown):
        middle, *ends = (_margin(figure, value) for value in (one.value, one.low, one.high))
        colour = GOOD if figure.keeps(one.value) and one.sound else BAD
        axes.plot(sorted(ends), [place, place], color=colour, lw=1.2)
        axes.plot([middle], [place], "o", color=colour, ms=4)
    axes.axvline(1.0, color="black", lw=0.8)
    axes.set_yticks(range(len(shown)), [_short(figure.words) for figure, _ in shown], fontsize=7.5)
    axes.set_ylim(-1, len(shown))
    axes.set_xlabel("times better than asked, and where a second run is expected")
    _logarithmic(axes)
    return canvas


def _margin(figure: Figure, value: float) -> float:
    """How many times better than asked, within what can be drawn."""
    assert figure.asked is not None
    better, worse = (value, figure.asked) if figure.more_is_better else (figure.asked, value)
    if better <= 0 and worse <= 0:
        return 1.0
    return min(max(better / worse if worse > 0 else _BEYOND, 1 / _BEYOND), _BEYOND)


def _latencies(results: Results) -> Canvas | None:
    pairs = [
        (figure, one, results.figures[_slow(figure)])
        for figure, one in _measured(results)
        if figure.key.endswith("_p50_ms") and one.value > 0 and _slow(figure) in results.figures
    ]  # fmt: skip
    if not pairs:
        return None
    canvas = Canvas(figsize=(_WIDTH, 1.0 + 0.3 * len(pairs)), layout="constrained")
    axes = canvas.subplots()
    for place, (figure, middle, slow) in enumerate(reversed(pairs)):
        axes.plot([middle.value, slow.value], [place, place], color=OWN, lw=2)
        axes.plot([middle.value], [place], "o", color=OWN)
        axes.plot([slow.value], [place], "|", color=OWN, ms=10, mew=2)
        told = f" {words.number(middle.value)} / {words.number(slow.value)} ms"
        axes.text(slow.value * 1.08, place, told, va="center", fontsize=8)
        asked = FIGURES[_slow(figure)].asked
        if asked is not None:
            axes.plot([asked], [place], "x", color=BAD)
    names = [_short(figure.words.removesuffix(", p50")) for figure, *_ in reversed(pairs)]
    axes.set_yticks(range(len(pairs)), names)
    axes.margins(x=0.2)
    axes.set_xlabel("ms; a dot is the median, a bar the 99th percentile, a cross what it may be")
    _logarithmic(axes)
    return canvas


def _slow(figure: Figure) -> str:
    """The key of the 99th percentile beside a median."""
    return figure.key.replace("_p50_ms", "_p99_ms")


def _canaries(results: Results) -> Canvas | None:
    kinds = {
        "promoted": "canary.{}_promoted_56", "rolled back": "canary.{}_rolled_back_56",
        "promoted on averages": "canary.averages_{}_promoted",
    }  # fmt: skip
    if not all(key.format(truth) in results.figures for key in kinds.values() for truth in TRUTHS):
        return None
    canvas = Canvas(figsize=(_WIDTH, 3.2), layout="constrained")
    axes = canvas.subplots()
    for number, ((name, key), colour) in enumerate(
        zip(kinds.items(), (GOOD, BAD, OTHER), strict=True)
    ):
        found = [results.figures[key.format(truth)] for truth in TRUTHS]
        values = [one.value for one in found]
        reach: Any = [
            [one.value - one.low for one in found], [one.high - one.value for one in found]
        ]  # fmt: skip
        at = [place + 0.27 * (number - 1) for place in range(len(TRUTHS))]
        bars = axes.bar(at, values, 0.25, color=colour, label=name, yerr=reach,
                        error_kw={"lw": 0.8})  # fmt: skip
        axes.bar_label(bars, [f"{value:.1f}" for value in values], fontsize=8)
    axes.set_xticks(range(len(TRUTHS)), [f"the canary is {what}" for what in TRUTHS.values()])
    axes.set_ylabel("% of canaries")
    axes.set_ylim(0, 118)
    axes.legend(ncols=3, loc="upper center", frameon=False)
    return canvas


def _second(results: Results) -> Canvas | None:
    compared = with_their_first(results)
    pairs = [
        (key, first, second)
        for key, first, second in sorted(compared.inside + compared.outside, reverse=True)
        if first.value > 0 and first.low < first.high
    ]
    if not pairs:
        return None
    canvas = Canvas(figsize=(_WIDTH, 1.0 + 0.17 * len(pairs)), layout="constrained")
    axes = canvas.subplots()
    for place, (_, first, second) in enumerate(pairs):
        ends = [max(bound / first.value, 0.1) for bound in (first.low, first.high)]
        axes.plot(ends, [place, place], color=OTHER, lw=3, solid_capstyle="butt")
        colour = GOOD if first.holds(second.value) else BAD
        axes.plot([max(second.value / first.value, 0.1)], [place], "o", color=colour, ms=3.5)
    axes.axvline(1.0, color="black", lw=0.6)
    axes.set_yticks(range(len(pairs)), [key for key, *_ in pairs], fontsize=7)
    axes.set_ylim(-1, len(pairs))
    axes.set_xlabel("the second run's value by the first run's")
    _logarithmic(axes)
    return canvas


def _short(text: str) -> str:
    return text if len(text) <= 70 else f"{text[:67]}..."


def _logarithmic(axes: Any) -> None:
    """A logarithmic axis whose numbers are written out."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    # Few powers of ten need more marks between them.
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 300 * low else (1,)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: words.number(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
