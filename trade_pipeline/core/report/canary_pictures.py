"""Pictures of canaries and of the history of deployments as PNG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from trade_pipeline.core.canary.deployments import Event
from trade_pipeline.core.report.pictures import INK, LOST, WON, picture


def sequence_png(numbers: Mapping[str, Any]) -> bytes:
    """The mean difference by closed blocks, its confidence sequence, zero and the margin.

    Args:
        numbers: of a look; an end that is not known yet is None.
    """

    def draw(axes: Any) -> None:
        mean, low, high = (
            100 * np.array([np.nan if one is None else one for one in numbers[name]], np.float64)
            for name in ("means", "lows", "highs")
        )
        blocks = np.arange(1, len(mean) + 1)
        axes.fill_between(blocks, low, high, color=INK, alpha=0.15, linewidth=0)
        axes.plot(blocks, mean, color=INK, label="canary less production")
        axes.axhline(0, color=LOST, linewidth=0.9, label="harm, if all below")
        margin = -100 * numbers["margin"]
        axes.axhline(margin, color=WON, linewidth=0.9, linestyle="--", label="good, if all above")
        axes.set_xlabel("closed blocks")
        axes.set_ylabel("points per unit stake")
        axes.legend()

    return picture("Canary", draw if numbers["means"] else None)


def books_png(books: Mapping[str, Sequence[float]]) -> bytes:
    """The shadow books of both models side by side.

    Args:
        books: the equity after each trade that ended, USD, by ``canary`` and ``production``.
    """

    def draw(axes: Any) -> None:
        for name, color in (("production", INK), ("canary", WON)):
            axes.step(range(len(books[name])), books[name], where="post", color=color, label=name)
        axes.set_xlabel("trades that ended")
        axes.set_ylabel("fund, USD")
        axes.legend()

    return picture("The fund if one alone had decided", draw if any(books.values()) else None)


def history_png(events: Sequence[Event]) -> bytes:
    """What decided when, in market time: a line a model, thick in production, thin as a canary."""

    def draw(axes: Any) -> None:
        names = list(dict.fromkeys(event.short_name for event in events))
        ends = [event.market_time for event in events[1:]] + [None]
        last = events[-1].market_time
        for event, end in zip(events, ends, strict=True):
            one = event.deployment
            row = names.index(event.short_name)
            if one.stage == "retired":
                axes.plot([event.market_time], [row], "x", color=LOST)
                continue
            width = 8 if one.stage == "production" else 2
            axes.plot([event.market_time, end or last], [row, row], color=INK, linewidth=width)
            axes.plot([event.market_time], [row], "o", color=WON, markersize=5)
        axes.set_yticks(range(len(names)), names)
        axes.margins(y=0.4)
        axes.tick_params(axis="x", rotation=20)

    return picture("Deployments", draw if events else None)
