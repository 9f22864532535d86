"""Makes a backup: one moment of the database, what that refers to, and last a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

from trade_pipeline.core.backup.endpoint import OWNER, Endpoint, endpoint_of
from trade_pipeline.core.backup.heads import Progress, keep_heads, missing_heads
from trade_pipeline.core.backup.manifest import FORMAT, Manifest
from trade_pipeline.core.backup.place import ADDRESSES, DAGSTER, DATABASE, MANIFEST, Place
from trade_pipeline.core.backup.programs import dump, program
from trade_pipeline.core.backup.rotate import rotate
from trade_pipeline.core.backup.snapshot import Snapshot, dagster_snapshot, snapshot_of
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.store.artifacts import ArtifactDamaged, ArtifactStore
from trade_pipeline.core.store.store import artifacts_of
from trade_pipeline.settings import Settings

# Opens a progress bar over something that is named; gives the callback (done, all).
Stage = Callable[[str], AbstractContextManager[Progress]]
# An object store answers each request late and many at once.
THREADS = 8
_SCHEMA = ("--schema=trade", f"--role={OWNER}")


def silent(_: str) -> AbstractContextManager[Progress]:
    """A `Stage` that shows nothing."""
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True, slots=True)
class Made:
    """What came of a backup.

    Attributes:
        manifest: of the new backup.
        removed: older ones that went.
        freed_artifacts: that only those had needed.
    """

    manifest: Manifest
    removed: Sequence[str]
    freed_artifacts: int


@dataclass(frozen=True, slots=True)
class Planned:
    """What a backup would copy; ``database_bytes`` is the size of tables and indexes."""

    database_bytes: int
    rows: int
    schema: int
    artifacts: int
    new_artifacts: int
    new_bytes: int


def plan(settings: Settings, url: str) -> Planned:
    """What a backup into a place would copy now.

    Raises:
        BadBackup, StoreUnavailable: see `snapshot_of`.
    """
    there = Place(url).artifacts.sizes()
    with endpoint_of(settings) as endpoint, snapshot_of(endpoint) as moment:
        new = [address for address in moment.addresses if address not in there]
        return Planned(
            database_bytes=moment.bytes,
            rows=sum(moment.tables.values()),
            schema=moment.schema,
            artifacts=len(moment.addresses),
            new_artifacts=len(new),
            new_bytes=sum(moment.addresses[address] or 0 for address in new),
        )


def back_up(
    settings: Settings,
    url: str,
    *,
    with_dagster: bool = False,
    keep: int | None = None,
    stage: Stage = silent,
) -> Made:
    """Make a backup of the store that the settings name; others may go on working with it.

    Args:
        url: of the place, a folder or a URL that fsspec knows; it belongs to one store.
        with_dagster: Dagster's own storage, too (runs, events, schedules), as it is a moment later.
        keep: how many backups stay, the new one included; None: all.

    Raises:
        BadConfig: ``keep`` is no number of backups.
        BadBackup: there is nothing to back up, or pg_dump fails.
        StoreUnavailable: the database cannot be reached, or another backup of it is being made.
    """
    if keep is not None and keep < 1:
        raise BadConfig(f"keep={keep}: at least the new backup has to stay, so 1 or more")
    place, artifacts = Place(url), artifacts_of(settings)
    with endpoint_of(settings) as endpoint:
        # What a head covers was committed before it was written: those that are there now cover
        # nothing that the snapshot does not hold.
        last = max(artifacts.heads.numbers(), default=-1)
        with snapshot_of(endpoint) as moment:
            manifest = _write(place, artifacts, endpoint, moment, last, with_dagster, stage)
            place.write(manifest.name, MANIFEST, manifest.to_bytes())
            removed, freed = ([], 0) if keep is None else rotate(place, keep)
    return Made(manifest, removed, freed)


def _write(
    place: Place,
    artifacts: ArtifactStore,
    endpoint: Endpoint,
    moment: Snapshot,
    last: int,
    with_dagster: bool,
    stage: Stage,
) -> Manifest:
    name = f"{moment.taken_at.astimezone(UTC):%Y%m%dT%H%M%S.%f}"[:-3] + "Z"
    pg_dump, pg_dump_version = program("pg_dump", moment.major)
    arguments = (*_SCHEMA, f"--snapshot={moment.id}")
    with stage("the database") as progress:
        chunks = _counted(dump(endpoint.url, pg_dump, arguments), moment.bytes, progress)
        files = {DATABASE: place.write_stream(name, DATABASE, chunks)}
    dagster = None
    if with_dagster:
        with stage("Dagster's storage") as progress, dagster_snapshot(endpoint) as runs:
            program_of, _ = program("pg_dump", runs.major)
            chunks = dump(endpoint.dagster, program_of, (f"--snapshot={runs.id}",))
            files[DAGSTER] = place.write_stream(name, DAGSTER, chunks)
            dagster = runs.tables
    with stage("artifacts") as progress:
        sizes, new, incomplete = _copy(place.artifacts, artifacts, moment, progress)
    listed = "".join(f"{size} {address}\n" for address, size in sizes.items())
    files[ADDRESSES] = place.write(name, ADDRESSES, listed.encode())
    with stage("heads of the ledger") as progress:
        reach = max(last, *moment.heads, -1)
        heads, problems = keep_heads(artifacts.heads, reach, place, progress)
    if not problems:
        problems = missing_heads(moment.heads, heads.last)
    return Manifest(
        format=FORMAT,
        name=name,
        taken_at=moment.taken_at,
        finished_at=datetime.now(UTC),
        program=version("trade-pipeline"),
        server=moment.server,
        pg_dump=pg_dump_version,
        schema=moment.schema,
        tables=moment.tables,
        chains=moment.chains,
        files=files,
        heads=heads,
        artifacts=len(sizes),
        artifact_bytes=sum(sizes.values()),
        new_artifacts=len(new),
        new_bytes=sum(sizes[address] for address in new),
        dagster=dagster,
        incomplete=[*incomplete, *problems],
    )


def _counted(chunks: Iterator[bytes], total: int, progress: Progress) -> Iterator[bytes]:
    written = 0
    for chunk in chunks:
        written += len(chunk)
        progress(written, max(total, written))
        yield chunk


def _copy(
    target: ArtifactStore, source: ArtifactStore, moment: Snapshot, progress: Progress
) -> tuple[dict[str, int], list[str], list[str]]:
    """Copy what the target lacks; the size of each, those that are new, and what is wrong."""
    there = target.sizes()
    sizes: dict[str, int] = {}
    missing = []
    for address, size in moment.addresses.items():
        if address in there and size in (None, there[address]):
            sizes[address] = there[address]
        else:
            missing.append(address)
    new: list[str] = []
    incomplete: list[str] = []

    def copy(address: str) -> int | str:
        try:
            data = source.get(address)
        except FileNotFoundError:
            return f"artifact {address} is missing from {source.uri(address)}"
        except ArtifactDamaged as damaged:
            return f"artifact {damaged}"
        target.put(data)
        return len(data)

    with ThreadPoolExecutor(THREADS) as pool:
        for done, (address, result) in enumerate(
            zip(missing, pool.map(copy, missing), strict=True), 1
        ):
            if isinstance(result, str):
                incomplete.append(result)
            else:
                sizes[address] = result
                new.append(address)
            progress(done, len(missing))
    return dict(sorted(sizes.items())), new, incomplete
