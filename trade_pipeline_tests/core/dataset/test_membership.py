"""Stored datasets: once, whole, and to be found from both sides."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import psycopg
import pytest

from trade_pipeline.core.dataset.config import DatasetConfig
from trade_pipeline.core.dataset.dataset import Dataset, build_dataset
from trade_pipeline.core.dataset.membership import (
    datasets_of,
    list_datasets,
    members_of,
    read_dataset,
    record_dataset,
)
from trade_pipeline.core.errors import BadConfig, RecordConflict, UnknownTrade
from trade_pipeline.core.features.preparation import Preparation
from trade_pipeline.core.ledger.append import append_now
from trade_pipeline.core.ledger.chain import Chain
from trade_pipeline.core.store.database import Database
from trade_pipeline_tests.core import samples
from trade_pipeline_tests.core.dataset.frames import VERSIONS, trade_frame
from trade_pipeline_tests.core.samples import END, START, assert_whole_chain, count_rows

ROWS = 60


def built(name: str = "pools", rows: int = ROWS, embargo_hours: float = 1) -> Dataset:
    config = DatasetConfig(name=name, embargo_hours=embargo_hours)
    return build_dataset(trade_frame(rows), config, feature_versions=VERSIONS)


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    """A connection as the writer; the frame's candidates and one more are stored."""
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        connection.execute("SELECT trade.ensure_partitions(%s, %s)", (START, END))
        candidates = [samples.candidate(number) for number in range(ROWS + 1)]
        append_now(connection, Chain("s"), samples.session(), *candidates)
        yield connection


def test_a_stored_dataset_is_found_by_its_version_and_by_its_short_name(
    writer: psycopg.Connection,
) -> None:
    dataset = built()
    assert record_dataset(writer, dataset)
    assert members_of(writer, dataset.version) == dataset.members
    assert members_of(writer, dataset.record.short_name) == dataset.members
    stored = read_dataset(writer, dataset.record.short_name)
    assert Preparation.from_dict(stored.preparation) == dataset.preparation
    assert DatasetConfig.parse(dict(stored.config)) == dataset.config
    assert assert_whole_chain(writer, "dataset:pools") == 1


def test_a_version_is_stored_once(writer: psycopg.Connection) -> None:
    assert record_dataset(writer, built())
    counts = count_rows(writer)
    assert not record_dataset(writer, built())
    assert count_rows(writer) == counts


def test_the_datasets_of_one_name_are_one_chain(writer: psycopg.Connection) -> None:
    record_dataset(writer, built())
    record_dataset(writer, built(embargo_hours=2))
    record_dataset(writer, built("others"))
    assert assert_whole_chain(writer, "dataset:pools") == 2
    assert assert_whole_chain(writer, "dataset:others") == 1


def test_every_dataset_of_a_trade_is_found_with_its_split(writer: psycopg.Connection) -> None:
    one, two = built(), built("others", embargo_hours=2)
    for dataset in (one, two):
        record_dataset(writer, dataset)
    for uuid in (next(iter(one.members)), list(one.members)[-1]):
        expected = [
            (dataset.version, name, dataset.members[uuid])
            for dataset, name in ((one, "pools"), (two, "others"))
        ]
        assert datasets_of(writer, uuid) == expected
        assert datasets_of(writer, UUID(uuid)) == expected


def test_a_trade_in_no_dataset_has_none_and_an_unknown_one_is_named(
    writer: psycopg.Connection,
) -> None:
    record_dataset(writer, built())
    assert datasets_of(writer, samples.candidate(ROWS).uuid) == []
    for unknown in (str(uuid4()), "no-uuid"):
        with pytest.raises(UnknownTrade, match=unknown):
            datasets_of(writer, unknown)


@pytest.mark.parametrize("name", ["pools", "pools-00000000", "sha256:" + "0" * 64])
def test_a_dataset_that_is_not_stored_is_named(writer: psycopg.Connection, name: str) -> None:
    record_dataset(writer, built())
    with pytest.raises(BadConfig, match=f"dataset='{name}'"):
        members_of(writer, name)


def test_a_dataset_with_a_member_that_is_not_stored_leaves_nothing_behind(
    writer: psycopg.Connection,
) -> None:
    counts = count_rows(writer)
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        record_dataset(writer, built(rows=ROWS + 20))
    assert count_rows(writer) == counts
    assert record_dataset(writer, built())
    assert assert_whole_chain(writer, "dataset:pools") == 1


def test_a_member_that_was_slipped_in_afterwards_is_noticed(writer: psycopg.Connection) -> None:
    dataset = built()
    record_dataset(writer, dataset)
    writer.execute(
        "INSERT INTO trade.dataset_members VALUES (%s, %s, 'train')",
        (dataset.version, samples.candidate(ROWS).uuid),
    )
    with pytest.raises(RecordConflict, match=f"dataset_members.*{dataset.version}"):
        members_of(writer, dataset.version)


def test_the_list_of_datasets_says_what_each_is(writer: psycopg.Connection) -> None:
    assert list_datasets(writer) == []
    one, two = built(), built("others")
    for dataset in (one, two):
        record_dataset(writer, dataset)
    listed = list_datasets(writer)
    assert [entry.version for entry in listed] == [one.version, two.version]
    first = listed[0]
    assert (first.short_name, first.name) == (one.record.short_name, "pools")
    assert (first.market, first.kind, first.feature_set) == ("uniswap-v2", "recorded", "set-1")
    assert first.counts["train"] == one.counts.train
