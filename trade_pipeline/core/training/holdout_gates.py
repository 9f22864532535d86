"""The gates on the holdout: better than what decides now, and no harm anywhere."""

from __future__ import annotations

import numpy as np

from trade_pipeline.core.market.event import Floats, Ints
from trade_pipeline.core.training.clustered import (
    difference_interval,
    market_adjusted,
    mean_interval,
)
from trade_pipeline.core.training.evidence import REGIMES, Evidence, Scored
from trade_pipeline.core.training.gate_config import GateConfig
from trade_pipeline.core.training.verdict import GateResult, Verdict

_TAIL = 0.05
# A regime with less tells nothing.
_MIN_REGIME_DAYS, _MIN_REGIME_ENTRIES = 5, 30
# Three regimes are asked: harm by chance should stay rare in all of them together.
_HARM_LEVEL = 0.99


def improvement(evidence: Evidence, config: GateConfig) -> GateResult:
    """More return per stake than the heuristic and the incumbent, and no less than a linear model
    earns with the same stakes.

    Returns are market-adjusted, so that what is measured is the choice among a day's candidates
    and not the luck of the days.  Beside a rival that enters nothing, a stake must earn something.
    """
    verdict, rows = Verdict("improvement"), evidence.holdout
    adjusted = market_adjusted(rows.returns, rows.day)
    entries = int((rows.stake > 0).sum())
    verdict.number(entries=entries, rows=len(rows.returns))
    verdict.require(
        entries >= config.min_entries, f"enters {entries} candidates, needs {config.min_entries}"
    )
    for name, stake in _rivals(rows):
        if not (stake > 0).any():
            earned = mean_interval(rows.returns, rows.stake, rows.day, rows.token)
            verdict.number(**{f"against_{name}": earned})
            verdict.require(
                earned.low > 0,
                f"return per stake where the {name} enters nothing: {earned.value:+.4f}, interval "
                f"from {earned.low:+.4f}, needs to begin above zero",
            )
            continue
        better = difference_interval(adjusted, rows.stake, stake, rows.day, rows.token)
        raw = difference_interval(rows.returns, rows.stake, stake, rows.day, rows.token)
        verdict.number(**{f"against_{name}": better, f"against_{name}_unadjusted": raw})
        verdict.require(
            better.low > 0,
            f"return per stake against the {name}: {better.value:+.4f}, interval from "
            f"{better.low:+.4f}, needs to begin above zero",
        )
    linear = difference_interval(adjusted, rows.stake, rows.linear_stake, rows.day, rows.token)
    verdict.number(against_linear=linear)
    verdict.require(
        bool(np.isfinite(rows.linear_stake).all()), "a stake of the linear model is unknown"
    )
    verdict.require(
        linear.low >= -config.linear_margin,
        f"return per stake against the linear model: {linear.value:+.4f}, interval from "
        f"{linear.low:+.4f}, allowed {-config.linear_margin:+.4f}",
    )
    return verdict.result()


def no_harm(evidence: Evidence, config: GateConfig) -> GateResult:
    """Return, drawdown and tail loss against what decides now, and return in every regime.

    A rival that enters nothing has none of them: beside it, `improvement` asks for earnings.
    """
    verdict, rows = Verdict("no_harm"), evidence.holdout
    for name, stake in _rivals(rows):
        if not (stake > 0).any():
            continue
        overall = difference_interval(rows.returns, rows.stake, stake, rows.day, rows.token)
        verdict.number(**{f"return_against_{name}": overall})
        verdict.require(
            overall.value >= -config.harm_margin and overall.high >= 0,
            f"return per stake against the {name}: {overall.value:+.4f}, up to {overall.high:+.4f},"
            f" allowed {-config.harm_margin:+.4f}",
        )
        for measure, figure, margin in (
            ("drawdown", drawdown, config.drawdown_margin),
            ("tail loss", tail, config.tail_margin),
        ):
            own = figure(rows.returns, rows.stake, rows.day)
            other = figure(rows.returns, stake, rows.day)
            verdict.number(**{measure: own, f"{measure} of the {name}": other})
            verdict.require(
                own >= other - margin,
                f"{measure} {own:.3f}, that of the {name} {other:.3f}, allowed {margin:g} lower",
            )
        for code, regime in enumerate(REGIMES):
            here = rows.regime == code
            if not _tells(rows, stake, here):
                continue
            found = difference_interval(
                rows.returns[here],
                rows.stake[here],
                stake[here],
                rows.day[here],
                rows.token[here],
                _HARM_LEVEL,
            )
            verdict.number(**{f"{regime}_against_{name}": found})
            verdict.require(
                found.high >= 0,
                f"on {regime} days {found.value:+.4f} per stake against the {name}, up to "
                f"{found.high:+.4f}",
            )
    return verdict.result()


def drawdown(returns: Floats, stake: Floats, day: Ints) -> float:
    """The deepest fall (<= 0) of the summed result by day, in stakes of an average day."""
    if not (stake > 0).any():
        return 0.0
    days, group = np.unique(day, return_inverse=True)
    total = np.bincount(group, stake, minlength=len(days))
    gained = np.bincount(group, stake * returns, minlength=len(days))
    curve = np.concatenate(([0.0], np.cumsum(gained / total.mean())))
    return float((curve - np.maximum.accumulate(curve)).min())


def tail(returns: Floats, stake: Floats, day: Ints) -> float:
    """The mean of the worst twentieth of the entered returns."""
    entered = np.sort(returns[stake > 0])
    return float(entered[: max(1, round(_TAIL * len(entered)))].mean()) if len(entered) else 0.0


def _rivals(rows: Scored) -> list[tuple[str, Floats]]:
    rivals = [("heuristic", rows.heuristic_stake)]
    if rows.incumbent_stake is not None:
        rivals.append(("incumbent", rows.incumbent_stake))
    return rivals


def _tells(rows: Scored, stake: Floats, here: np.ndarray) -> bool:
    days = len(np.unique(rows.day[here]))
    entries = min(int((one[here] > 0).sum()) for one in (rows.stake, stake))
    return days >= _MIN_REGIME_DAYS and entries >= _MIN_REGIME_ENTRIES
