"""Artifacts: content by its SHA-256 address, in a folder or in any object store."""

from __future__ import annotations

import os
import uuid
from datetime import datetime
from pathlib import Path

import fsspec
import psycopg

from trade_pipeline.core.canonical import ADDRESS_PREFIX, address_of, is_address
from trade_pipeline.core.errors import InvalidRecord, RecordConflict, TradePipelineError
from trade_pipeline.core.store.head_files import HeadFiles


class ArtifactDamaged(TradePipelineError):
    """Stored bytes that are not what their address says."""


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
        self._files, self._root = fsspec.core.url_to_fs(url)
        self._local = "file" in self._files.protocol

    def uri(self, address: str) -> str:
        """Where an address lies."""
        return str(self._files.unstrip_protocol(self._path(address)))

    def put(self, data: bytes) -> str:
        """Store bytes (once) and return their address; they are whole or not there."""
        address = address_of(data)
        path = self._path(address)
        if self._files.exists(path) and self._files.size(path) == len(data):
            return address
        self._files.makedirs(os.path.dirname(path), exist_ok=True)
        if self._local:
            self._put_local(Path(path), data)
        else:
            # Object stores write an object as a whole.
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

    def _path(self, address: str) -> str:
        if not is_address(address):
            raise InvalidRecord("address", address, "sha256: and 64 hex digits")
        digest = address.removeprefix(ADDRESS_PREFIX)
        return f"{self._root}/{digest[:2]}/{digest}"

    @staticmethod
    def _put_local(path: Path, data: bytes) -> None:
        # A crash must leave no short file under the address, and no row that names a lost one.
        temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        # The folder may be new itself: its name is kept by the one above.
        for parent in (path.parent, path.parent.parent):
            folder = os.open(parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


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
    connection.execute(
        "INSERT INTO trade.artifacts (address, uri, size_bytes, media_type, expires_at) "
        "VALUES (%s, %s, %s, %s, %s) ON CONFLICT (address) DO NOTHING",
        (address, store.uri(address), len(data), media_type, expires_at),
    )
    if alias is not None:
        connection.execute(
            "INSERT INTO trade.artifact_aliases (alias, address) VALUES (%s, %s) "
            "ON CONFLICT (alias) DO NOTHING",
            (alias, address),
        )
        if resolve_alias(connection, alias) != address:
            raise RecordConflict("artifact_aliases", alias, "address")
    return address


def resolve_alias(connection: psycopg.Connection, alias: str) -> str | None:
    """The address that an alias names, if any."""
    row = connection.execute(
        "SELECT address FROM trade.artifact_aliases WHERE alias = %s", (alias,)
    ).fetchone()
    return None if row is None else str(row[0])
