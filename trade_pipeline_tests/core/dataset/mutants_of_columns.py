"""Columns that hold the label, or say which row, token or moment it is."""

from __future__ import annotations

import zlib
from uuid import UUID

import numpy as np

from trade_pipeline.core.dataset.leaks.guard import Guard
from trade_pipeline.core.dataset.leaks.suite import run_guards
from trade_pipeline.core.market.event import Floats
from trade_pipeline_tests.core.dataset.honest import HONEST
from trade_pipeline_tests.core.dataset.planted import Planted
from trade_pipeline_tests.core.dataset.planting import (
    MUTANTS,
    Mutant,
    column_leak,
    noise,
    returns,
)

# The label as a feature.

tells = column_leak("separating_features")


@tells
def label(planted: Planted) -> Floats:
    return returns(planted)


@tells
def label_with_noise(planted: Planted) -> Floats:
    return returns(planted) + 0.15 * noise(planted)


@tells
def label_clipped(planted: Planted) -> Floats:
    return returns(planted).clip(-0.05, 0.05)


@tells
def label_squared(planted: Planted) -> Floats:
    return returns(planted) ** 2


@tells
def label_in_a_saw(planted: Planted) -> Floats:
    return np.sin(9 * returns(planted)) * 10


@tells
def sign_of_the_label_in_missingness(planted: Planted) -> Floats:
    return np.where(returns(planted) > 0, np.nan, noise(planted))


@tells
def label_in_the_first_half_alone(planted: Planted) -> Floats:
    early = np.arange(len(planted.frame)) < len(planted.frame) // 2
    return np.where(early, returns(planted), 0.1 * noise(planted))


@tells
def rug_is_known(planted: Planted) -> Floats:
    return planted.frame["rug"].to_numpy(np.float64) + 0.2 * noise(planted)


@tells
def rug_in_the_middle(planted: Planted) -> Floats:
    rug = planted.frame["rug"].to_numpy()
    return np.where(rug, 0.2 * noise(planted), np.sign(noise(planted)) * 2 + 0.3 * noise(planted))


def encoded(planted: Planted, rows: Floats, folds: int = 1) -> Floats:
    """The mean return of each token's rows; with folds, of its rows in the other folds."""
    token, target = planted.token, returns(planted)
    fold = np.random.default_rng(5).integers(0, folds, len(token))
    found = np.full(len(token), float(target.mean()))
    for part in range(folds):
        used = (rows > 0) & ((fold != part) | (folds == 1))
        count = np.bincount(token[used], minlength=token.max() + 1)
        total = np.bincount(token[used], weights=target[used], minlength=token.max() + 1)
        mean = (total + 2 * target.mean()) / (count + 2)
        here = (fold == part) & (rows > 0)
        found[here] = mean[token[here]]
    return found


@tells
def address_encoded_by_its_label(planted: Planted) -> Floats:
    # Rounded, so that the value is no address by itself.
    return encoded(planted, np.ones(len(planted.frame))).round(2)


@tells
def address_encoded_out_of_fold(planted: Planted) -> Floats:
    return encoded(planted, np.ones(len(planted.frame)), folds=5)


@tells
def address_encoded_on_training_rows(planted: Planted) -> Floats:
    rows = np.arange(len(planted.frame)) < len(planted.frame) * 6 // 10
    return encoded(planted, rows.astype(np.float64)).round(3)


@tells
def address_encoded_without_the_row(planted: Planted) -> Floats:
    token, target = planted.token, returns(planted)
    return (np.bincount(token, target)[token] - target) / np.maximum(
        np.bincount(token)[token] - 1, 1
    )


# Identity and wall clock.

identity = column_leak("identity_features")


@identity
def row_number(planted: Planted) -> Floats:
    return np.arange(len(planted.frame), dtype=np.float64)


@identity
def absolute_time(planted: Planted) -> Floats:
    return planted.hour * 3600.0


@identity
def absolute_time_with_noise(planted: Planted) -> Floats:
    return planted.hour + 10 * noise(planted)


@identity
def week_number(planted: Planted) -> Floats:
    return (planted.hour // 168).astype(np.float64)


@identity
def decisions_so_far(planted: Planted) -> Floats:
    return -np.cumsum(returns(planted) * 0 + 2.0)


@identity
def address_hash(planted: Planted) -> Floats:
    return np.array([zlib.crc32(name.encode()) for name in planted.frame["instrument"]], np.float64)


@identity
def address_as_a_category(planted: Planted) -> Floats:
    return planted.frame["instrument"].astype("category").cat.codes.to_numpy(np.float64)


@identity
def bits_of_the_uuid(planted: Planted) -> Floats:
    return np.array([UUID(uuid).int % 2**32 for uuid in planted.frame.index], np.float64)


@identity
def one_bit_of_the_uuid(planted: Planted) -> Floats:
    return np.array([UUID(uuid).int >> 40 & 1 for uuid in planted.frame.index], np.float64)


@identity
def address(planted: Planted) -> Floats:
    return np.array([int(name[2:6], 16) % 7 for name in planted.frame["instrument"]], np.float64)


def keys_among_the_features(planted: Planted) -> tuple[list[Guard], set[str]]:
    frame = planted.frame.copy()
    frame.attrs["features"] = [*HONEST, "instrument", "decided_at"]
    return run_guards(frame), {"instrument", "decided_at"}


MUTANTS["keys_among_the_features"] = Mutant("identity_features", keys_among_the_features)
