"""Pictures of an attribution as PNG.  Takes what `attribution_report` gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trade_pipeline.core.report.pictures import INK, LOST, WON, picture

# A picture with more groups would be read by nobody.
_MOST = 24
_LABELS = {
    "market_move": "market move",
    "entry_timing": "entry timing",
    "exit_timing": "exit timing",
    "own_impact": "own impact",
    "slippage": "slippage",
    "pool_fees": "pool fees",
    "venue_fees": "venue fees",
    "gas": "gas",
    "failed_orders": "failed orders",
    "rug_loss": "rug loss",
    "unexplained": "unexplained",
}


def waterfall_png(report: Mapping[str, Any]) -> bytes:
    """From nothing to the result, part by part."""
    parts = [(_LABELS[row["part"]], row["usd"]) for row in report["parts"]]
    # A part that is nothing says nothing, but that nothing is unexplained does.
    shown = [(name, usd) for name, usd in parts if usd or name == "unexplained"]

    def draw(axes: Any) -> None:
        steps = np.array([usd for _, usd in shown])
        ends = np.cumsum(steps)
        starts = ends - steps
        names = [name for name, _ in shown] + ["result"]
        result = report["result_usd"]
        colors = [WON if usd >= 0 else LOST for usd in steps] + [INK]
        axes.bar(range(len(steps)), steps, bottom=starts, color=colors[:-1], width=0.7)
        axes.bar([len(steps)], [result], color=INK, width=0.7)
        for place, end in enumerate(ends):
            axes.plot([place - 0.35, place + 1.35], [end, end], color=INK, linewidth=0.7)
        tops = np.maximum(np.append(starts, 0), np.append(ends, result))
        for place, (top, usd) in enumerate(zip(tops, [*steps, result], strict=True)):
            axes.annotate(
                _amount(usd),
                (place, top), xytext=(0, 3), textcoords="offset points",
                ha="center", fontsize=8, color=INK,
            )  # fmt: skip
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
        axes.set_ylabel("USD")
        highest, lowest = float(tops.max()), min(0.0, float(ends.min()))
        room = 0.1 * max(highest - lowest, 1e-9)
        axes.set_ylim(lowest - room / 2, highest + room)

    title = f"Where the result of {report['trades']:,} closed trades came from"
    return picture(title, draw if report["trades"] else None, 3.8)


def group_png(name: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The mean result of a trade by group with its interval; how many, and their sum."""
    shown = list(rows)[:_MOST]

    def draw(axes: Any) -> None:
        place = np.arange(len(shown))[::-1]
        mean, low, high = (
            np.array([row[key] for row in shown], np.float64)
            for key in ("mean_usd", "low_usd", "high_usd")
        )
        told = np.isfinite(low) & np.isfinite(high)
        sure = told & ((low > 0) | (high < 0))
        colors = [WON if one >= 0 else LOST for one in mean]
        axes.barh(place, mean, color=colors, height=0.62, alpha=0.75)
        axes.errorbar(
            mean[told], place[told], xerr=[(mean - low)[told], (high - mean)[told]],
            fmt="none", ecolor=INK, elinewidth=1.2, capsize=3,
        )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(place, [label_of(row) for row in shown])
        axes.set_ylim(-0.6, len(shown) - 0.4)
        _frame(axes, mean, low, high, told)
        for row, at, certain in zip(shown, place, sure, strict=True):
            axes.annotate(
                f"{row['result_usd']:+,.0f} USD in {row['trades']:,}" + ("  *" if certain else ""),
                (1.01, at), xycoords=("axes fraction", "data"), va="center", fontsize=8, color=INK,
            )  # fmt: skip
        axes.set_xlabel(
            "mean result of a trade, USD; interval of 95 % by days and tokens (none: too few);\n"
            "*: zero is outside.  Association, not cause: nobody drew the groups"
        )
        axes.grid(axis="x", color="#d7dce5", linewidth=0.7)

    more = len(rows) - len(shown)
    title = f"Result by {name}" + (f" (the first {len(shown)}, {more} more)" if more else "")
    return picture(title, draw if shown else None, 1.6 + 0.27 * max(len(shown), 3))


def experiment_png(effects: Sequence[Mapping[str, Any]]) -> bytes:
    """The effect of each canary's arm with its interval."""

    def draw(axes: Any) -> None:
        place = np.arange(len(effects))[::-1]
        mean, low, high = (
            np.array([row[key] for row in effects], np.float64)
            for key in ("difference_pct", "low_pct", "high_pct")
        )
        told = np.isfinite(low) & np.isfinite(high)
        axes.errorbar(
            mean[told], place[told], xerr=[(mean - low)[told], (high - mean)[told]],
            fmt="o", color=INK, capsize=4,
        )  # fmt: skip
        axes.plot(mean[~told], place[~told], "o", color=INK, fillstyle="none")
        axes.axvline(0, color=LOST, linewidth=0.9)
        axes.set_yticks(
            place,
            [f"{row['canary'][7:15]} beside\n{row['production'][-8:]}, {row['blocks']} blocks"
             for row in effects],
        )  # fmt: skip
        axes.set_ylim(-0.7, len(effects) - 0.3)
        axes.set_xlabel(
            "canary's arm less production's, points of return a candidate; the interval (95 %)\n"
            "holds at every look (open circle: too few blocks).  An experiment: the arms were drawn"
        )
        axes.grid(axis="x", color="#d7dce5", linewidth=0.7)

    return picture("Effect of the canary's arm", draw if effects else None,
                   1.8 + 0.5 * max(len(effects), 1))  # fmt: skip


def label_of(row: Mapping[str, Any]) -> str:
    """A group's name in a picture."""
    name = str(row["group"])
    if "spoke" in row:
        sample = {"out of sample": "out", "in sample": "in"}.get(row["sample"], "no model")
        return f"{name}, {row['spoke']} ({sample})"
    return name if len(name) <= 34 else name[:12] + "…" + name[-6:]


def _amount(usd: float) -> str:
    if round(usd, 2) == 0:
        return "0"
    return f"{usd:+,.2f}" if abs(usd) < 100 else f"{usd:+,.0f}"


def _frame(axes: Any, mean: Any, low: Any, high: Any, told: Any) -> None:
    """Bounds that the intervals of groups of a few trades do not stretch without end."""
    reach = 1.5 * max(float(np.abs(mean).max()), 1e-9)
    left = min(0.0, float(mean.min()), float(np.maximum(low[told], -reach).min(initial=0)))
    right = max(0.0, float(mean.max()), float(np.minimum(high[told], reach).max(initial=0)))
    room = 0.04 * (right - left)
    axes.set_xlim(left - room, right + room)
