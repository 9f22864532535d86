"""All leak guards that what is given allows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from trade_pipeline.core.dataset.leaks.delay import delay_sensitive_features
from trade_pipeline.core.dataset.leaks.guard import Guard
from trade_pipeline.core.dataset.leaks.identity import identity_features
from trade_pipeline.core.dataset.leaks.intervals import overlapping_intervals
from trade_pipeline.core.dataset.leaks.parity import compare_vectors
from trade_pipeline.core.dataset.leaks.preparation import preparation_guard
from trade_pipeline.core.dataset.leaks.separating import separating_features

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Splits:
    """Training rows, those of validation and test, and the gap that was promised between them."""

    train: pd.DataFrame
    others: pd.DataFrame
    embargo: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A preparation's state, the training rows, and what fits such a state on a frame."""

    state: Mapping[str, Any]
    train: pd.DataFrame
    fit: Callable[[pd.DataFrame], Mapping[str, Any]]


def run_guards(
    frame: pd.DataFrame,
    *,
    truncated: pd.DataFrame | None = None,
    shifted: pd.DataFrame | None = None,
    splits: Splits | None = None,
    prepared: Prepared | None = None,
) -> list[Guard]:
    """The guards on a labelled trade frame, and on what else is given.

    Args:
        truncated: the same rows recomputed on a market cut off at each decision.
        shifted: the same rows recomputed as of each decision less the recording delay.
    """
    guards = [separating_features(frame), identity_features(frame)]
    if truncated is not None:
        guards.append(compare_vectors(frame, truncated))
    if shifted is not None:
        guards.append(delay_sensitive_features(frame, shifted))
    if splits is not None:
        guards.append(overlapping_intervals(splits.train, splits.others, embargo=splits.embargo))
    if prepared is not None:
        guards.append(preparation_guard(prepared.state, prepared.train, prepared.fit))
    return guards
