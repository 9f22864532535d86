"""The ledger's heads in a backup.

A head never changes and names the one before it by its hash, so the files of all backups of one
history are kept once.  A history that parts from it gets a line of its own: after a restore to an
earlier moment other heads follow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson

from trade_pipeline.core.backup.errors import BadBackup, TargetNotEmpty
from trade_pipeline.core.backup.manifest import HeadsKept
from trade_pipeline.core.backup.place import Place
from trade_pipeline.core.canonical import sha256
from trade_pipeline.core.ledger.chain import GENESIS
from trade_pipeline.core.ledger.merkle import merkle_root, split_hashes
from trade_pipeline.core.store.artifacts import ArtifactDamaged
from trade_pipeline.core.store.head_files import Head, HeadDamaged, HeadFiles

Progress = Callable[[int, int], None]
# Heads whose files are read at once.
_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class HeadRead:
    """The files of a head."""

    number: int
    data: bytes
    leaves: bytes


def keep_heads(
    files: HeadFiles, last: int, place: Place, progress: Progress
) -> tuple[HeadsKept, list[str]]:
    """Copy the heads up to a number into a place of backups, and the days that these close.

    Returns:
        what the place holds now, and what could not be read of the store's own files.
    """
    numbers = [number for number in files.numbers() if number <= last]
    line = _line(files, numbers, place)
    kept = place.heads(line)
    there = kept.numbers()
    problems: list[str] = []
    # The place may already hold more, of a backup that was never finished.
    newest = min(there[-1], last) if there else -1
    previous = _hash(kept, newest)
    if newest >= 0 and previous != _hash(files, newest):
        problems.append(f"head {newest}: it is missing from {files.url} or was changed")
    try:
        for head in checked_heads(files, newest + 1, last, previous):
            kept.add(head.number, head.data, head.leaves)
            newest, previous = head.number, sha256(head.data)
            progress(newest + 1, last + 1)
    except BadBackup as bad:
        problems.append(f"{bad}: neither it nor any later head is in the backup")
    days = _keep_days(files, newest, place)
    return HeadsKept(line, newest, previous.hex(), days), problems


def _line(files: HeadFiles, numbers: list[int], place: Place) -> int:
    """The line that goes on with these heads; a new one where none does."""
    lines = place.lines()
    if not lines:
        return 0
    kept = place.heads(lines[-1])
    common = sorted(set(numbers) & set(kept.numbers()))
    if common and _hash(kept, common[-1]) != _hash(files, common[-1]):
        return lines[-1] + 1
    return lines[-1]


def _hash(files: HeadFiles, number: int) -> bytes:
    data = files.read([number]).get(number)
    return GENESIS if data is None else sha256(data)


def _keep_days(files: HeadFiles, last: int, place: Place) -> dict[str, tuple[str, str | None]]:
    names = files.days()
    data, stamps = files.read_of_days(names), files.read_of_days(names, "tsr")
    days: dict[str, tuple[str, str | None]] = {}
    for day in names:
        # What is damaged is for the verification to tell.
        with suppress(ValueError, KeyError, TypeError):
            if orjson.loads(data[day])["last"] <= last:
                stamp = stamps.get(day)
                days[day] = (
                    place.artifacts.put(data[day]),
                    None if stamp is None else place.artifacts.put(stamp),
                )
    return days


def checked_heads(
    files: HeadFiles, first: int, last: int, previous: bytes = GENESIS
) -> Iterator[HeadRead]:
    """Heads from a number to another, each found to follow from the one before.

    Args:
        previous: the hash of the file of the head before the first.

    Raises:
        BadBackup: one is missing or damaged.
    """
    for start in range(first, last + 1, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, last + 1))
        found = files.read(numbers)
        for number in numbers:
            where = f"head {number} in {files.url}"
            data, leaves = found.get(number), files.leaves(number)
            if data is None or leaves is None:
                raise BadBackup(f"{where} is missing")
            try:
                head = Head.from_bytes(data, number)
                if head.previous != previous:
                    raise BadBackup(f"{where} does not follow from the one before")
                hashes = split_hashes(leaves)
            except (HeadDamaged, ValueError) as error:
                raise BadBackup(f"{where} is damaged: {error}") from None
            if len(hashes) != head.count or merkle_root(hashes) != head.root:
                raise BadBackup(f"{where} is damaged: the hashes beside it are not under its root")
            previous = head.hash
            yield HeadRead(number, data, leaves)


def read_days(place: Place, heads: HeadsKept) -> Iterator[tuple[str, bytes, bytes | None]]:
    """The files of days in a backup, and their time stamps.

    Raises:
        BadBackup: one is missing or damaged.
    """
    for day, (address, stamp) in sorted(heads.days.items()):
        try:
            yield (
                day,
                place.artifacts.get(address),
                None if stamp is None else place.artifacts.get(stamp),
            )
        except (FileNotFoundError, ArtifactDamaged) as error:
            raise BadBackup(f"the file of day {day} is missing or damaged: {error}") from None


def check_heads(place: Place, heads: HeadsKept, progress: Progress) -> None:
    """Read every head of a backup.

    Raises:
        BadBackup: one is missing or damaged, or another than when the backup was made.
    """
    files, newest = place.heads(heads.line), GENESIS
    for head in checked_heads(files, 0, heads.last):
        newest = sha256(head.data)
        progress(head.number + 1, heads.last + 1)
    if newest.hex() != heads.sha256:
        raise BadBackup(f"head {heads.last} in {files.url} is another than when it was backed up")
    for _ in read_days(place, heads):
        pass


def later_heads(target: HeadFiles, place: Place, heads: HeadsKept) -> list[int]:
    """The heads of a store that go on behind those of a backup.

    Raises:
        TargetNotEmpty: they are of another history.
    """
    numbers = target.numbers()
    common = [number for number in numbers if number <= heads.last]
    kept = place.heads(heads.line)
    for start in range(0, len(common), _AT_ONCE):
        some = common[start : start + _AT_ONCE]
        ours, theirs = target.read(some), kept.read(some)
        for number in some:
            if ours.get(number) != theirs.get(number):
                raise TargetNotEmpty(
                    f"{target.url} holds heads of another history: head {number} is not the "
                    "backup's. Set TRADE_PIPELINE_HEADS_URL to an empty place"
                )
    return [number for number in numbers if number > heads.last]


def restore_heads(place: Place, heads: HeadsKept, target: HeadFiles, progress: Progress) -> int:
    """Copy into a store the heads that it lacks; gives how many these were."""
    there = set(target.numbers())
    copied = 0
    for head in checked_heads(place.heads(heads.line), 0, heads.last):
        if head.number not in there or target.leaves(head.number) != head.leaves:
            if head.number in there:
                target.replace_leaves(head.number, head.leaves)
            else:
                target.add(head.number, head.data, head.leaves)
            copied += 1
        progress(head.number + 1, heads.last + 1)
    there_days, stamped = target.read_of_days(target.days()), target.stamped_days()
    for day, data, stamp in read_days(place, heads):
        if day not in there_days:
            target.add_day(day, data)
        if stamp is not None and day not in stamped:
            target.write_stamp(day, stamp)
    return copied


def missing_heads(remembered: Mapping[int, bytes], last: int) -> list[str]:
    """Heads that the database remembers and whose files are not there."""
    return [f"head {number} is missing" for number in sorted(remembered) if number > last]
