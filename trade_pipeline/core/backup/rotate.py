"""Old backups go, and what only they needed."""

from __future__ import annotations

from trade_pipeline.core.backup.manifest import read_addresses, read_manifest
from trade_pipeline.core.backup.place import Place


def rotate(place: Place, keep: int) -> tuple[list[str], int]:
    """Remove all but the newest backups, what was never finished, and what none of the rest needs.

    Nobody may be writing a backup into the place meanwhile.

    Returns:
        the names of those that were finished, and how many artifacts went with them.

    Raises:
        BadBackup: one that stays is damaged, so that nobody knows what it needs.
    """
    names = place.whole()
    staying, going = names[-keep:], names[:-keep]
    needed: set[str] = set()
    lines: set[int] = set()
    for name in staying:
        manifest = read_manifest(place, name)
        lines.add(manifest.heads.line)
        needed |= set(read_addresses(place, manifest))
        for day, stamp in manifest.heads.days.values():
            needed |= {day} if stamp is None else {day, stamp}
    for name in [*going, *place.unfinished()]:
        place.remove(name)
    for line in set(place.lines()) - lines:
        place.remove_heads(line)
    gone = [address for address in place.artifacts.sizes() if address not in needed]
    return going, sum(place.artifacts.remove(address) for address in gone)
