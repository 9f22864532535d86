"""A preparation that has seen more than the training rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.dataset.leaks.guard import NAMED, Guard, features_of

if TYPE_CHECKING:
    import pandas as pd

Path = tuple[str, ...]


def preparation_guard(
    state: Mapping[str, Any],
    train_frame: pd.DataFrame,
    fit: Callable[[pd.DataFrame], Mapping[str, Any]],
) -> Guard:
    """Whether scaling, imputation and selection are those fitted on the training rows alone.

    Args:
        state: what the preparation has learned: mappings and sequences of plain values and arrays.
            Sequences of feature names name the first values of a sequence beside them: all of them,
            one after the other, if it is as long, else the longest of them that is not longer.
        fit: fits a state of the same form on a frame; it must be deterministic.

    Returns:
        The guard; its culprits are the features whose learned values differ in a single bit, or
        that are in one state alone.
    """
    features = set(features_of(train_frame))
    stored = dict(_values(state, features))
    refitted = dict(_values(fit(train_frame), features))
    different = [
        path
        for path in sorted(stored.keys() | refitted.keys())
        if _bits(stored.get(path)) != _bits(refitted.get(path))
    ]
    reasons = [
        f"{'/'.join(path)}: {stored.get(path)!r}, on the training rows alone {refitted.get(path)!r}"
        for path in different[:NAMED]
    ]
    if len(different) > NAMED:
        reasons.append(f"and {len(different) - NAMED} more")
    culprits = sorted({part for path in different for part in path if part in features})
    numbers = {"values": len(stored), "different": len(different)}
    return Guard("preparation_guard", not different, reasons, numbers, culprits)


def _values(
    state: Any, features: set[str], path: Path = (), labels: Sequence[Path] = ()
) -> Iterator[tuple[Path, Any]]:
    """Every plain value with its path; labels stand for the first positions of a sequence."""
    if isinstance(state, np.ndarray):
        state = state.tolist()
    if isinstance(state, Mapping):
        beside = [
            [(name, str(key)) for name in names]
            for key, names in state.items()
            if _names_features(names, features)
        ]
        for key, value in state.items():
            fitting = [[label for names in beside for label in names], *beside]
            fitting = [names for names in fitting if len(names) <= _length(value)]
            yield from _values(
                value, features, (*path, str(key)), max(fitting, key=len, default=())
            )
    elif _names_features(state, features):
        for place, name in enumerate(state):
            yield (*path, name), place
    elif isinstance(state, Sequence) and not isinstance(state, str):
        for place, value in enumerate(state):
            label = labels[place] if place < len(labels) else (str(place),)
            yield from _values(value, features, (*path, *label))
    else:
        yield path, state


def _names_features(value: Any, features: set[str]) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, str)
        and len(value) > 0
        and all(isinstance(name, str) and name in features for name in value)
    )


def _length(value: Any) -> int:
    return len(value) if isinstance(value, Sequence | np.ndarray) and np.ndim(value) else -1


def _bits(value: Any) -> Any:
    """What two values are compared by: the bits of a float, NaN being one value."""
    if isinstance(value, float | np.floating):
        return "nan" if np.isnan(value) else float(value).hex()
    return repr(value)
