"""Datasets: labelled decisions in three splits, prepared for a model, under one version."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from trade_pipeline.core.canonical import canonical_bytes
from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.labels import (
    feature_names,
    label_definition,
    labelled_decisions,
)
from trade_pipeline.core.dataset.record import DatasetRecord, dataset_version
from trade_pipeline.core.dataset.split import TimeSplits, time_splits
from trade_pipeline.core.dataset.weights import label_uniqueness, micros_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.features.preparation import Preparation, selection_scores
from trade_pipeline.core.market.event import Floats

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of one split, in the order of time.

    Attributes:
        rows: the trade frame's columns and the labels (see `labels.labelled_decisions`).
        x: the prepared features.
        y: ``target_return``, a fraction.
        weights: average uniqueness of each label among those of this split, 0..1.
    """

    rows: pd.DataFrame
    x: pd.DataFrame
    y: Floats
    weights: Floats


@dataclass(frozen=True, slots=True)
class DatasetCounts:
    """Numbers of rows.

    Attributes:
        train, validation, test: members by split.
        executed, shadow: members with a realised result, and those without.
        days: UTC days on which the members were decided.
        out_of_range, unended, duplicate, not_filled, purged, embargoed: left out, and why.
    """

    train: int
    validation: int
    test: int
    executed: int
    shadow: int
    days: int
    out_of_range: int
    unended: int
    duplicate: int
    not_filled: int
    purged: int
    embargoed: int


@dataclass(frozen=True, slots=True)
class SplitBounds:
    """When a split's decisions begin and end, and when its last label ended."""

    first: datetime
    last: datetime
    label_end: datetime


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset in memory; ``record`` is what is stored of it beside ``members``.

    Attributes:
        members: split by UUID.
        splits, bounds: by the names train, validation, test.
    """

    record: DatasetRecord
    config: DatasetConfig
    members: Mapping[str, str]
    counts: DatasetCounts
    bounds: Mapping[str, SplitBounds]
    preparation: Preparation
    splits: Mapping[str, Split]

    @property
    def version(self) -> str:
        """The content address of the dataset."""
        return self.record.dataset_version


def build_dataset(
    frame: pd.DataFrame, config: DatasetConfig, *, feature_versions: Mapping[str, str]
) -> Dataset:
    """Label, split, weigh and prepare the decisions of a trade frame.

    Args:
        frame: decisions with results and features, in any order of rows.
        feature_versions: version of each feature's definition, by name.

    Raises:
        BadConfig: the frame is unsound or mixes what must not be mixed, a feature has no version,
            or too few decisions are left for three splits.
    """
    features = feature_names(frame)
    unversioned = [name for name in features if name not in feature_versions]
    if unversioned:
        raise BadConfig(f"feature_versions: feature {unversioned[0]!r} has none")
    rows, left_out = labelled_decisions(frame, config)
    if rows.empty:
        raise BadConfig(f"dataset {config.name!r}: no decision has an ended label ({left_out})")
    split = time_splits(rows, config)
    parts = {name: rows.iloc[positions] for name, positions in split.rows.items()}
    counts = _counts(parts, split, left_out)
    if not all(len(part) for part in parts.values()):
        raise BadConfig(
            f"dataset {config.name!r}: {len(rows)} decisions give "
            + ", ".join(f"{name}={len(part)}" for name, part in parts.items())
            + f" after {counts.purged} purged and {counts.embargoed} embargoed; "
            "at least 1 in each is needed"
        )
    train = parts["train"]
    preparation = fit_preparation(train, features, config.max_features)
    members = {str(uuid): name for name, part in parts.items() for uuid in part.index}
    bounds = {name: _bounds(part) for name, part in parts.items()}
    chosen = rows.loc[list(members)]
    content: dict[str, Any] = {
        "name": config.name,
        "market": _joined(chosen["market"]),
        "kind": _joined(chosen["kind"]),
        "feature_set": _joined(chosen["feature_set"]),
        "feature_versions": {name: feature_versions[name] for name in features},
        "config": config.model_dump(mode="json"),
        "labels": label_definition(config),
        "data_hash": data_hash(chosen, features),
        "preparation": preparation.to_dict(),
        "counts": asdict(counts),
        "bounds": {name: asdict(bound) for name, bound in bounds.items()},
        "session_ids": sorted(chosen["session_id"].unique()),
    }
    return Dataset(
        record=DatasetRecord(dataset_version(content, members), **content),
        config=config,
        members=members,
        counts=counts,
        bounds=bounds,
        preparation=preparation,
        splits={name: _split(part, preparation) for name, part in parts.items()},
    )


def _split(rows: pd.DataFrame, preparation: Preparation) -> Split:
    return Split(
        rows=rows,
        x=preparation.transform(rows),
        y=rows["target_return"].to_numpy(),
        weights=label_uniqueness(rows),
    )


def _counts(
    parts: Mapping[str, pd.DataFrame], split: TimeSplits, left_out: Mapping[str, int]
) -> DatasetCounts:
    executed = sum(int(part["realised_return"].notna().sum()) for part in parts.values())
    days = {day for part in parts.values() for day in part["decided_at"].dt.floor("D")}
    return DatasetCounts(
        **{name: len(part) for name, part in parts.items()},
        executed=executed,
        shadow=sum(map(len, parts.values())) - executed,
        days=len(days),
        purged=len(split.purged),
        embargoed=len(split.embargoed),
        **left_out,
    )


def fit_preparation(train: pd.DataFrame, features: Sequence[str], max_features: int) -> Preparation:
    """The preparation that labelled training rows give, its features selected for the return."""
    scores = selection_scores(train, features, train["target_return"].to_numpy(np.float64))
    return Preparation.fit(train, features, scores, max_features)


def _bounds(rows: pd.DataFrame) -> SplitBounds:
    decided = rows["decided_at"]
    return SplitBounds(
        decided.iloc[0].to_pydatetime(),
        decided.iloc[-1].to_pydatetime(),
        rows["label_end"].max().to_pydatetime(),
    )


def _joined(column: pd.Series[str]) -> str:
    return "+".join(sorted(column.unique()))


def data_hash(rows: pd.DataFrame, features: Sequence[str]) -> str:
    """SHA-256 (hex) of labelled rows' values and labels, whatever the order of the rows.

    Every NaN has the same bits.
    """
    rows = rows.sort_index()
    values = rows[[*features, "target_return"]].to_numpy(np.float64)
    values = np.where(np.isnan(values), np.nan, values)
    times = np.stack((micros_of(rows["decided_at"]), micros_of(rows["label_end"])))
    digest = hashlib.sha256(canonical_bytes([*features, *rows.index]))
    for part in (values.astype("<f8"), times.astype("<i8"), rows["rug"].to_numpy(np.uint8)):
        digest.update(part.tobytes())
    return digest.hexdigest()
