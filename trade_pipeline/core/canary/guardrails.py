"""What stops a canary whatever its mean is: pure functions from numbers to a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from trade_pipeline.core.canary.sequence import confidence_sequence
from trade_pipeline.core.market.event import Floats

# A rate or a share has to come from as many to break a guardrail.
_MIN_COUNT = 50
_TAIL = 0.05
# Chance that a sound canary ever breaks one of the guardrails that hold at every look.
_RARE = 0.001
# How many windows the prior of their share counts for.
_PRIOR_WINDOWS = 100.0


@dataclass(frozen=True, slots=True)
class Guardrail:
    """One guardrail at a look; a broken one rolls the canary back.

    Attributes:
        reason: why it is broken; empty where it holds.
    """

    name: str
    passed: bool
    reason: str
    numbers: Mapping[str, float]


def drawdown(canary: Floats, production: Floats, margin: float = 0.1) -> Guardrail:
    """The deepest fall of the canary's shadow book against production's.

    Args:
        canary, production: equity of two books with the same fund, slots and protections, in the
            order of time.
        margin: share of the fund that it may be deeper.
    """
    own, other = _deepest(canary), _deepest(production)
    return _guardrail(
        "drawdown",
        own >= other - margin,
        f"{own:.1%} deep, production {other:.1%}, allowed {margin:.0%} deeper",
        {"canary": own, "production": other, "margin": margin},
    )


def tail_loss(canary: Floats, production: Floats, margin: float = 0.1) -> Guardrail:
    """The mean of the worst twentieth of the returns that each model would have entered.

    Args:
        canary, production: returns of the candidates that each stakes on.
        margin: return by which the canary's may be lower.
    """
    own, other = _worst(canary), _worst(production)
    enough = min(len(canary), len(production)) >= _MIN_COUNT
    return _guardrail(
        "tail_loss",
        not enough or own >= other - margin,
        f"worst twentieth {own:+.3f}, production {other:+.3f}, allowed {margin:g} lower",
        {"canary": own, "production": other, "margin": margin},
    )


def worst_loss(canary: float, production: float, margin: float = 0.1) -> Guardrail:
    """The worst single trade of the canary's shadow book against that of production's.

    Args:
        canary, production: its result as a share of the fund; 0 without trades.
        margin: share of the fund that the canary may lose more.
    """
    return _guardrail(
        "worst_loss",
        canary >= production - margin,
        f"{canary:+.1%} of the fund, production {production:+.1%}, allowed {margin:.0%} more",
        {"canary": canary, "production": production, "margin": margin},
    )


def execution_gap(realised: Floats, shadow: Floats, margin: float = 0.02) -> Guardrail:
    """Executed trades fetch what their shadow labels promise.

    It breaks when the mean difference is beyond doubt below ``-margin``, however often it is looked
    at: a broken venue, not the luck of some fills.

    Args:
        realised, shadow: in the order of time.
    """
    difference = realised - shadow
    sequence = confidence_sequence(difference, _RARE)
    mean, high = (
        (float(sequence.mean[-1]), float(sequence.high[-1])) if len(difference) else (0.0, math.inf)
    )
    return _guardrail(
        "execution_gap",
        high >= -margin,
        f"executed trades fetch {mean:+.4f} less the shadow label, at most {high:+.4f}, allowed "
        f"{-margin:+.4f}",
        {"trades": len(difference), "mean": mean, "high": high, "margin": margin},
    )


def share_of(
    name: str, wrong: int, asked: int, allowed: float, min_count: int = _MIN_COUNT
) -> Guardrail:
    """A share, such as that of errors or of missing features, within what is allowed."""
    share = wrong / asked if asked else 0.0
    return _guardrail(
        name,
        asked < min_count or share <= allowed,
        f"{share:.1%} of {asked}, allowed {allowed:.1%}",
        {"wrong": wrong, "asked": asked, "share": share, "allowed": allowed},
    )


def latency(milliseconds: float, allowed: float = 50.0) -> Guardrail:
    """Time of the prediction of one decision.

    What was measured is told only where it breaks: it is another time at each look, and the same
    look at the same facts is one evaluation.
    """
    return _guardrail(
        "latency",
        not milliseconds > allowed,
        f"{milliseconds:.1f} ms a decision, allowed {allowed:g}",
        {"allowed": allowed},
    )


def sample_ratio(canary: int, production: int, share: float) -> Guardrail:
    """The canary got its share of the token windows.

    A beta mixture of shares against the one that was set, which holds at every look (Lindon and
    Malek 2020, arXiv 2011.03567).
    """
    from scipy.special import betaln

    windows = canary + production
    prior = (_PRIOR_WINDOWS * share, _PRIOR_WINDOWS * (1 - share))
    told = betaln(prior[0] + canary, prior[1] + production) - betaln(*prior)
    against = float(told - canary * math.log(share) - production * math.log(1 - share))
    return _guardrail(
        "sample_ratio",
        against <= math.log(1 / _RARE),
        f"{canary} of {windows} windows, expected {share:.0%} (log odds against it {against:.1f})",
        {"canary": canary, "production": production, "share": share, "log_odds": against},
    )


@dataclass(frozen=True, slots=True)
class OffPolicy:
    """A secondary estimate from executed trades alone.

    Attributes:
        difference: mean realised return of the canary's arm less that of production's, each trade
            weighed by the inverse of its arm's propensity, self-normalised (Hajek).
        effective: sample size of each arm (Kish), the smaller one.
    """

    difference: float
    effective: float


def off_policy(returns: Floats, propensity: Floats, canary: np.ndarray) -> OffPolicy:
    """The estimate of some trades.

    Args:
        propensity: of the arm that each trade got.
        canary: whether it was the canary's.
    """
    weights = 1.0 / propensity
    means, sizes = [], []
    for arm in (canary, ~canary):
        total = float(weights[arm].sum())
        means.append(float((weights[arm] * returns[arm]).sum() / total) if total else math.nan)
        sizes.append(total**2 / float((weights[arm] ** 2).sum()) if total else 0.0)
    return OffPolicy(means[0] - means[1], min(sizes))


def _guardrail(name: str, holds: bool, reason: str, numbers: Mapping[str, float]) -> Guardrail:
    return Guardrail(name, holds, "" if holds else reason, numbers)


def _deepest(equity: Floats) -> float:
    """The deepest fall below the highest before, <= 0, as a share of it."""
    if not len(equity):
        return 0.0
    highest = np.maximum.accumulate(equity)
    return float((equity / highest - 1.0).min())


def _worst(returns: Floats) -> float:
    if not len(returns):
        return 0.0
    return float(np.sort(returns)[: max(1, round(_TAIL * len(returns)))].mean())
