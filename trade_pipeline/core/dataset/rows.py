"""The members of a stored dataset as labelled rows, read again from the records."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import psycopg

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.frame import read_trade_frame
from trade_pipeline.core.dataset.labels import labelled_decisions
from trade_pipeline.core.dataset.membership import members_of, read_dataset
from trade_pipeline.core.dataset.record import DatasetRecord
from trade_pipeline.core.features.registry import NAMES

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class DatasetRows:
    """A stored dataset with its rows.

    Attributes:
        rows: of all splits, in order of time: the trade frame's columns, the labels (see
            `labels.labelled_decisions`) and ``split``; ``attrs["features"]`` names the features.
    """

    record: DatasetRecord
    config: DatasetConfig
    rows: pd.DataFrame

    def split(self, name: str) -> pd.DataFrame:
        """The rows of one split."""
        part = self.rows[self.rows["split"] == name]
        part.attrs["features"] = self.rows.attrs["features"]
        return part


def read_rows(connection: psycopg.Connection, dataset: str) -> DatasetRows:
    """Read a dataset's members with their features and labels.

    Args:
        dataset: its version or its short name.

    Raises:
        BadConfig: no such dataset.
        RecordConflict: the stored members are not those that the version covers.
    """
    record = read_dataset(connection, dataset)
    members = members_of(connection, record.dataset_version)
    frame = read_trade_frame(
        connection,
        sessions=record.session_ids,
        include_imported="imported" in record.kind.split("+"),
    )
    config = DatasetConfig.parse(dict(record.config))
    rows, _ = labelled_decisions(frame.loc[frame.index.isin(list(members))], config)
    rows = rows.assign(split=[members[uuid] for uuid in rows.index])
    rows.attrs["features"] = [name for name in NAMES if name in record.feature_versions]
    return DatasetRows(record, config, rows)
