"""What a backup holds; its file is written last and says of itself whether it is whole."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

import orjson
from pydantic import TypeAdapter, ValidationError

from trade_pipeline.core.backup.errors import BadBackup
from trade_pipeline.core.backup.place import ADDRESSES, MANIFEST, Place, Stored
from trade_pipeline.core.canonical import canonical_bytes, sha256

FORMAT = "trade-pipeline-backup/1"


@dataclass(frozen=True, slots=True)
class HeadsKept:
    """The heads of the ledger in a backup.

    Attributes:
        line: the history that they are of, see `Place.heads`.
        last: number of the newest; -1: there is none.  All before it belong to the backup, too.
        sha256: of the newest one's file, which pins all others.
        days: address of the file of each closed UTC day, and of its time stamp if there is one.
    """

    line: int
    last: int
    sha256: str
    days: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A backup.

    Attributes:
        taken_at: the moment whose state it holds, by the database's clock.
        finished_at: when it was whole, by this machine's clock.
        program: version of the program that made it; ``server``, ``pg_dump``: those of PostgreSQL.
        schema: number of the newest migration that was applied.
        tables: rows by table.
        chains: SHA-256 over the ends of all chains: equal databases have equal ones.
        files: of the backup's folder.
        artifacts, artifact_bytes: that belong to it; ``new_artifacts``, ``new_bytes``: those of
            them that were not in the place yet.
        dagster: rows of some of Dagster's tables; None: its storage is not in the backup.
        incomplete: what the database refers to and was missing or damaged already.
    """

    format: str
    name: str
    taken_at: datetime
    finished_at: datetime
    program: str
    server: str
    pg_dump: str
    schema: int
    tables: Mapping[str, int]
    chains: str
    files: Mapping[str, Stored]
    heads: HeadsKept
    artifacts: int
    artifact_bytes: int
    new_artifacts: int
    new_bytes: int
    dagster: Mapping[str, int] | None
    incomplete: Sequence[str]

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(self.tables.values())

    def to_bytes(self) -> bytes:
        """Its file."""
        told = asdict(self)
        return canonical_bytes({"manifest": told, "sha256": sha256(canonical_bytes(told)).hex()})


def read_manifest(place: Place, name: str) -> Manifest:
    """The manifest of a backup.

    Raises:
        BadBackup: there is none, it is damaged, or another version of the program wrote it.
    """
    where = place.uri(name, MANIFEST)
    try:
        data = place.read(name, MANIFEST)
    except FileNotFoundError:
        raise BadBackup(
            f"backup={name!r}: there is no {where}: it does not exist, or was never finished"
        ) from None
    try:
        document = orjson.loads(data)
        told = document["manifest"]
        if sha256(canonical_bytes(told)).hex() != document["sha256"]:
            raise ValueError("its content does not have its hash")
        if told["format"] != FORMAT:
            raise BadBackup(
                f"{where} has the format {told['format']!r}, this program reads {FORMAT!r}"
            )
        return TypeAdapter(Manifest).validate_python(told)
    except (ValueError, KeyError, TypeError, ValidationError) as error:
        raise BadBackup(f"{where} is damaged: {error}") from None


def check_file(place: Place, manifest: Manifest, file: str) -> None:
    """Read a file of a backup.

    Raises:
        BadBackup: it is missing, or not what was written.
    """
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in place.chunks(manifest.name, file):
            digest.update(chunk)
            size += len(chunk)
    except FileNotFoundError:
        raise BadBackup(f"{place.uri(manifest.name, file)} is missing") from None
    written = manifest.files[file]
    if (size, digest.hexdigest()) != (written.size, written.sha256):
        raise BadBackup(
            f"{place.uri(manifest.name, file)} is damaged: {size:,} bytes with the SHA-256 "
            f"{digest.hexdigest()[:12]}…, written were {written.size:,} with {written.sha256[:12]}…"
        )


def read_addresses(place: Place, manifest: Manifest) -> dict[str, int]:
    """The artifacts of a backup, with their sizes in bytes.

    Raises:
        BadBackup: the list is missing or damaged.
    """
    check_file(place, manifest, ADDRESSES)
    found = {}
    for row in place.read(manifest.name, ADDRESSES).decode().splitlines():
        size, address = row.split(" ")
        found[address] = int(size)
    return found


def newest_or(place: Place, name: str | None) -> str:
    """A backup's name; None: the newest one's.

    Raises:
        BadBackup: there is none in the place.
    """
    if name is not None:
        return name
    names = place.whole()
    if not names:
        raise BadBackup(f"there is no finished backup in {place.url}")
    return names[-1]
