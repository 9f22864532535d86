"""Pictures of a model's evidence as PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from trade_pipeline.core.report.pictures import INK, LOST, WON, picture
from trade_pipeline.core.training.evidence import Evidence, Fold, Scored
from trade_pipeline.core.training.explanation import ShapleyValues

_BINS, _SHOWN = 10, 15


def calibration_png(evidence: Evidence) -> bytes:
    """Promised against true share of profits, by tenths of the confidence."""

    def draw(axes: Any) -> None:
        for name, part, colour in _parts(evidence):
            promised, true = _tenths(part.confidence, part.confidence, part.returns > 0)
            axes.plot(promised, true, "o-", color=colour, label=name, markersize=4)
        low, high = axes.get_xlim()
        axes.plot([low, high], [low, high], color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("confidence")
        axes.set_ylabel("share with a profit")
        axes.legend()

    return picture("Calibration", draw)


def deciles_png(evidence: Evidence) -> bytes:
    """Mean return after costs, by tenths of the expected return."""

    def draw(axes: Any) -> None:
        for shift, (name, part, colour) in enumerate(_parts(evidence)):
            _, true = _tenths(part.predicted, part.predicted, part.returns)
            places = np.arange(len(true)) + 0.4 * shift
            axes.bar(places, 100 * true, width=0.38, color=colour, label=name)
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xlabel("tenth of the expected return, lowest first")
        axes.set_ylabel("mean return (%)")
        axes.legend()

    return picture("Returns by expected return", draw)


def folds_png(folds: Sequence[Fold]) -> bytes:
    """Rank correlation of each fold of the purged cross-validation."""

    def draw(axes: Any) -> None:
        scores = [fold.rank_correlation for fold in folds]
        axes.bar(range(1, len(scores) + 1), scores, color=[WON if s > 0 else LOST for s in scores])
        axes.axhline(0, color=INK, linewidth=0.8)
        axes.set_xticks(range(1, len(scores) + 1))
        axes.set_xlabel("fold, in the order of time")
        axes.set_ylabel("rank correlation")

    return picture("Purged cross-validation", draw)


def importance_png(evidence: Evidence) -> bytes:
    """Shares of the mean absolute contribution to the confidence, the largest inputs."""

    def draw(axes: Any) -> None:
        largest = list(evidence.importance.items())[:_SHOWN][::-1]
        axes.barh([name for name, _ in largest], [share for _, share in largest], color=INK)
        axes.set_xlabel("share of the mean absolute contribution")

    return picture("Importance", draw, height=0.24 * _SHOWN + 1)


def shapley_png(inputs: Sequence[ShapleyValues]) -> bytes:
    """A dot a row for each of the strongest inputs: what it adds to the log odds of a profit,
    coloured by the rank of its value; grey where the value is unknown.
    """
    from scipy.stats import rankdata

    def draw(axes: Any) -> None:
        shown = list(inputs[:_SHOWN])[::-1]
        jitter = np.random.default_rng(0)
        for place, one in enumerate(shown):
            known = ~np.isnan(one.values)
            heights = place + jitter.uniform(-0.3, 0.3, len(one.values))
            axes.scatter(one.contributions[~known], heights[~known], s=3, color="0.7")
            ranks = rankdata(one.values[known]) / max(1, known.sum())
            dots = axes.scatter(
                one.contributions[known], heights[known], c=ranks, s=3, cmap="cool", vmin=0,
                vmax=1,
            )  # fmt: skip
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(shown)), [one.feature for one in shown])
        axes.set_xlabel("contribution to the log odds of a profit")
        if shown:
            bar = axes.figure.colorbar(dots, ax=axes, ticks=[0, 1])
            bar.ax.set_yticklabels(["low", "high"])

    return picture("What moves the confidence", draw, height=0.3 * _SHOWN + 1)


def learning_curve_png(sizes: Sequence[int], scores: Sequence[float]) -> bytes:
    """Rank correlation on the validation split, by rows that were learned from."""

    def draw(axes: Any) -> None:
        axes.plot(sizes, scores, "o-", color=INK)
        axes.axhline(0, color=INK, linewidth=0.8, linestyle=":")
        axes.set_xlabel("newest training rows")
        axes.set_ylabel("rank correlation")

    return picture("Learning curve", draw)


def _parts(evidence: Evidence) -> list[tuple[str, Scored, str]]:
    return [("validation", evidence.validation, INK), ("holdout", evidence.holdout, WON)]


def _tenths(by: Any, one: Any, other: Any) -> tuple[Any, Any]:
    """Means of two columns in tenths of a third one."""
    groups = np.array_split(np.argsort(by, kind="stable"), min(_BINS, len(by)))
    return (
        np.array([one[rows].mean() for rows in groups]),
        np.array([other[rows].mean() for rows in groups]),
    )
