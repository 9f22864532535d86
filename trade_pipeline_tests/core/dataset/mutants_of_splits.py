"""Splits that touch each other, and preparations that have seen more than the training rows."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd

from trade_pipeline.core.dataset.leaks.suite import Prepared, Splits
from trade_pipeline_tests.core.dataset.honest import HONEST
from trade_pipeline_tests.core.dataset.planted import Planted
from trade_pipeline_tests.core.dataset.planting import (
    EMBARGO,
    fit,
    noise,
    preparation_leak,
    returns,
    split,
    split_leak,
)


@split_leak
def no_purge(planted: Planted) -> tuple[Splits, set[str]]:
    frame = planted.frame
    boundary = frame["decided_at"].iloc[len(frame) * 6 // 10]
    train = frame[frame["decided_at"] < boundary]
    others = frame[frame["decided_at"] >= boundary]
    reach = train["label_end"] >= boundary
    return Splits(train, others), set(train.index[reach])


@split_leak
def no_embargo(planted: Planted) -> tuple[Splits, set[str]]:
    train, others = split(planted.frame)
    last = train["label_end"].max()
    others = planted.frame[planted.frame["decided_at"] > last]
    near = train["label_end"] > others["decided_at"].min() - EMBARGO
    return Splits(train, others, EMBARGO), set(train.index[near])


@split_leak
def shuffled(planted: Planted) -> tuple[Splits, set[str]]:
    frame = planted.frame
    other = np.random.default_rng(3).random(len(frame)) < 0.02
    train, others = frame[~other], frame[other]
    start, end = (train[name].to_numpy()[:, None] for name in ("decided_at", "label_end"))
    touch = (start <= others["label_end"].to_numpy()) & (end >= others["decided_at"].to_numpy())
    return Splits(train, others), set(train.index[touch.any(axis=1)])


@split_leak
def decisions_replayed_by_another_session(planted: Planted) -> tuple[Splits, set[str]]:
    train, others = split(planted.frame)
    # Apart in time, so that a copy touches none but its own original and its neighbours there.
    again = others.iloc[-3:]
    copies = again.set_index(pd.Index([str(UUID(int=i)) for i in range(3)], name="uuid"))
    copies = copies.assign(session_id="replay")
    return Splits(pd.concat([train, copies]), others), set(copies.index)


# Preparation.


def learned(planted: Planted, part: str) -> tuple[Prepared, set[str]]:
    """A right preparation but for one part, learned from all rows."""
    train, _ = split(planted.frame)
    state = fit(train)
    selected = state["features"]
    everything = fit(planted.frame, selected)
    prepared = state | {part: everything[part]}
    return Prepared(prepared, train, fit), {
        name
        for name, right, wrong in zip(selected, state[part], everything[part], strict=False)
        if right != wrong
    }


@preparation_leak
def scaler_of_all_rows(planted: Planted) -> tuple[Prepared, set[str]]:
    return learned(planted, "scales")


@preparation_leak
def centre_of_all_rows(planted: Planted) -> tuple[Prepared, set[str]]:
    return learned(planted, "means")


@preparation_leak
def medians_of_all_rows(planted: Planted) -> tuple[Prepared, set[str]]:
    return learned(planted, "medians")


@preparation_leak
def selection_on_all_rows(planted: Planted) -> tuple[Prepared, set[str]]:
    """Noise on training rows that goes with the return afterwards is selected instead."""
    train, _ = split(planted.frame)
    late = planted.frame["decided_at"] > train["label_end"].max()
    lucky = noise(planted) + np.where(late, 4 * returns(planted), 0.0)
    frame = planted.with_columns({"lucky": lucky})
    train, _ = split(frame)
    train.attrs["features"] = frame.attrs["features"]

    def best(rows: pd.DataFrame) -> dict[str, Any]:
        return fit(rows, [*HONEST, "lucky"], 1)

    state = best(frame)
    wrong, right = set(state["features"]), set(best(train)["features"])
    return Prepared(state, train, best), wrong | right
