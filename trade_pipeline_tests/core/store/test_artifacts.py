"""Artifacts: what an address names is whole and unchanged, or it is an error."""

from __future__ import annotations

import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path

import fsspec
import psycopg
import pytest

from trade_pipeline.core.canonical import address_of
from trade_pipeline.core.errors import InvalidRecord, RecordConflict
from trade_pipeline.core.store.artifacts import (
    ArtifactDamaged,
    ArtifactStore,
    record_artifact,
    resolve_alias,
)
from trade_pipeline.core.store.database import Database

DATA = b'{"stop":15}'


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(str(tmp_path))


@pytest.fixture
def writer(fresh_database: Database) -> Iterator[psycopg.Connection]:
    with fresh_database.connect("trade_writer", autocommit=True) as connection:
        yield connection


def file_of(store: ArtifactStore, address: str) -> Path:
    return Path(store.uri(address).removeprefix("file://"))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("data", [b"", DATA, b"\0\xff" * 100_000])
def test_bytes_come_back_from_their_address(store: ArtifactStore, data: bytes) -> None:
    address = store.put(data)
    assert address == address_of(data)
    assert store.get(address) == data


def test_bytes_that_are_put_twice_are_one_file_that_is_not_written_again(
    store: ArtifactStore, tmp_path: Path
) -> None:
    address = store.put(DATA)
    before = file_of(store, address).stat()
    assert store.put(DATA) == address
    assert files(tmp_path) == [file_of(store, address)]
    assert file_of(store, address).stat().st_ino == before.st_ino


def test_another_store_of_the_same_folder_finds_them(store: ArtifactStore, tmp_path: Path) -> None:
    assert ArtifactStore(f"file://{tmp_path}").get(store.put(DATA)) == DATA


@pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA + b"\n", b"x" * len(DATA)])
def test_damaged_bytes_are_never_given_out(store: ArtifactStore, damaged: bytes) -> None:
    address = store.put(DATA)
    file_of(store, address).write_bytes(damaged)
    with pytest.raises(ArtifactDamaged, match=address):
        store.get(address)


@pytest.mark.parametrize("damaged", [b"", DATA[:-1], DATA + b"\n"])
def test_a_file_of_the_wrong_length_is_mended_by_putting_it_again(
    store: ArtifactStore, damaged: bytes
) -> None:
    address = store.put(DATA)
    file_of(store, address).write_bytes(damaged)
    store.put(DATA)
    assert store.get(address) == DATA


def test_what_was_never_stored_is_not_found(store: ArtifactStore) -> None:
    with pytest.raises(FileNotFoundError):
        store.get(address_of(b"nothing"))


@pytest.mark.parametrize("address", ["params_001", "", "sha256:../../etc/passwd", "sha256:ab"])
def test_only_addresses_name_files(store: ArtifactStore, address: str) -> None:
    with pytest.raises(InvalidRecord, match="address="):
        store.get(address)
    with pytest.raises(InvalidRecord, match="address="):
        store.uri(address)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_crash_while_writing_leaves_nothing_under_the_address(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    def crash(*_: object) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os if broken == "fsync" else Path, broken, crash)
        with pytest.raises(OSError, match="no space left"):
            store.put(DATA)
    assert files(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        store.get(address_of(DATA))
    assert store.get(store.put(DATA)) == DATA


def test_the_file_and_both_folders_are_on_the_disk_before_put_returns(
    store: ArtifactStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    sync = os.fsync

    def watched(number: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{number}")))
        if stat.S_ISREG(os.fstat(number).st_mode):
            assert os.fstat(number).st_size == len(DATA)
        sync(number)

    monkeypatch.setattr(os, "fsync", watched)
    address = store.put(DATA)
    folder = file_of(store, address).parent
    assert synced[0].parent == folder
    assert synced[1:] == [folder, tmp_path]


def test_an_object_store_works_by_url() -> None:
    store = ArtifactStore(f"memory://artifacts-{uuid.uuid4().hex}")
    address = store.put(DATA)
    assert store.put(DATA) == address
    assert store.get(address) == DATA
    assert store.uri(address).startswith("memory://")
    files, path = fsspec.core.url_to_fs(store.uri(address))
    assert files.cat_file(path) == DATA
    files.pipe_file(path, b"x" * len(DATA))
    with pytest.raises(ArtifactDamaged):
        store.get(address)


def test_an_artifact_is_recorded_once_with_its_size_and_place(
    store: ArtifactStore, writer: psycopg.Connection
) -> None:
    for _ in range(2):
        address = record_artifact(writer, store, DATA, media_type="application/json", alias="p")
    assert writer.execute(
        "SELECT address, uri, size_bytes, media_type, expires_at FROM trade.artifacts"
    ).fetchall() == [(address, store.uri(address), len(DATA), "application/json", None)]
    assert writer.execute("SELECT alias, address FROM trade.artifact_aliases").fetchall() == [
        ("p", address)
    ]
    assert resolve_alias(writer, "p") == address
    assert resolve_alias(writer, "q") is None


def test_an_alias_is_never_given_to_other_content(
    store: ArtifactStore, writer: psycopg.Connection
) -> None:
    address = record_artifact(writer, store, DATA, media_type="a/b", alias="p")
    with pytest.raises(RecordConflict, match="artifact_aliases: key p"), writer.transaction():
        record_artifact(writer, store, b"other", media_type="a/b", alias="p")
    assert resolve_alias(writer, "p") == address
    assert writer.execute("SELECT count(*) FROM trade.artifacts").fetchone() == (1,)


def test_one_artifact_may_have_several_aliases(
    store: ArtifactStore, writer: psycopg.Connection
) -> None:
    for alias in ("one", "two"):
        record_artifact(writer, store, DATA, media_type="a/b", alias=alias)
    assert resolve_alias(writer, "one") == resolve_alias(writer, "two") == address_of(DATA)


def test_the_bytes_are_there_before_the_row_that_names_them(
    store: ArtifactStore, writer: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash(_: int) -> None:
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", crash)
        with pytest.raises(OSError, match="no space left"):
            record_artifact(writer, store, DATA, media_type="a/b", alias="p")
    assert writer.execute("SELECT count(*) FROM trade.artifacts").fetchone() == (0,)

    # A row that cannot be written leaves the bytes, which name nothing wrong.
    with pytest.raises(psycopg.errors.NotNullViolation):
        record_artifact(writer, store, DATA, media_type=None, alias="p")  # type: ignore[arg-type]
    assert store.get(address_of(DATA)) == DATA
    assert resolve_alias(writer, "p") is None
