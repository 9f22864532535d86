"""Is a backup whole?  Every file of it is read."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor

from trade_pipeline.core.backup.create import THREADS, Stage, silent
from trade_pipeline.core.backup.errors import BadBackup
from trade_pipeline.core.backup.heads import Progress, check_heads
from trade_pipeline.core.backup.manifest import Manifest, check_file, read_addresses
from trade_pipeline.core.backup.place import Place
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore


def check_backup(place: Place, manifest: Manifest, stage: Stage = silent) -> dict[str, int]:
    """Read everything that belongs to a backup; gives its artifacts, with their sizes in bytes.

    Raises:
        BadBackup: a file is missing or damaged; it is named.
    """
    addresses = check_files(place, manifest, stage)
    with stage("artifacts of the backup") as progress:
        check_artifacts(place, list(addresses), progress)
    return addresses


def check_files(place: Place, manifest: Manifest, stage: Stage) -> dict[str, int]:
    """The same without the artifacts' bytes."""
    addresses = read_addresses(place, manifest)
    with stage("files of the backup") as progress:
        for done, file in enumerate(manifest.files, 1):
            check_file(place, manifest, file)
            progress(done, len(manifest.files))
    with stage("heads of the backup") as progress:
        check_heads(place, manifest.heads, progress)
    return addresses


def check_artifacts(place: Place, addresses: Collection[str], progress: Progress) -> None:
    """Read artifacts of a backup.

    Raises:
        BadBackup: the first that is missing or damaged; it is named.
    """
    for done, (address, wrong) in enumerate(wrongs(place.artifacts, addresses), 1):
        if wrong is not None:
            raise BadBackup(f"{place.artifacts.uri(address)} {wrong}")
        progress(done, len(addresses))


def wrongs(
    artifacts: ArtifactStore, addresses: Collection[str]
) -> Iterator[tuple[str, str | None]]:
    """Read artifacts: each address with what is wrong with it."""

    def wrong(address: str) -> str | None:
        try:
            artifacts.get(address)
        except FileNotFoundError:
            return "is missing"
        except ArtifactDamaged:
            return "is damaged: its bytes have another hash"
        return None

    with ThreadPoolExecutor(THREADS) as pool:
        yield from zip(addresses, pool.map(wrong, addresses), strict=True)
