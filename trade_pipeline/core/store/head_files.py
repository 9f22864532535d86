"""The files of the ledger's heads, in a place outside of the database.

::

    000000/000000007.json    head 7: what it covers, its root, the hash of head 6
    000000/000000007.leaves  the hashes under its root, 32 bytes each
    days/2026-11-25.json     the heads of a UTC day under one root, the hash of the day before
    days/2026-11-25.tsr      what a time-stamp authority answered about this file (RFC 3161)
    days/2026-11-25.state    where each chain stood then, for the next writer; verify reads none
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import fsspec
import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from trade_pipeline.core.canonical import canonical_bytes, sha256
from trade_pipeline.core.errors import TradePipelineError, first_problem
from trade_pipeline.core.store.durable import write_durably

HEAD_FORMAT = "trade-pipeline-head/1"
DAY_FORMAT = "trade-pipeline-day/1"
_FOLDER = 1000


class HeadDamaged(TradePipelineError):
    """A file of the heads that is not what its name says."""


@dataclass(frozen=True, slots=True)
class Range:
    """Records of one chain, both ends included; ``chain_hash`` is the last one's."""

    chain_id: str
    first: int
    last: int
    chain_hash: bytes


@dataclass(frozen=True, slots=True)
class Head:
    """Everything that was appended since the head before it.

    Attributes:
        previous: SHA-256 of the file of the head before; 32 zero bytes for the first.
        ranges: by chain id; the leaves stand in this order.
        root: of the Merkle tree over ``count`` leaves.
        hash: SHA-256 of this head's file.
    """

    number: int
    created_at: datetime
    previous: bytes
    ranges: tuple[Range, ...]
    count: int
    root: bytes
    hash: bytes = b""

    def to_bytes(self) -> bytes:
        """Its file."""
        return canonical_bytes(
            {
                "format": HEAD_FORMAT,
                "number": self.number,
                "created_at": self.created_at,
                "previous": self.previous.hex(),
                "ranges": [[r.chain_id, r.first, r.last, r.chain_hash.hex()] for r in self.ranges],
                "count": self.count,
                "root": self.root.hex(),
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes, number: int) -> Head:
        """The head of a file.

        Raises:
            HeadDamaged: the file is none of a head with this number.
        """
        try:
            told = _File.model_validate_json(data)
        except ValidationError as error:
            raise HeadDamaged(f"head {number} cannot be read: {first_problem(error)}") from None
        if told.number != number:
            raise HeadDamaged(f"head {number} cannot be read: its number is {told.number}")
        return cls(
            number,
            told.created_at,
            bytes.fromhex(told.previous),
            tuple(
                Range(chain, first, last, bytes.fromhex(chain_hash))
                for chain, first, last, chain_hash in told.ranges
            ),
            told.count,
            bytes.fromhex(told.root),
            sha256(data),
        )


_Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _File(BaseModel):
    """What `Head.to_bytes` wrote."""

    model_config = ConfigDict(strict=True, extra="forbid")

    format: Literal["trade-pipeline-head/1"]
    number: _Count
    created_at: AwareDatetime
    previous: _Hash
    ranges: list[tuple[str, _Count, _Count, _Hash]]
    count: _Count
    root: _Hash


class HeadFiles:
    """Reads and writes heads.

    Args:
        url: a folder, or a URL that fsspec knows (``s3://bucket/heads``).
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # Listings of object stores are cached otherwise, and others write here, too.
        self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self._local = "file" in self._files.protocol

    def numbers(self, after: int = -1) -> list[int]:
        """The numbers of the heads that are there, in order, from the one behind ``after``."""
        found: list[int] = []
        for folder in sorted(name for name in self._names("") if name.isdigit()):
            if (int(folder) + 1) * _FOLDER > after + 1:
                stems = (name.partition(".json") for name in self._names(folder))
                found += [int(a) for a, b, c in stems if b and not c and a.isdigit()]
        return sorted(number for number in found if number > after)

    def read(self, numbers: Iterable[int]) -> dict[int, bytes]:
        """The files of heads; one that is not there is left out."""
        paths = {self._path(number): number for number in numbers}
        return {paths[path]: data for path, data in self._cat(list(paths)).items()}

    def leaves(self, number: int) -> bytes | None:
        """The hashes under a head's root, one after the other; None: the file is missing."""
        path = self._path(number, "leaves")
        return self._cat([path]).get(path)

    def write(self, head: Head, leaves: bytes) -> Head:
        """Write a new head; the file with its name appears last, as a whole.

        Raises:
            FileExistsError: somebody else has written this number.
        """
        data = head.to_bytes()
        self.add(head.number, data, leaves)
        return Head.from_bytes(data, head.number)

    def add(self, number: int, data: bytes, leaves: bytes) -> None:
        """Write the files of a new head as they are: `write`, for one that was read elsewhere.

        Raises:
            FileExistsError: this number is there.
        """
        self._put(self._path(number, "leaves"), leaves)
        self._put(self._path(number), data, exclusive=True)

    def days(self) -> list[str]:
        """The UTC days that have a file."""
        return sorted(n.removesuffix(".json") for n in self._names("days") if n.endswith(".json"))

    def read_of_days(self, days: Iterable[str], kind: str = "json") -> dict[str, bytes]:
        """The files of days; one that is not there is left out."""
        paths = {f"{self._root}/days/{day}.{kind}": day for day in days}
        return {paths[path]: data for path, data in self._cat(list(paths)).items()}

    def write_day(self, day: str, data: bytes, state: dict[str, Any]) -> None:
        """Write a day's file and where the chains stood; the state of the day before goes.

        Raises:
            FileExistsError: somebody else has written this day.
        """
        before = [name for name in self._names("days") if name.endswith(".state")]
        told = {"day": sha256(data).hex(), **state}
        self._put(f"{self._root}/days/{day}.state", orjson.dumps(told))
        self._put(f"{self._root}/days/{day}.json", data, exclusive=True)
        for name in before:
            if name != f"{day}.state":
                self._files.rm_file(f"{self._root}/days/{name}")

    def replace_leaves(self, number: int, leaves: bytes) -> None:
        """Write the hashes beside a head again, where they were lost."""
        self._put(self._path(number, "leaves"), leaves)

    def add_day(self, day: str, data: bytes) -> None:
        """Write a day's file as it is; where the chains stood, the next writer finds out.

        Raises:
            FileExistsError: this day is there.
        """
        self._put(f"{self._root}/days/{day}.json", data, exclusive=True)

    def set_aside(self, after: int, folder: str, note: bytes) -> int:
        """Move the heads behind a number, and the days that hold any of them, into a folder.

        They stay there as they are, beside a note; nobody reads them as heads any more.

        Args:
            folder: a new one beneath the place of the heads.

        Returns:
            how many heads were moved.
        """
        self._put(f"{self._root}/{folder}/note.json", note)
        numbers = self.numbers(after)
        days = self.read_of_days(self.days())
        gone = [day for day, data in days.items() if orjson.loads(data)["last"] > after]
        for name in self._names("days"):
            day, _, kind = name.rpartition(".")
            if day in gone or kind == "state":
                self._move(f"{self._root}/days/{name}", folder)
        # The newest first: who is killed on the way leaves heads without a gap.
        for number in reversed(numbers):
            for kind in ("json", "leaves"):
                self._move(self._path(number, kind), folder)
        return len(numbers)

    def _move(self, path: str, folder: str) -> None:
        target = f"{self._root}/{folder}/{path.removeprefix(f'{self._root}/')}"
        if self._files.exists(path):
            self._files.makedirs(os.path.dirname(target), exist_ok=True)
            self._files.mv(path, target)

    def stamped_days(self) -> set[str]:
        """The days that a time-stamp authority has stamped."""
        return {n.removesuffix(".tsr") for n in self._names("days") if n.endswith(".tsr")}

    def write_stamp(self, day: str, stamp: bytes) -> None:
        """Keep a time-stamp authority's answer about a day's file."""
        self._put(f"{self._root}/days/{day}.tsr", stamp)

    def newest_state(self) -> dict[str, Any] | None:
        """Where the chains stood at the end of the newest day, if that can be read."""
        days = self.days()
        if not days:
            return None
        day = self.read_of_days(days[-1:]).get(days[-1], b"")
        state = self.read_of_days(days[-1:], "state").get(days[-1])
        try:
            told: dict[str, Any] = orjson.loads(state or b"null")
        except ValueError:
            return None
        return told if told and told.get("day") == sha256(day).hex() else None

    def _path(self, number: int, kind: str = "json") -> str:
        return f"{self._root}/{number // _FOLDER:06}/{number:09}.{kind}"

    def _names(self, folder: str) -> list[str]:
        try:
            listed = self._files.ls(f"{self._root}/{folder}".rstrip("/"), detail=False)
        except FileNotFoundError:
            return []
        return [os.path.basename(path.rstrip("/")) for path in listed]

    def _cat(self, paths: list[str]) -> dict[str, bytes]:
        if self._local:
            return {path: Path(path).read_bytes() for path in paths if Path(path).exists()}
        if not paths:
            return {}
        files: dict[str, bytes] = {}
        # fsspec asks an object store for many at once.
        for path, data in self._files.cat(paths, on_error="return").items():
            if isinstance(data, bytes):
                files[path] = data
            elif not isinstance(data, FileNotFoundError):
                raise data
        return files

    def _put(self, path: str, data: bytes, *, exclusive: bool = False) -> None:
        if self._local:
            write_durably(Path(path), data, exclusive=exclusive)
        elif exclusive:
            self._create(path, data)
        else:
            # Object stores write an object as a whole.
            self._files.pipe_file(path, data)

    def _create(self, path: str, data: bytes) -> None:
        try:
            self._files.pipe_file(path, data, mode="create")
        except OSError:
            # How s3fs tells of a failed precondition differs between its versions.
            there = self._cat([path]).get(path)
            if there is None:
                raise
            # An answer may get lost: the client asks again, and is refused for its own object.
            if there != data:
                raise FileExistsError(f"{self._files.unstrip_protocol(path)} exists") from None
