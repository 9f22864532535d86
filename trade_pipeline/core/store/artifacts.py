"""Artifacts: content by its SHA-256 address, in a folder or in any object store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import fsspec
import psycopg

from trade_pipeline.core.canonical import ADDRESS_PREFIX, address_of, is_address
from trade_pipeline.core.errors import InvalidRecord, RecordConflict, TradePipelineError
from trade_pipeline.core.store.durable import write_durably
from trade_pipeline.core.store.head_files import HeadFiles


class ArtifactDamaged(TradePipelineError):
    """Stored bytes that are not what their address says."""


class ArtifactRemoved(TradePipelineError):
    """An artifact whose bytes were removed; its address goes on to prove what it was."""


class ArtifactStore:
    """Bytes under their address.

    Args:
        url: a folder, or a URL that fsspec knows (``s3://bucket/prefix``).
        heads_url: where the heads of the ledger go, likewise; None: into ``heads`` beneath ``url``.

    Attributes:
        heads: the heads of the ledger of the database whose artifacts are here.
    """

    def __init__(self, url: str, heads_url: str | None = None) -> None:
        self.heads = HeadFiles(heads_url or f"{url.rstrip('/')}/heads")
        # Listings of object stores are cached otherwise, and others write here, too.
        self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._local = "file" in self._files.protocol

    @property
    def folder(self) -> Path | None:
        """Where they lie on this machine; None: in an object store."""
        return Path(self._root) if self._local else None

    def uri(self, address: str) -> str:
        """Where an address lies."""
        return str(self._files.unstrip_protocol(self._path(address)))

    def put(self, data: bytes) -> str:
        """Store bytes (once) and return their address; they are whole or not there."""
        address = address_of(data)
        path = self._path(address)
        if self._size(path) == len(data):
            return address
        if self._local:
            # A crash must leave no short file under the address, and no row that names a lost one.
            write_durably(Path(path), data)
        else:
            # Object stores write an object as a whole, and have no folders.
            self._files.pipe_file(path, data)
        return address

    def get(self, address: str) -> bytes:
        """The bytes of an address.

        Raises:
            FileNotFoundError: nothing is stored there.
            ArtifactDamaged: the stored bytes have another hash.
        """
        data: bytes = self._files.cat_file(self._path(address))
        if address_of(data) != address:
            raise ArtifactDamaged(f"{address}: the bytes at {self.uri(address)} have another hash")
        return data

    def remove(self, address: str) -> bool:
        """Remove the bytes of an address; whether there were any."""
        path = self._path(address)
        # An object store does not tell whether there was anything to remove.
        if self._size(path) is None:
            return False
        try:
            self._files.rm_file(path)
        except FileNotFoundError:
            return False
        return True

    def exists(self, address: str) -> bool:
        """Whether something is stored at an address; whether it is whole, `get` tells."""
        return bool(self._files.exists(self._path(address)))

    def _size(self, path: str) -> int | None:
        try:
            return int(self._files.info(path)["size"])
        except FileNotFoundError:
            return None

    def sizes(self) -> dict[str, int]:
        """What is stored: its size in bytes by its address."""
        # Listings of object stores are cached otherwise, and others write here, too.
        self._files.invalidate_cache()
        found: dict[str, int] = {}
        for folder in self._listed(self._root):
            if len(os.path.basename(folder["name"].rstrip("/"))) == 2:
                for file in self._listed(folder["name"]):
                    address = ADDRESS_PREFIX + os.path.basename(file["name"])
                    if is_address(address):
                        found[address] = int(file["size"])
        return found

    def _listed(self, folder: str) -> list[dict[str, Any]]:
        try:
            listed: list[dict[str, Any]] = self._files.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        return listed

    def _path(self, address: str) -> str:
        if not is_address(address):
            raise InvalidRecord("address", address, "sha256: and 64 hex digits")
        digest = address.removeprefix(ADDRESS_PREFIX)
        return f"{self._root}/{digest[:2]}/{digest}"


def record_artifact(
    connection: psycopg.Connection,
    store: ArtifactStore,
    data: bytes,
    *,
    media_type: str,
    expires_at: datetime | None = None,
    alias: str | None = None,
) -> str:
    """Write the bytes, then the row that names them, then its alias; returns the address.

    Raises:
        RecordConflict: the alias names another address already.
    """
    address = store.put(data)
    added = connection.execute(
        "INSERT INTO trade.artifacts (address, uri, size_bytes, media_type, expires_at) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (address) DO NOTHING",
        (address, store.uri(address), len(data), media_type, expires_at),
    )
    if not added.rowcount:
        _renew(connection, store, address, data, expires_at)
    if alias is not None:
        connection.execute(
            "INSERT INTO trade.artifact_aliases (alias, address) VALUES (%s, %s) "
            "ON CONFLICT (alias) DO NOTHING",
            (alias, address),
        )
        if resolve_alias(connection, alias) != address:
            raise RecordConflict("artifact_aliases", alias, "address")
    return address


def _renew(
    connection: psycopg.Connection,
    store: ArtifactStore,
    address: str,
    data: bytes,
    expires_at: datetime | None,
) -> None:
    """Bytes that were stored before live as long as whoever stored them last wants, if longer."""
    due = (
        "SELECT address, removals, coalesce(%s, 'infinity'::timestamptz) "
        "FROM trade.artifact_states WHERE address = %s AND (removed_at IS NOT NULL "
        # A day more or less is no reason for a row.
        "OR expires_at + interval '1 day' < coalesce(%s, 'infinity'::timestamptz))"
    )
    given = (expires_at, address, expires_at)
    wanted = connection.execute(f"SELECT EXISTS ({due})".encode(), given).fetchone()
    if wanted == (False,):
        return
    with connection.transaction():
        # Whoever removes it is done, or sees that it is wanted.
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('artifact:' || %s, 0))", (address,)
        )
        connection.execute(
            "INSERT INTO trade.artifact_renewals (address, removals, expires_at) "
            f"{due} ON CONFLICT DO NOTHING".encode(),
            given,
        )
        store.put(data)


@contextmanager
def removal_lock(connection: psycopg.Connection, addresses: Sequence[str]) -> Iterator[None]:
    """Nobody stores some artifacts again while they are being removed.

    Args:
        connection: in autocommit mode.
    """
    locks = (
        "SELECT pg_advisory_{}lock(hashtextextended('artifact:' || address, 0)) "
        "FROM unnest(%s::text[]) AS address"
    )
    # In one order: two that want the same ones wait for each other, and not in a circle.
    given = (sorted(addresses),)
    connection.execute(locks.format("").encode(), given)
    try:
        yield
    finally:
        if not connection.broken:
            connection.execute(locks.format("un").encode(), given)


def read_artifact(connection: psycopg.Connection, store: ArtifactStore, address: str) -> bytes:
    """The bytes of an address.

    Raises:
        ArtifactRemoved: they were removed, and when.
        FileNotFoundError, ArtifactDamaged: see `ArtifactStore.get`.
    """
    try:
        return store.get(address)
    except FileNotFoundError:
        row = connection.execute(
            "SELECT t.removed_at, t.kind, t.reason FROM trade.artifact_states s "
            "JOIN trade.artifact_tombstones t USING (address, removed_at) WHERE address = %s",
            (address,),
        ).fetchone()
        if row is None:
            raise
        removed_at, kind, reason = row
        raise ArtifactRemoved(
            f"address={address!r}: {kind} at {removed_at.isoformat()}: {reason}"
        ) from None


def record_settings(connection: psycopg.Connection, store: ArtifactStore, data: bytes) -> str:
    """The same for a session's settings, which the database keeps as well; returns the address.

    Args:
        data: the canonical bytes of a `TradingConfig`.
    """
    address = record_artifact(connection, store, data, media_type="application/json")
    insert_settings(connection, address, data)
    return address


def insert_settings(connection: psycopg.Connection, address: str, data: bytes) -> None:
    """Give the database settings that are stored as an artifact."""
    connection.execute(
        "INSERT INTO trade.settings (address, content) VALUES (%s, %s) "
        "ON CONFLICT (address) DO NOTHING",
        (address, data.decode()),
    )


def resolve_alias(connection: psycopg.Connection, alias: str) -> str | None:
    """The address that an alias names, if any."""
    row = connection.execute(
        "SELECT address FROM trade.artifact_aliases WHERE alias = %s", (alias,)
    ).fetchone()
    return None if row is None else str(row[0])
