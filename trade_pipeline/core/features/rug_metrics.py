"""How good probabilities of a rug are: ranking, decisions, calibration, and gains over others."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.market.event import Floats

_Bools = npt.NDArray[np.bool_]
BINS = 10


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Tokens whose probability lies in one tenth of 0..1."""

    low: float
    high: float
    tokens: int
    mean_probability: float
    rug_share: float


@dataclass(frozen=True, slots=True)
class RugMetrics:
    """Figures of one set of probabilities.

    Attributes:
        precision, recall: of the rugs, at the threshold; precision is NaN where none is called one.
        safe_f1: F1 of the class that is not a rug.
        mcc: Matthews correlation at the threshold; 0 where all are called the same.
        brier: mean squared distance of the probability from the truth.
        ece: mean distance of a bin's probability from its share of rugs, weighted by its tokens.
        reliability: the bins that are not empty.
    """

    auc: float
    threshold: float
    precision: float
    recall: float
    safe_f1: float
    mcc: float
    brier: float
    ece: float
    reliability: tuple[ReliabilityBin, ...]


def rug_metrics(rug: _Bools, probability: Floats, threshold: float | Floats) -> RugMetrics:
    """The figures of some tokens.

    Args:
        threshold: from which probability on a token is called a rug; chosen elsewhere than on these
            tokens.  One for all, or one a token (then the mean is reported).

    Raises:
        BadConfig: a probability outside 0..1, a length that differs, or only one class.
    """
    _check(rug, probability)
    called = probability >= threshold
    hit, false = int(np.sum(called & rug)), int(np.sum(called & ~rug))
    missed, passed = int(np.sum(~called & rug)), int(np.sum(~called & ~rug))
    bins = _reliability(rug, probability)
    return RugMetrics(
        auc=auc(rug, probability),
        threshold=float(np.mean(threshold)),
        precision=hit / (hit + false) if hit + false else float("nan"),
        recall=hit / (hit + missed),
        safe_f1=2 * passed / (2 * passed + missed + false),
        mcc=float(_matthews(hit, false, missed, passed)),
        brier=float(np.mean((probability - rug) ** 2)),
        ece=sum(b.tokens * abs(b.mean_probability - b.rug_share) for b in bins) / len(rug),
        reliability=bins,
    )


def auc(rug: _Bools, score: Floats) -> float:
    """The chance that a rug scores above a token that is none; ties count half (Mann-Whitney)."""
    _, group, counts = np.unique(score, return_inverse=True, return_counts=True)
    rank = np.cumsum(counts) - (counts - 1) / 2
    rugs = int(np.count_nonzero(rug))
    above = float(rank[group][rug].sum()) - rugs * (rugs + 1) / 2
    return above / (rugs * (len(rug) - rugs))


def auc_gain(
    rug: _Bools, score: Floats, baseline: Floats, *, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The 95 % interval of the gain in AUC over a baseline on the same tokens.

    Paired bootstrap: each draw takes rugs and others with replacement, the same ones for both.

    Returns:
        Its 2.5 and 97.5 percentiles.
    """
    random = np.random.default_rng(seed)
    rugs, others = np.flatnonzero(rug), np.flatnonzero(~rug)
    gains = np.empty(draws)
    for draw in range(draws):
        rows = np.concatenate([random.choice(rugs, len(rugs)), random.choice(others, len(others))])
        gains[draw] = auc(rug[rows], score[rows]) - auc(rug[rows], baseline[rows])
    low, high = np.percentile(gains, [2.5, 97.5]).tolist()
    return low, high


def best_threshold(rug: _Bools, probability: Floats, weight: Floats) -> float:
    """The probability from which on calling a rug has the greatest weighted Matthews correlation;
    the lowest such one of those given."""
    order = np.argsort(-probability, kind="stable")
    hits = np.cumsum(np.where(rug, weight, 0.0)[order])
    falses = np.cumsum(np.where(rug, 0.0, weight)[order])
    # Equal probabilities are called together.
    ends = np.flatnonzero(np.append(np.diff(probability[order]) != 0, True))
    hit, false = hits[ends], falses[ends]
    score = _matthews(hit, false, hits[-1] - hit, falses[-1] - false)
    best = len(score) - 1 - int(np.argmax(score[::-1]))
    return float(probability[order][ends[best]])


def _matthews(
    hit: Floats | float, false: Floats | float, missed: Floats | float, passed: Floats | float
) -> Floats:
    product = (
        np.asarray(hit + false, np.float64) * (hit + missed) * (passed + false) * (passed + missed)
    )
    above = np.asarray(hit * passed - false * missed, np.float64)
    return np.divide(
        above, np.sqrt(np.maximum(product, 0.0)), out=np.zeros_like(above), where=product > 0
    )


def _reliability(rug: _Bools, probability: Floats) -> tuple[ReliabilityBin, ...]:
    number = np.minimum((probability * BINS).astype(np.int64), BINS - 1)
    return tuple(
        ReliabilityBin(
            low=b / BINS,
            high=(b + 1) / BINS,
            tokens=int(np.sum(number == b)),
            mean_probability=float(probability[number == b].mean()),
            rug_share=float(rug[number == b].mean()),
        )
        for b in np.unique(number).tolist()
    )


def _check(rug: _Bools, probability: Floats) -> None:
    if len(rug) != len(probability):
        raise BadConfig(f"probability: {len(probability)} values for {len(rug)} tokens")
    outside = probability[~((probability >= 0) & (probability <= 1))]
    if len(outside):
        raise BadConfig(f"probability={outside[0]}: expected 0..1")
    if not 0 < np.count_nonzero(rug) < len(rug):
        raise BadConfig(f"rug: {np.count_nonzero(rug)} rugs among {len(rug)}; both are needed")
