"""What may be said of an experiment's variants, after as many of them were tried."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from trade_pipeline.core.experiment.daily import Panel
from trade_pipeline.core.experiment.definition import Metric
from trade_pipeline.core.experiment.maximum import Compared, Luck, compare_all
from trade_pipeline.core.training.clustered import LEVEL
from trade_pipeline.core.training.overfitting import (
    BLOCKS,
    deflated_sharpe,
    overfitting_probability,
)

METHOD = (
    "paired by day; 95 % intervals and p-values hold for all comparisons together "
    "(single-step max-T, wild cluster bootstrap over blocks of days)"
)
# Unit, and what a value is multiplied by to be in it.
UNITS: dict[Metric, tuple[str, float]] = {
    "pnl_per_day": ("USD per day", 1.0),
    "mean_return": ("% per trade", 100.0),
    "sharpe": ("Sharpe ratio of a day", 1.0),
}
BETTER, WORSE, UNDECIDED, SAME = "better", "worse", "not shown", "the same trades"


@dataclass(frozen=True, slots=True)
class VariantResult:
    """A variant over all worlds of a group; the metric and its difference in the group's unit.

    Attributes:
        low, high: of the metric, clustered by day, for this variant alone.
        difference, difference_low, difference_high, p_value: to the baseline, for all comparisons
            of the experiment together; NaN for the baseline itself.
        verdict: ``baseline``, ``better``, ``worse``, ``not shown``, ``the same trades``.
    """

    variant: str
    trades: int
    pnl_usd: float
    mean_return_pct: float
    metric: float
    low: float
    high: float
    difference: float
    difference_low: float
    difference_high: float
    p_value: float
    verdict: str


@dataclass(frozen=True, slots=True)
class GroupResult:
    """The comparison on one kind of market.

    Attributes:
        unit: of the metric.
        blocks: of days whose differences count as one observation.
        comparisons: in the whole experiment, for which intervals and p-values are corrected.
        trials: settings among which the best was chosen, those of earlier experiments included.
        best: the variant with the largest difference; None: none could be compared.
        luck, luck_often: what the best shows by chance alone where all are alike: on the average,
            and one time in twenty above it.
        deflated: the best one's difference less the average luck.
        deflated_sharpe: probability that the best one's daily Sharpe ratio is above that of the
            luckiest of the trials; ``deflated_sharpe_of_difference`` of its daily profit over the
            baseline's.
        overfitting: probability of backtest overfitting (CSCV); ``overfitting_harmful`` that the
            choice also earns nothing.  NaN where there are too few days.
    """

    market: str
    worlds: tuple[str, ...]
    unit: str
    days: int
    blocks: int
    comparisons: int
    trials: int
    trials_before: int
    variants: tuple[VariantResult, ...]
    best: str | None
    luck: float
    luck_often: float
    deflated: float
    deflated_sharpe: float
    deflated_sharpe_of_difference: float
    overfitting: float
    overfitting_harmful: float
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """What is compared together: its name, its worlds, their days, and what was tried before."""

    market: str
    worlds: tuple[str, ...]
    panel: Panel
    trials_before: int = 0


def judge(
    groups: Sequence[Group], variants: Sequence[str], baseline: str, metric: Metric, seed: int
) -> list[GroupResult]:
    """Compare the variants of every group with its baseline.

    Args:
        variants: names of the panels' columns.
        seed: of what the bootstrap draws.
    """
    base = list(variants).index(baseline)
    others = [n for n in range(len(variants)) if n != base]
    compared = compare_all(
        [(*group.panel.against(metric, base), group.panel.block) for group in groups], seed
    )
    found = []
    for group, (differences, luck) in zip(groups, compared, strict=True):
        by_column = dict(zip(others, differences, strict=True))
        results = tuple(
            _result(group.panel, metric, column, base, name, by_column.get(column))
            for column, name in enumerate(variants)
        )
        found.append(
            _group(group, results, baseline, metric, luck, len(others) * len(groups), len(groups))
        )
    return found


def _result(
    panel: Panel, metric: Metric, column: int, base: int, name: str, compared: Compared | None
) -> VariantResult:
    scale = UNITS[metric][1]
    trades = int(panel.trades[:, column].sum())
    own = panel.interval(metric, column)
    known = compared or Compared(*[math.nan] * 4)
    if compared is None:
        verdict = "baseline"
    elif np.array_equal(panel.pnl[:, column], panel.pnl[:, base]):
        verdict = SAME
    elif compared.p_value <= 1 - LEVEL:
        verdict = BETTER if compared.value > 0 else WORSE
    else:
        verdict = UNDECIDED
    return VariantResult(
        variant=name,
        trades=trades,
        pnl_usd=math.fsum(panel.pnl[:, column]),
        mean_return_pct=100 * math.fsum(panel.returns[:, column]) / trades if trades else math.nan,
        metric=scale * own.value,
        low=scale * own.low,
        high=scale * own.high,
        difference=scale * known.value,
        difference_low=scale * known.low,
        difference_high=scale * known.high,
        p_value=known.p_value,
        verdict=verdict,
    )


def _group(
    group: Group, results: tuple[VariantResult, ...], baseline: str, metric: Metric, luck: Luck,
    comparisons: int, groups: int,
) -> GroupResult:  # fmt: skip
    panel, (unit, scale) = group.panel, UNITS[metric]
    names = [one.variant for one in results]
    known = [one for one in results if not math.isnan(one.difference)]
    best = max(known, key=lambda one: one.difference, default=None)
    trials = len(results) * groups + group.trials_before
    sharpe = of_difference = math.nan
    if best is not None:
        column, base = names.index(best.variant), names.index(baseline)
        over = np.delete(panel.pnl - panel.pnl[:, [base]], base, axis=1)
        sharpe = deflated_sharpe(panel.pnl[:, column], panel.pnl, trials)
        if over.shape[1] > 1:
            of_difference = deflated_sharpe(
                panel.pnl[:, column] - panel.pnl[:, base], over, max(2, trials - groups)
            )
    overfitting = overfitting_probability(panel.pnl)
    result = GroupResult(
        market=group.market,
        worlds=group.worlds,
        unit=unit,
        days=len(panel.day),
        blocks=int(panel.block[-1]) + 1 if len(panel.block) else 0,
        comparisons=comparisons,
        trials=trials,
        trials_before=group.trials_before,
        variants=results,
        best=None if best is None else best.variant,
        luck=scale * luck.mean,
        luck_often=scale * luck.often,
        deflated=math.nan if best is None else best.difference - scale * luck.mean,
        deflated_sharpe=sharpe,
        deflated_sharpe_of_difference=of_difference,
        overfitting=overfitting.strict,
        overfitting_harmful=overfitting.harmful,
        words=(),
    )
    return _with_words(result, baseline)


def _with_words(result: GroupResult, baseline: str) -> GroupResult:
    return replace(result, words=tuple(_words(result, baseline)))


def _words(one: GroupResult, baseline: str) -> Iterator[str]:
    unit = one.unit
    for verdict in (BETTER, WORSE):
        for found in one.variants:
            if found.verdict == verdict:
                yield (
                    f"{found.variant} is {verdict} than {baseline}: "
                    f"{signed(found.difference)} {unit} ({signed(found.difference_low)} to "
                    f"{signed(found.difference_high)}, p = "
                    f"{found.p_value:.3g}, corrected for {_count(one.comparisons, 'comparison')})."
                )
    better = any(found.verdict == BETTER for found in one.variants)
    if one.best is None:
        yield f"Nothing can be compared: {baseline} or all others have no {unit} to compare."
        return
    best = next(found for found in one.variants if found.variant == one.best)
    compared = sum(not math.isnan(found.difference) for found in one.variants)
    if not better:
        yield f"Nothing beats {baseline}."
    if 2.0 ** (1 - one.blocks) > 1 - LEVEL:
        yield (
            f"{_count(one.days, 'day')} are {_count(one.blocks, 'block')} of neighbouring days: "
            "too few to show any difference, however large; six blocks are the least."
        )
    who = f"The best of {compared}, {best.variant}," if compared > 1 else f"{best.variant}"
    yield (
        f"{who} shows {signed(best.difference)} {unit}; the best of {compared} by chance alone "
        f"would look like {signed(one.luck)} on the average, and one time in twenty more than "
        f"{signed(one.luck_often)}. Less the average luck it is {signed(one.deflated)} {unit}."
    )
    before = f", {one.trials_before} of them in earlier experiments" if one.trials_before else ""
    if not math.isnan(one.deflated_sharpe):
        yield (
            f"Probability that {best.variant} has a daily Sharpe ratio above that of the luckiest "
            f"of {one.trials} settings{before}: {one.deflated_sharpe:.3f} (deflated Sharpe ratio; "
            "0.95 is convincing)"
            + (
                f"; that its advantage over {baseline} has: "
                f"{one.deflated_sharpe_of_difference:.3f}."
                if not math.isnan(one.deflated_sharpe_of_difference)
                else "."
            )
        )
    if math.isnan(one.overfitting):
        yield (
            f"The probability of overfitting needs {2 * BLOCKS} days; there "
            f"{'is' if one.days == 1 else 'are'} {one.days}."
        )
    else:
        yield (
            f"Choosing the best by its past ends below the median of the rest in "
            f"{one.overfitting:.0%} of the splits (probability of backtest overfitting, CSCV; half "
            f"where all are alike), and also without profit in {one.overfitting_harmful:.0%}."
        )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def signed(value: float) -> str:
    """A number with its sign as people read it."""
    if math.isnan(value):
        return "-"
    if not math.isfinite(value):
        return f"{value:+}"
    return (
        f"{value:+.2g}" if 0 < abs(value) < 0.1 else f"{value:+,.{1 if abs(value) >= 100 else 2}f}"
    )
