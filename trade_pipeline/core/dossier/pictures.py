"""The pictures of a dossier as PNG: what moved the model, and the market around the trade."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import numpy as np

from trade_pipeline.core.dossier.facts import Dossier
from trade_pipeline.core.ids import micros
from trade_pipeline.core.report.pictures import INK, LOST, WON, picture

_GRID, _SOFT, _LINE, _FETCHED = "#d7dce5", "#8a93a5", "#3a5a98", "#d08c1f"
# From this ratio of highest to lowest on, equal steps are equal ratios.
_DECADE = 10.0
# Of the stop and of the target: where the picture of the barriers ends.
_NEAR = (0.75, 1.25)
# What is less of the whole time is looked at more closely, with so much beside it at least.
_SHORT, _BESIDE = 0.2, timedelta(minutes=10)


def contributions_png(rows: Sequence[tuple[str, float]], title: str) -> bytes:
    """Contributions as horizontal bars, the first on top."""

    def draw(axes: Any) -> None:
        names = [name.replace("_", " ").replace("$", r"\$") for name, _ in rows]
        values = [value for _, value in rows]
        places = range(len(rows))[::-1]
        axes.barh(places, values, color=[WON if value >= 0 else LOST for value in values])
        axes.set_yticks(list(places), names)
        axes.axvline(0, color=INK, linewidth=0.8)
        span = max((abs(value) for value in values), default=1.0) or 1.0
        axes.set_xlim(-1.3 * span, 1.3 * span)
        for place, value in zip(places, values, strict=True):
            side = "left" if value >= 0 else "right"
            axes.annotate(
                f"{value:+.2f}", (value, place), xytext=(4 if value >= 0 else -4, 0),
                textcoords="offset points", ha=side, va="center", fontsize=8, color=INK,
            )  # fmt: skip
        axes.set_xlabel("against buying  <  log odds of a profit  >  for buying")

    return picture(title[0].upper() + title[1:], draw, 0.9 + 0.32 * len(rows))


def has_a_price(dossier: Dossier) -> bool:
    """Whether there is anything to draw."""
    if dossier.market is not None or any(one.price is not None for one in dossier.orders):
        return True
    return dossier.research is not None and bool(dossier.research["price_usd"])


def needs_a_closer_look(dossier: Dossier) -> bool:
    """Whether the trade is too small in the whole picture, in price or in time."""
    market, span = dossier.market, _held(dossier)
    if market is None or dossier.barriers is None or span is None:
        return False
    known = market.price[market.price > 0]
    shown = (int(market.times[-1]) - int(market.times[0])) / 1e6
    short = (span[1] - span[0]).total_seconds() < _SHORT * shown
    return short or (len(known) > 0 and float(known.max() / known.min()) >= _DECADE)


def price_png(dossier: Dossier, *, near: bool = False) -> bytes:
    """Price and liquidity (or only what the records tell), with decision, barriers and fills.

    Args:
        near: from entry to exit alone, and the prices around the barriers, where there are some.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    market = dossier.market
    pool = not near and market is not None and bool(np.isfinite(market.liquidity).any())
    figure = Figure(figsize=(9.0, 5.6 if pool else 4.2), dpi=110, layout="constrained")
    axes = figure.subplots(
        2 if pool else 1, sharex=True, squeeze=False,
        height_ratios=[2.6, 1.0] if pool else [1.0],
    )[:, 0]  # fmt: skip
    top = axes[0]
    prices: list[float] = []
    if market is not None:
        times = _dates(market.times)
        _steps(top, times, market.price, _LINE, "market price", 1.2)
        prices += market.price[np.isfinite(market.price) & (market.price > 0)].tolist()
        if pool:
            _steps(axes[1], times, market.liquidity, _SOFT, None, 1.2)
            _style(axes[1], "liquidity, USD", market.liquidity.tolist())
    else:
        top.set_title("No market at hand: drawn from the records alone", loc="left", fontsize=10)
    prices += _trade(dossier, top)
    for one in axes:
        one.axvline(_date(dossier.candidate["decided_at"]), color=INK, linewidth=1.0, zorder=1)
    if dossier.candidate["decision"] == "skip" and market is not None:
        for one in axes:
            one.axvspan(
                _date(dossier.candidate["decided_at"]), times[-1], color=_SOFT, alpha=0.12, lw=0
            )
    top.plot([], [], color=INK, linewidth=1.0, label="decision")
    if dossier.candidate["decision"] == "skip":
        top.fill_between([], [], color=_SOFT, alpha=0.12, label="not known at the decision")
    if near and dossier.barriers is not None:
        lowest, highest = _NEAR[0] * dossier.barriers.stop, _NEAR[1] * dossier.barriers.target
        prices = [value for value in prices if lowest <= value <= highest]
        top.set_ylim(lowest, highest)
        if (span := _held(dossier)) is not None:
            beside = max((span[1] - span[0]) / 4, _BESIDE)
            top.set_xlim(_date(span[0] - beside), _date(span[1] + beside))
    _style(top, "USD per token", prices)
    _time_axis(axes[-1])
    figure.legend(loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    buffer = BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return buffer.getvalue()


def _held(dossier: Dossier) -> tuple[datetime, datetime] | None:
    """From the first purchase to the last sale, or to the longest holding time; None before."""
    opened = [one.ended_at for one in dossier.orders if one.leg == "entry" and one.fills]
    if dossier.barriers is None or not opened or opened[0] is None:
        return None
    ends = [one.ended_at for one in dossier.orders if one.leg == "exit" and one.fills]
    known = [one for one in ends if one is not None]
    closed = dossier.realised is not None and known
    return opened[0], max(known) if closed else dossier.barriers.until


def _trade(dossier: Dossier, axes: Any) -> list[float]:
    """Barriers, fills and what a sale would have fetched; gives the prices that were drawn."""
    drawn: list[float] = []
    exits = [one for one in dossier.orders if one.leg == "exit" and one.fills]
    opened = [one for one in dossier.orders if one.leg == "entry" and one.fills]
    at = dossier.barriers
    if at is not None and (held := _held(dossier)) is not None:
        start, end = held
        span = [_date(start), _date(end)]
        for level, colour, style, name in (
            (at.target, WON, "--", "target"), (at.entry, INK, ":", "paid"),
            (at.stop, LOST, "--", "stop"),
        ):  # fmt: skip
            axes.plot(span, [level] * 2, color=colour, linestyle=style, linewidth=1.2, label=name)
            drawn.append(level)
        market = dossier.market
        if market is not None:
            # From the newest event before the entry on.
            first = int(market.times.searchsorted(micros(start), "right")) - 1
            inside = slice(max(0, first), int(market.times.searchsorted(micros(end), "right")))
            fetched = market.fetched[inside]
            if np.isfinite(fetched).any():
                times = np.maximum(market.times[inside], micros(start))
                _steps(axes, _dates(times), fetched, _FETCHED, "a sale of all would fetch", 1.0)
    elif dossier.research is not None and dossier.research["price_usd"] and dossier.market is None:
        decided, known = _date(dossier.candidate["decided_at"]), dossier.research["price_usd"]
        axes.plot([decided], [known], "o", color=_LINE, label="price at the decision")
        drawn.append(known)
    for orders, marker, colour, name in (
        (opened, "^", WON, "bought"), (exits, "v", LOST, "sold"),
    ):  # fmt: skip
        points = [
            (_date(one.ended_at), one.price) for one in orders
            if one.ended_at is not None and one.price is not None
        ]  # fmt: skip
        if points:
            axes.plot(
                *zip(*points, strict=True), marker, color=colour, markersize=9, label=name,
                markeredgecolor="white", zorder=5,
            )  # fmt: skip
            drawn += [price for _, price in points]
    return drawn


def _steps(axes: Any, times: Any, values: Any, colour: str, name: str | None, width: float) -> None:
    # A price of nothing, of an emptied pool, has no place on a scale of ratios.
    axes.step(
        times, np.where(values > 0, values, np.nan), where="post", color=colour, linewidth=width,
        label=name,
    )  # fmt: skip


def _style(axes: Any, name: str, values: Sequence[float]) -> None:
    from matplotlib.ticker import NullFormatter

    known = [value for value in values if np.isfinite(value) and value > 0]
    if known and max(known) / min(known) >= _DECADE:
        axes.set_yscale("log")
        axes.yaxis.set_minor_formatter(NullFormatter())
        name += "\n(log scale)"
    axes.set_ylabel(name, fontsize=9, color=INK)
    axes.grid(axis="y", color=_GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8)


def _time_axis(axes: Any) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(tz=UTC)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator, tz=UTC))
    axes.set_xlabel("UTC", fontsize=9, color=INK)


def _dates(times: Any) -> Any:
    return times.astype("datetime64[us]")


def _date(moment: datetime | str) -> Any:
    at = datetime.fromisoformat(moment) if isinstance(moment, str) else moment
    return np.datetime64(at.astimezone(UTC).replace(tzinfo=None), "us")
