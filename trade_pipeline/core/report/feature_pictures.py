"""Pictures of a feature table as PNG: missing rates, distributions by split, drift."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.dataset.profile import SHIFTED, FeatureProfile

if TYPE_CHECKING:
    import pandas as pd

    from trade_pipeline.core.features.rug_metrics import ReliabilityBin

_INK, _GRID, _WARN = "#333b4a", "#d7dce5", "#d1495b"
_COLOURS = ("#2a6f97", "#2a9d8f", "#e09f3e", "#8d6a9f")
_DPI, _COLUMNS, _BINS = 100, 4, 30


def missing_png(profiles: Sequence[FeatureProfile]) -> bytes:
    """Share of missing values by feature."""
    return _bars(
        [(p.name, p.missing, _COLOURS[0]) for p in profiles], "share of rows without a value"
    )


def drift_png(profiles: Sequence[FeatureProfile]) -> bytes:
    """Population stability index by feature, later rows against earlier ones."""
    known = [p for p in profiles if p.drift == p.drift]
    rows = [(p.name, p.drift, _WARN if p.drift > SHIFTED else _COLOURS[1]) for p in known]
    return _bars(rows, f"population stability index (red: above {SHIFTED})")


def distributions_png(splits: Mapping[str, pd.DataFrame], features: Sequence[str]) -> bytes:
    """A histogram per feature with a line per split; the outermost hundredths are cut off."""
    from matplotlib.figure import Figure

    rows = max(1, -(-len(features) // _COLUMNS))
    figure = Figure(figsize=(11.0, 1.9 * rows), dpi=_DPI, layout="constrained")
    grid = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for axes in grid[len(features) :]:
        axes.set_axis_off()
    for axes, name in zip(grid, features, strict=False):
        known = {
            split: values[~np.isnan(values)]
            for split, frame in splits.items()
            for values in [frame[name].to_numpy(dtype=np.float64)]
        }
        together = np.concatenate(list(known.values()))
        axes.set_title(name, fontsize=8, color=_INK)
        axes.tick_params(labelsize=6, colors=_INK)
        axes.set_yticks([])
        if len(together):
            low, high = np.quantile(together, (0.01, 0.99))
            edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
            for colour, (split, values) in zip(_COLOURS, known.items(), strict=False):
                if len(values):
                    counts = np.histogram(values, edges)[0] / len(values)
                    axes.stairs(counts, edges, color=colour, label=split, linewidth=1.1)
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=4, fontsize=8, frameon=False)
    return _png(figure)


def reliability_png(bins: Sequence[ReliabilityBin]) -> bytes:
    """Share of rugs by predicted probability, beside where both are equal."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.0, 4.0), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=_GRID, linewidth=1.2)
    predicted, share = [b.mean_probability for b in bins], [b.rug_share for b in bins]
    axes.plot(predicted, share, color=_COLOURS[0], linewidth=1.2)
    axes.scatter(predicted, share, s=[12 + b.tokens**0.5 for b in bins], color=_COLOURS[0])
    axes.set_xlabel("predicted probability")
    axes.set_ylabel("share of rugs (size: number of samples)")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _bars(rows: list[tuple[str, float, str]], label: str) -> bytes:
    from matplotlib.figure import Figure

    rows = sorted(rows, key=lambda row: (row[1], row[0]))
    figure = Figure(figsize=(8.0, 1.0 + 0.16 * len(rows)), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    axes.barh([r[0] for r in rows], [r[1] for r in rows], color=[r[2] for r in rows])
    axes.set_xlabel(label)
    axes.margins(y=0.01)
    axes.tick_params(axis="y", labelsize=6, colors=_INK)
    axes.grid(axis="x", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _png(figure: Any) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()
