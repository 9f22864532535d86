"""Stores datasets, and tells which trades are in which of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import psycopg

from trade_pipeline.core.dataset.dataset import Dataset
from trade_pipeline.core.dataset.record import DatasetRecord, dataset_version
from trade_pipeline.core.errors import BadConfig, RecordConflict, UnknownTrade
from trade_pipeline.core.ledger.append import append_now, read_chain
from trade_pipeline.core.ledger.bulk import lock_chain


@dataclass(frozen=True, slots=True)
class StoredDataset:
    """One stored dataset in a list of them."""

    version: str
    short_name: str
    name: str
    market: str
    kind: str
    feature_set: str
    recorded_at: datetime
    counts: dict[str, int]


def record_dataset(connection: psycopg.Connection, dataset: Dataset) -> bool:
    """Store a dataset with its members; whether it is new.

    A version that is stored already stays as it is: it names its content.

    Args:
        connection: as ``trade_writer``.

    Raises:
        psycopg.errors.ForeignKeyViolation: a member is not stored as a candidate; nothing was
            written.
    """
    record = dataset.record
    chain_id = f"dataset:{record.name}"
    with connection.transaction():
        # Two builds of one name may end at once.
        lock_chain(connection, chain_id)
        stored = connection.execute(
            "SELECT 1 FROM trade.datasets WHERE dataset_version = %s", (record.dataset_version,)
        ).fetchone()
        if stored is not None:
            return False
        append_now(connection, read_chain(connection, chain_id), record)
        with (
            connection.cursor() as cursor,
            cursor.copy(
                "COPY trade.dataset_members (dataset_version, uuid, split) FROM STDIN"
            ) as copy,
        ):
            for uuid, split in dataset.members.items():
                copy.write_row((record.dataset_version, uuid, split))
    return True


def read_dataset(connection: psycopg.Connection, name: str) -> DatasetRecord:
    """The record of a dataset, by its version or its short name.

    Raises:
        BadConfig: no dataset, or more than one, has this version or short name.
    """
    rows = connection.execute(
        "SELECT dataset_version, content FROM trade.datasets "
        "WHERE dataset_version = %(name)s OR short_name = %(name)s",
        {"name": name},
    ).fetchall()
    if not rows:
        raise BadConfig(f"dataset={name!r}: no such dataset is stored")
    if len(rows) > 1:
        versions = ", ".join(sorted(version for version, _ in rows))
        raise BadConfig(f"dataset={name!r}: several have this short name: {versions}")
    return DatasetRecord(**orjson.loads(rows[0][1]))


def members_of(connection: psycopg.Connection, name: str) -> dict[str, str]:
    """The split of each member by UUID, of a dataset by its version or its short name.

    Raises:
        BadConfig: see `read_dataset`.
        RecordConflict: the stored members are not those that the version covers.
    """
    record = read_dataset(connection, name)
    members = {
        str(uuid): str(split)
        for uuid, split in connection.execute(
            "SELECT uuid, split FROM trade.dataset_members WHERE dataset_version = %s "
            "ORDER BY uuid",
            (record.dataset_version,),
        )
    }
    content: dict[str, Any] = {key: getattr(record, key) for key in DatasetRecord.__slots__}
    if dataset_version(content, members) != record.dataset_version:
        raise RecordConflict("dataset_members", record.dataset_version)
    return members


def datasets_of(connection: psycopg.Connection, uuid: UUID | str) -> list[tuple[str, str, str]]:
    """The datasets that hold a trade: (version, name, split), the oldest first.

    Raises:
        UnknownTrade: no candidate is stored under this UUID.
    """
    try:
        wanted = UUID(str(uuid))
    except ValueError:
        raise UnknownTrade(uuid) from None
    rows = connection.execute(
        "SELECT dataset_version, name, split FROM trade.dataset_members "
        "JOIN trade.datasets USING (dataset_version) WHERE uuid = %s "
        "ORDER BY datasets.recorded_at, dataset_version",
        (wanted,),
    ).fetchall()
    known = "SELECT 1 FROM trade.candidates WHERE uuid = %s"
    if not rows and connection.execute(known, (wanted,)).fetchone() is None:
        raise UnknownTrade(uuid)
    return rows


def list_datasets(connection: psycopg.Connection) -> list[StoredDataset]:
    """Every stored dataset, the oldest first."""
    return [
        StoredDataset(*row)
        for row in connection.execute(
            "SELECT dataset_version, short_name, name, market, kind, feature_set, recorded_at, "
            "content::jsonb -> 'counts' FROM trade.datasets ORDER BY recorded_at, dataset_version"
        )
    ]


def newest_dataset(connection: psycopg.Connection) -> str:
    """The version that was stored last.

    Raises:
        BadConfig: none is stored.
    """
    row = connection.execute(
        "SELECT dataset_version FROM trade.datasets "
        "ORDER BY recorded_at DESC, chain_seq DESC LIMIT 1"
    ).fetchone()
    if row is None:
        raise BadConfig("no dataset is stored: materialise training_dataset first")
    return str(row[0])
