"""The place of backups: a folder, or any object store.

::

    backups/20261125T183015.042Z/database.dump   pg_dump's custom format
    backups/20261125T183015.042Z/dagster.dump    likewise, where it was asked for
    backups/20261125T183015.042Z/addresses.txt   size and address of each artifact that it needs
    backups/20261125T183015.042Z/manifest.json   written last: without it there is no backup
    artifacts/ab/abcd...                         of all backups, each once
    heads/0/000000/...                           heads of the ledger, of all backups of one history
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import fsspec

from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.durable import sync_folders, write_durably
from trade_pipeline.core.store.head_files import HeadFiles

MANIFEST = "manifest.json"
DATABASE = "database.dump"
DAGSTER = "dagster.dump"
ADDRESSES = "addresses.txt"
CHUNK = 1 << 20
_NAME = re.compile(r"^\d{8}T\d{6}\.\d{3}Z$")


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it was written: bytes, and the SHA-256 as hex digits."""

    size: int
    sha256: str


class Place:
    """Files of backups.

    Args:
        url: a folder, or a URL that fsspec knows (``s3://bucket/backups``).

    Attributes:
        artifacts: the bytes of all backups by address.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/") or url
        self._files, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        self._local = "file" in self._files.protocol
        self.artifacts = ArtifactStore(f"{self.url}/artifacts")

    def lines(self) -> list[int]:
        """The numbers of the histories of heads that are kept."""
        return sorted(int(name) for name in self._names("heads") if name.isdigit())

    def heads(self, line: int) -> HeadFiles:
        """The heads of a history."""
        return HeadFiles(f"{self.url}/heads/{line}")

    def remove_heads(self, line: int) -> None:
        """Remove the heads of a history."""
        self._files.rm(f"{self._root}/heads/{line}", recursive=True)

    def whole(self) -> list[str]:
        """The names of the backups that were finished, the oldest first."""
        return [name for name in self._backups() if self.exists(name, MANIFEST)]

    def unfinished(self) -> list[str]:
        """The names of those that were not, or are still being made."""
        return [name for name in self._backups() if not self.exists(name, MANIFEST)]

    def exists(self, backup: str, file: str) -> bool:
        """Whether a file of a backup is there."""
        return bool(self._files.exists(self._path(backup, file)))

    def read(self, backup: str, file: str) -> bytes:
        """A file of a backup.

        Raises:
            FileNotFoundError: there is none.
        """
        data: bytes = self._files.cat_file(self._path(backup, file))
        return data

    def write(self, backup: str, file: str, data: bytes) -> Stored:
        """Write a small file of a backup, durably and as a whole."""
        path = self._path(backup, file)
        if self._local:
            write_durably(Path(path), data)
        else:
            # Object stores write an object as a whole.
            self._files.pipe_file(path, data)
        return Stored(len(data), hashlib.sha256(data).hexdigest())

    def write_stream(self, backup: str, file: str, chunks: Iterable[bytes]) -> Stored:
        """Write a file of any size as it comes.

        An error of whoever gives the chunks leaves a part of the file behind: what counts is the
        manifest, which is not there yet.
        """
        path = self._path(backup, file)
        digest, size = hashlib.sha256(), 0
        self._files.makedirs(os.path.dirname(path), exist_ok=True)
        with self._files.open(path, "wb") as out:
            for chunk in chunks:
                out.write(chunk)
                digest.update(chunk)
                size += len(chunk)
            if self._local:
                out.flush()
                os.fsync(out.fileno())
        if self._local:
            sync_folders(Path(path))
        return Stored(size, digest.hexdigest())

    def chunks(self, backup: str, file: str) -> Iterator[bytes]:
        """A file of a backup, piece by piece.

        Raises:
            FileNotFoundError: there is none.
        """
        with self._files.open(self._path(backup, file), "rb") as source:
            while chunk := source.read(CHUNK):
                yield chunk

    def remove(self, backup: str) -> None:
        """Remove a backup; its manifest goes first, so that half of it is none."""
        if self.exists(backup, MANIFEST):
            self._files.rm_file(self._path(backup, MANIFEST))
        folder = f"{self._root}/backups/{backup}"
        if self._files.exists(folder):
            self._files.rm(folder, recursive=True)

    def uri(self, backup: str, file: str) -> str:
        """Where a file lies, for people."""
        return f"{self.url}/backups/{backup}/{file}"

    def _backups(self) -> list[str]:
        return sorted(name for name in self._names("backups") if _NAME.match(name))

    def _names(self, folder: str) -> list[str]:
        try:
            listed = self._files.ls(f"{self._root}/{folder}", detail=False)
        except FileNotFoundError:
            return []
        return [os.path.basename(path.rstrip("/")) for path in listed]

    def _path(self, backup: str, file: str) -> str:
        return f"{self._root}/backups/{backup}/{file}"
