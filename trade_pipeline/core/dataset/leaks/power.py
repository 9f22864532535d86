"""How much one feature alone tells of a label, for many features at once.

Missing values are left out of rank statistics and are a bin of their own in binned ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trade_pipeline.core.market.event import Floats, Ints

FOLDS = 4
# Fewer tokens than this cannot be held out of their own prediction; time alone is then.
FEWEST_TOKENS = 2 * FOLDS
RETURN_CLASSES = 10
# Prior rows of the overall distribution in each bin.
PRIOR = 3.0


def ranks(values: Floats) -> Floats:
    """Average ranks from 1, column by column; NaN stays NaN."""
    import pandas as pd

    return np.asarray(pd.DataFrame(values).rank().to_numpy(np.float64))


def centred(found: Floats) -> Floats:
    """Each column less its mean, scaled to variance 1; 0 where missing, and if it is constant."""
    there = ~np.isnan(found)
    count = np.maximum(there.sum(axis=0), 1)
    found = np.where(there, found - np.nansum(found, axis=0) / count, 0.0)
    spread = np.sqrt((found**2).sum(axis=0) / count)
    return np.asarray(np.divide(found, spread, out=np.zeros_like(found), where=spread > 1e-9))


def mean_by_cluster(
    values: Floats, there: npt.NDArray[np.bool_], cluster: Ints
) -> tuple[Floats, Floats]:
    """Mean of each column over the rows that are there, and its standard error.

    Args:
        values: 0 where nothing is there.
        cluster: ascending; rows of one cluster count as one observation for the error.
    """
    count = np.maximum(there.sum(axis=0), 1)
    mean = values.sum(axis=0) / count
    away = np.where(there, values - mean, 0.0)
    starts = np.flatnonzero(np.diff(cluster, prepend=cluster[:1] - 1))
    sums = np.add.reduceat(away, starts, axis=0)
    # Few clusters understate their spread: so much wider, a normal quantile stands for Student's.
    few = 1 + 4 / max(len(starts), 1)
    return np.asarray(mean), np.asarray(few * np.sqrt((sums**2).sum(axis=0)) / count)


def rank_correlations(ranked: Floats, target: Floats, cluster: Ints) -> tuple[Floats, Floats]:
    """Correlation of each column of ranks with the ranks of a target, and its standard error.

    Spearman's, but for the target's ranks: they are those of all rows, which spares ranking it
    again for each column.

    Args:
        cluster: as in `mean_by_cluster`.
    """
    there = ~np.isnan(ranked)
    x = centred(ranked)
    y = centred(np.where(there, ranks(target[:, None]), np.nan))
    found = (x * y).sum(axis=0) / np.maximum(there.sum(axis=0), 1)
    # What a row adds to the correlation; nothing where x and y agree.
    _, error = mean_by_cluster(x * y - found * (x**2 + y**2) / 2, there, cluster)
    return np.asarray(found), error


def areas(ranked: Floats, positive: npt.NDArray[np.bool_]) -> Floats:
    """Area under the ROC curve of each column of ranks (Mann-Whitney, ties count half).

    0.5 where the known values do not hold both classes.
    """
    there = ~np.isnan(ranked)
    ones = there[positive].sum(axis=0)
    zeros = there.sum(axis=0) - ones
    u = np.nansum(ranked[positive], axis=0) - ones * (ones + 1) / 2
    pairs = (ones * zeros).astype(np.float64)
    return np.asarray(np.divide(u, pairs, out=np.full(len(pairs), 0.5), where=pairs > 0))


@dataclass(frozen=True, slots=True)
class Folds:
    """Rows apart by time and by token, so that neither a day's nor a token's own rows tell of it.

    Attributes:
        cell: of each row, 0..FOLDS**2-1: its block of time, then its group of tokens.
        by_token: whether there are tokens enough to hold a row's own ones out.
    """

    cell: Ints
    by_token: bool

    @classmethod
    def of(cls, tokens: Ints) -> Folds:
        """Folds of rows in the order of time, by the number of each row's token."""
        block = np.arange(len(tokens)) * FOLDS // max(len(tokens), 1)
        return cls(block * FOLDS + tokens % FOLDS, len(np.unique(tokens)) >= FEWEST_TOKENS)

    def shares(self, codes: Ints, bins: int, classes: Ints) -> tuple[Floats, Floats, Floats]:
        """Rows by cell, bin and class, and what the rest tells of the classes there.

        The rest has neither the cell's block of time nor its group of tokens.

        Returns:
            Counts and the rest's shares (cells, bins, classes); the latter in all bins together
            (cells, 1, classes).  A bin's shares lean on those of all bins by `PRIOR` rows.
        """
        kinds = int(classes.max()) + 1
        shape = (FOLDS, FOLDS, bins, kinds)
        key = (self.cell * bins + codes) * kinds + classes
        counts = np.bincount(key, minlength=FOLDS * FOLDS * bins * kinds).reshape(shape)
        rest = counts.sum(axis=(0, 1)) - counts.sum(axis=1, keepdims=True)
        rest = (
            rest - counts.sum(axis=0, keepdims=True) + counts
            if self.by_token
            else np.broadcast_to(rest, shape)
        ).reshape(-1, bins, kinds)
        overall = rest.sum(axis=1, keepdims=True) + 1.0
        overall /= overall.sum(axis=2, keepdims=True)
        own = (rest + PRIOR * overall) / (rest.sum(axis=2, keepdims=True) + PRIOR)
        return counts.reshape(own.shape).astype(np.float64), own, overall


