"""How a leak is planted into a clean trade frame, and which guard must name it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from trade_pipeline.core.dataset.leaks.guard import Guard
from trade_pipeline.core.dataset.leaks.suite import Prepared, Splits, run_guards
from trade_pipeline.core.features.preparation import Preparation, selection_scores
from trade_pipeline.core.market.event import Floats
from trade_pipeline_tests.core.dataset.made_market import DELAY, Feature
from trade_pipeline_tests.core.dataset.planted import Planted

EMBARGO = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A planted leak: the guard that must name it, what it must name, and the guards' verdicts.

    ``run`` returns the verdicts and the culprits that the guard must name, nothing else.
    """

    guard: str
    run: Callable[[Planted], tuple[list[Guard], set[str]]]


MUTANTS: dict[str, Mutant] = {}


def judged(
    planted: Planted, features: dict[str, Feature] | None = None
) -> tuple[list[Guard], set[str]]:
    """The guards of features on the frame with features added; of all that is clean without."""
    leaks = features or {}
    train, others = split(planted.frame)
    return run_guards(
        planted.recomputed(leaks),
        truncated=planted.recomputed(leaks, cut=True),
        shifted=planted.recomputed(leaks, delay=DELAY),
        splits=None if leaks else Splits(train, others, EMBARGO),
        prepared=None if leaks else Prepared(fit(train), train, fit),
    ), set(leaks)


def split(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The oldest 60 % without labels that reach the rest, and the rest after the embargo."""
    boundary = frame["decided_at"].iloc[len(frame) * 6 // 10]
    train = frame[(frame["decided_at"] < boundary) & (frame["label_end"] < boundary)]
    return train, frame[frame["decided_at"] >= boundary + EMBARGO]


def fit(frame: pd.DataFrame, features: list[str] | None = None, k: int = 8) -> dict[str, Any]:
    names = features or frame.attrs["features"]
    scores = selection_scores(frame, names, frame["target_return"].to_numpy())
    return Preparation.fit(frame, names, scores, k).to_dict()


def market_leak(guard: str) -> Callable[[Feature], Feature]:
    """A feature computed from the market, which sees what it must not."""

    def register(feature: Feature) -> Feature:
        name = feature.__name__
        MUTANTS[name] = Mutant(guard, lambda planted: judged(planted, {name: feature}))
        return feature

    return register


def column_leak(guard: str) -> Callable[[Callable[[Planted], Floats]], None]:
    """A column made outside of the market, which nobody can compute again."""

    def register(make: Callable[[Planted], Floats]) -> None:
        name = make.__name__

        def run(planted: Planted) -> tuple[list[Guard], set[str]]:
            return run_guards(planted.with_columns({name: make(planted)})), {name}

        MUTANTS[name] = Mutant(guard, run)

    return register


def split_leak(make: Callable[[Planted], tuple[Splits, set[str]]]) -> None:
    def run(planted: Planted) -> tuple[list[Guard], set[str]]:
        splits, expected = make(planted)
        return run_guards(planted.frame, splits=splits), expected

    MUTANTS[make.__name__] = Mutant("overlapping_intervals", run)


def preparation_leak(make: Callable[[Planted], tuple[Prepared, set[str]]]) -> None:
    def run(planted: Planted) -> tuple[list[Guard], set[str]]:
        prepared, expected = make(planted)
        return run_guards(planted.frame, prepared=prepared), expected

    MUTANTS[make.__name__] = Mutant("preparation_guard", run)


def returns(planted: Planted) -> Floats:
    return planted.frame["target_return"].to_numpy(np.float64)


def noise(planted: Planted) -> Floats:
    return np.random.default_rng(len(planted.frame)).standard_normal(len(planted.frame))
