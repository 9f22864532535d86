"""The pictures of a session's report as PNG.  Takes what `session_report` gives."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from io import BytesIO
from typing import Any

INK, _GRID, WON, LOST = "#333b4a", "#d7dce5", "#2a9d8f", "#d1495b"
_SIZE, _DPI = (8.0, 3.2), 100
# A few tokens multiply; the rest of the picture should not shrink for them.
_LOWEST_PCT, _HIGHEST_PCT, _BIN_PCT = -100.0, 150.0, 5.0


def equity_png(report: Mapping[str, Any]) -> bytes:
    """Profit and loss, summed in the order in which the trades closed."""
    points = [(datetime.fromisoformat(moment), usd) for moment, usd in report["equity"]]

    def draw(axes: Any) -> None:
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num

        times, values = date2num([p[0] for p in points]), [p[1] for p in points]
        axes.step(times, values, where="post", color=INK, linewidth=1.4)
        axes.fill_between(
            times, values, 0, step="post", alpha=0.15, color=WON if values[-1] >= 0 else LOST
        )
        axes.axhline(0, color=INK, linewidth=0.8)
        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
        axes.set_xlabel("closed at (market time, UTC)")
        axes.set_ylabel("summed profit and loss (USD)")

    return picture("Equity: closed trades, after all costs", draw if points else None)


def returns_png(report: Mapping[str, Any]) -> bytes:
    """How the trades' returns are spread."""
    returns = [min(max(r, _LOWEST_PCT), _HIGHEST_PCT - 0.001) for r in report["returns"]]

    def draw(axes: Any) -> None:
        count = round((_HIGHEST_PCT - _LOWEST_PCT) / _BIN_PCT)
        edges = [_LOWEST_PCT + _BIN_PCT * i for i in range(count + 1)]
        _, _, bars = axes.hist(returns, bins=edges, edgecolor="white", linewidth=0.5)
        for edge, bar in zip(edges, bars, strict=False):
            bar.set_facecolor(WON if edge >= 0 else LOST)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_xlabel(f"return after all costs (%; the last bar holds all over {edges[-2]:g} %)")
        axes.set_ylabel("trades")
        axes.yaxis.get_major_locator().set_params(integer=True)

    return picture(f"Returns of {len(returns)} closed trades", draw if returns else None)


def picture(title: str, draw: Any, height: float = _SIZE[1]) -> bytes:
    """One plot as PNG; ``draw`` is given the axes, None means that there is nothing to draw."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_SIZE[0], height), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, color=INK, fontsize=11, loc="left")
    if draw is None:
        axes.set_axis_off()
        axes.text(0.5, 0.5, "nothing yet", ha="center", va="center", color=INK, fontsize=14)
    else:
        draw(axes)
        axes.grid(axis="y", color=_GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(colors=INK, labelsize=9)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
