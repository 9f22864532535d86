"""A dataset as a record: its content, and the version that follows from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from trade_pipeline.core.canonical import ADDRESS_PREFIX, address_of, canonical_bytes

# What makes two datasets the same, besides their members.
_COVERED = ("config", "labels", "feature_set", "feature_versions", "data_hash", "preparation")


def dataset_version(content: Mapping[str, Any], members: Mapping[str, str]) -> str:
    """The content address of a dataset.

    It covers every member with its split, the configuration, the meaning of the labels, the
    definitions of the features, the members' values and labels (by their hash) and the fitted
    preparation.  It leaves out what was counted on the way: rows that did not become members do
    not make another dataset.

    Args:
        content: the fields of a `DatasetRecord`, as they are or read back from JSON.
        members: split by UUID.
    """
    covered = {name: content[name] for name in _COVERED}
    return address_of(canonical_bytes(covered | {"members": sorted(members.items())}))


def short_name_of(name: str, version: str) -> str:
    """What people call a version: the dataset's name and eight digits of the hash."""
    return f"{name}-{version.removeprefix(ADDRESS_PREFIX)[:8]}"


@dataclass(frozen=True, slots=True)
class DatasetRecord:
    """Everything about a dataset but its members, which are rows of their own.

    Attributes:
        market, kind: of its members; several are joined by ``+``.
        feature_versions: version of each feature's definition, by name.
        config: the fields of `DatasetConfig`.
        labels: what each label column means.
        data_hash: SHA-256 (hex) of the members' feature values and labels.
        preparation: the state of `Preparation`.
        counts: the fields of `DatasetCounts`.
        bounds: by split: first and last decision and the last label's end, ISO 8601.
        session_ids: the sessions that decided the members, sorted.
    """

    TABLE: ClassVar[str] = "datasets"
    KEY: ClassVar[tuple[str, ...]] = ("dataset_version",)
    COLUMNS: ClassVar[tuple[str, ...]] = (
        "dataset_version", "name", "market", "kind", "feature_set",
    )  # fmt: skip

    dataset_version: str
    name: str
    market: str
    kind: str
    feature_set: str
    feature_versions: Mapping[str, str]
    config: Mapping[str, Any]
    labels: Mapping[str, str]
    data_hash: str
    preparation: Mapping[str, Any]
    counts: Mapping[str, int]
    bounds: Mapping[str, Mapping[str, str]]
    session_ids: Sequence[str]

    @property
    def short_name(self) -> str:
        return short_name_of(self.name, self.dataset_version)

    def row(self) -> tuple[Any, ...]:
        return (self.dataset_version, self.name, self.market, self.kind, self.feature_set)
