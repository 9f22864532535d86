"""The picture of an experiment as PNG."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from trade_pipeline.core.report.pictures import INK, LOST, WON, picture

_COLORS = {"better": WON, "worse": LOST}


def differences_png(group: Mapping[str, Any], baseline: str) -> bytes:
    """Each variant's difference to the baseline with its interval, and what luck alone gives.

    Args:
        group: a comparison's group as plain data (`GroupResult`).
    """
    shown = [one for one in group["variants"] if not math.isnan(one["difference"])]
    shown.sort(key=lambda one: one["difference"])
    if group["unit"] == "% per trade":
        shown = [one for one in shown if one["trades"]]

    def draw(axes: Any) -> None:
        ends = [
            end
            for one in shown
            for end in (one["difference_low"], one["difference"], one["difference_high"])
            if math.isfinite(end)
        ] + [0.0, group["luck_often"]]
        room = 0.05 * ((max(ends) - min(ends)) or 1.0)
        low, high = min(ends) - room, max(ends) + room
        axes.axvspan(
            0, group["luck_often"], color=INK, alpha=0.08, linewidth=0,
            label=f"the best of {len(shown)} by chance alone, 19 times of 20",
        )  # fmt: skip
        axes.axvline(group["luck"], color=INK, linewidth=0.9, linestyle=":", label="on the average")
        axes.axvline(0, color=INK, linewidth=0.9)
        for row, one in enumerate(shown):
            color = _COLORS.get(one["verdict"], INK)
            # An interval without an end reaches over the edge of the picture.
            reach = [max(low, one["difference_low"]), min(high, one["difference_high"])]
            axes.plot(reach, [row, row], color=color, linewidth=1.6)
            axes.plot([one["difference"]], [row], "o", color=color, markersize=5)
        axes.set_xlim(low, high)
        axes.set_ylim(-0.7, len(shown) - 0.3)
        axes.set_yticks(range(len(shown)), [one["variant"] for one in shown])
        axes.set_xlabel(f"{group['unit']} more than {baseline} (95 % for all together)")
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)

    title = f"{group['market']}: {group['days']} days, {len(shown)} variants against {baseline}"
    return picture(title, draw if shown else None, height=2.2 + 0.28 * len(shown))