def bins_for(rows: int) -> int:
    """As many bins as leave some 20 rows in each, 8 to 128."""
    return int(np.clip(rows // 20, 8, 128))


def bin_codes(ranked: Floats, bins: int) -> Ints:
    """Bins of equal numbers of rows, by column; equal values share one, missing is ``bins``."""
    count = np.maximum((~np.isnan(ranked)).sum(axis=0), 1)
    codes = np.minimum((ranked - 0.5) * bins / count, bins - 1)
    return np.where(np.isnan(codes), bins, codes).astype(np.int64)


def binned_areas(codes: Ints, bins: int, positive: npt.NDArray[np.bool_], folds: Folds) -> Floats:
    """Area under the ROC curve of a class's share in each row's bin, learned from other rows.

    Unlike the area of the raw value it sees a class in the middle, at both ends, at some values or
    where the value is missing; 0.5 says nothing, below is none.
    """
    classes = positive.astype(np.int64)
    found = np.empty(codes.shape[1])
    for i in range(codes.shape[1]):
        counts, own, overall = folds.shares(codes[:, i], bins + 1, classes)
        score, place = np.unique((own - overall)[..., 1].round(12), return_inverse=True)
        zeros, ones = (
            np.bincount(place.ravel(), weights=counts[..., kind].ravel(), minlength=len(score))
            for kind in (0, 1)
        )
        below = np.cumsum(zeros) - zeros / 2
        found[i] = (ones * below).sum() / (ones.sum() * zeros.sum())
    return found


def binned_information(codes: Ints, bins: int, target: Floats, folds: Folds) -> Floats:
    """Share of what there is to know of a target's decile that each row's bin tells, up to 1.

    The mean logarithmic score of the deciles' shares in the bin, learned from other rows, over that
    of their shares in all bins, by the entropy of the deciles.  It sees any dependence, also of the
    target's size without its sign; a bin that tells nothing scores 0 or a little below.
    """
    place = (ranks(target[:, None])[:, 0] - 0.5) / len(target)
    classes = np.unique((place * RETURN_CLASSES).astype(np.int64), return_inverse=True)[1]
    shares = np.bincount(classes) / len(classes)
    entropy = -float((shares * np.log(shares)).sum())
    found = np.zeros(codes.shape[1])
    for i in range(codes.shape[1] if entropy > 0 else 0):
        counts, own, overall = folds.shares(codes[:, i], bins + 1, classes)
        found[i] = float((counts * np.log(own / overall)).sum()) / len(classes) / entropy
    return found
