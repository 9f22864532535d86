"""Pictures of a look at a production model as PNG.  They take what a `MonitoringReport` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trade_pipeline.core.market.event import Floats
from trade_pipeline.core.report.pictures import INK, LOST, WON, picture


def expectation_png(sequence: Mapping[str, Any]) -> bytes:
    """What the model earned more than it expected, its confidence sequence, and the tolerance."""

    def draw(axes: Any) -> None:
        mean, low, high, upper = (
            _points(sequence[name]) for name in ("means", "lows", "highs", "uppers")
        )
        blocks = np.arange(1, len(mean) + 1)
        axes.fill_between(blocks, low, high, color=INK, alpha=0.15, linewidth=0)
        axes.plot(blocks, mean, color=INK, label="earned less expected")
        axes.plot(blocks, upper, color=LOST, linewidth=0.9, label="at most, by any sequence")
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.axhline(
            -100 * sequence["tolerance"], color=WON, linewidth=0.9, linestyle="--",
            label="broken, if at most this",
        )  # fmt: skip
        axes.set_xlabel("closed blocks since the deployment")
        axes.set_ylabel("points per unit stake")
        axes.legend()

    return picture("Against its own expectation", draw if sequence.get("means") else None)


def drift_png(drift: Sequence[Mapping[str, Any]]) -> bytes:
    """How far each prediction and input has moved, and from where on it counts as drift."""

    def draw(axes: Any) -> None:
        rows = sorted(drift, key=lambda one: float(one["index"]))
        places = np.arange(len(rows))
        colours = [LOST if one["drifted"] else WON for one in rows]
        axes.barh(places, [max(0.0, one["index"]) for one in rows], color=colours)
        axes.plot([one["own"] for one in rows], places, "|", color=INK, markersize=10)
        axes.set_yticks(places, [one["name"] for one in rows])
        axes.set_xlabel("population stability index (mark: its own noise; red: drifted)")

    return picture("Drift", draw if drift else None, height=0.24 * len(drift) + 1)


def production_calibration_png(tenths: Sequence[Mapping[str, Any]]) -> bytes:
    """Promised against true share of profits, by tenths of the confidence."""

    def draw(axes: Any) -> None:
        promised = [one["promised"] for one in tenths]
        axes.plot(promised, [one["true"] for one in tenths], "o-", color=INK, markersize=4)
        ends = [min(promised), max(promised)]
        axes.plot(ends, ends, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("confidence")
        axes.set_ylabel("share with a profit")

    return picture("Calibration in production", draw if tenths else None)


def _points(values: Sequence[float | None]) -> Floats:
    return 100 * np.array([np.nan if one is None else one for one in values], np.float64)
