"""Brings a backup back: into an empty place, or what of it was lost.

Nothing is written before everything that is needed of the backup was read and found whole.  What is
written can be written again: artifacts and heads are kept where they are right, and the database
comes back in one transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import orjson
import psycopg
from psycopg import sql

from trade_pipeline.core.backup.check import check_artifacts, check_files, wrongs
from trade_pipeline.core.backup.create import THREADS, Stage, silent
from trade_pipeline.core.backup.endpoint import Endpoint, endpoint_of
from trade_pipeline.core.backup.errors import BadBackup, TargetNotEmpty
from trade_pipeline.core.backup.heads import later_heads, restore_heads
from trade_pipeline.core.backup.manifest import Manifest, newest_or, read_manifest
from trade_pipeline.core.backup.place import DAGSTER, DATABASE, Place
from trade_pipeline.core.backup.programs import restore as restore_dump
from trade_pipeline.core.backup.snapshot import chains_of, count_dagster, count_rows
from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.ledger.artifacts import check_artifacts as check_named
from trade_pipeline.core.ledger.report import LedgerReport
from trade_pipeline.core.ledger.verify import verify_url
from trade_pipeline.core.live.halts import order_halt
from trade_pipeline.core.live.requests import requests
from trade_pipeline.core.store.address import as_role, connect
from trade_pipeline.core.store.artifacts import ArtifactStore
from trade_pipeline.core.store.migrations import migrate, migrations_folder, read_migrations
from trade_pipeline.core.store.store import artifacts_of
from trade_pipeline.settings import Settings

# Of the tables that a restore does not compare: an upgrade may have gone on since.
_NO_DATA = {"migrations"}


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore did, or would do.

    Attributes:
        manifest: of the backup.
        database: whether it was brought back; False: it holds this very backup already.
        artifacts: copied; ``kept``: those that were there and right.
        heads: copied; ``later_heads``: those that go on behind the backup's and stay.
        dagster: whether its storage was brought back.
        migrations: applied afterwards.
        halted: accounts that trade at an exchange, which has not gone back: they enter nothing
            until a person resumes them.
        report: what a verification of everything found; None: nothing was written.
    """

    manifest: Manifest
    database: bool
    artifacts: int
    kept: int
    heads: int
    later_heads: int
    dagster: bool
    migrations: Sequence[str]
    halted: Sequence[str]
    report: LedgerReport | None


def restore(
    settings: Settings,
    url: str,
    *,
    name: str | None = None,
    with_dagster: bool = False,
    dry_run: bool = False,
    stage: Stage = silent,
) -> Restored:
    """Bring a backup back into the store that the settings name, and verify it.

    Args:
        url: of the place of backups.
        name: of a backup in it; None: the newest.
        with_dagster: Dagster's own storage, too.
        dry_run: read and check everything, and write nothing.

    Raises:
        BadBackup: it is missing, damaged, unfinished or of a newer program; nothing was written.
        TargetNotEmpty: the database holds something else; likewise.
        BadConfig: Dagster's storage is wanted and not in the backup; likewise.
        StoreUnavailable: the database cannot be reached.
    """
    place, artifacts = Place(url), artifacts_of(settings)
    manifest = read_manifest(place, newest_or(place, name))
    _check_program(manifest)
    if with_dagster and manifest.dagster is None:
        raise BadConfig(f"with_dagster=True: backup {manifest.name} holds no storage of Dagster")
    with endpoint_of(settings) as endpoint:
        empty = _is_empty(endpoint, manifest)
        no_runs = with_dagster and _has_no_runs(endpoint, manifest)
        addresses = check_files(place, manifest, stage)
        later = later_heads(artifacts.heads, place, manifest.heads)
        lost = _lost(artifacts, list(addresses), stage)
        with stage("artifacts of the backup") as progress:
            check_artifacts(place, lost, progress)
        plan = Restored(
            manifest,
            empty,
            len(lost),
            len(addresses) - len(lost),
            0,
            len(later),
            no_runs,
            (),
            (),
            None,
        )
        if dry_run:
            return plan
        _copy(place.artifacts, artifacts, lost, stage)
        with stage("heads of the ledger") as progress:
            heads = restore_heads(place, manifest.heads, artifacts.heads, progress)
        if no_runs:
            _restore_dagster(endpoint, place, manifest, stage)
        if empty:
            _restore_database(endpoint, place, manifest, stage)
        migrations = migrate(endpoint.url)
        report = _verified(as_role(endpoint.url, "trade_reader"), artifacts, stage)
        halted = _halt_accounts(endpoint, manifest) if empty else ()
    return replace(plan, heads=heads, migrations=migrations, halted=halted, report=report)


def _halt_accounts(endpoint: Endpoint, manifest: Manifest) -> list[str]:
    """Stop entries of accounts whose venue knows what the restored records do not."""
    with connect(as_role(endpoint.url, "trade_writer"), "cannot halt the accounts") as connection:
        accounts = [
            one.account
            for one in requests(connection)
            if orjson.loads(one.settings).get("orders") == "exchange"
        ]
        for account in accounts:
            reason = f"restored backup {manifest.name}: compare with the venue"
            order_halt(connection, account, "halt", reason=reason, by="restore")
    return accounts


def _check_program(manifest: Manifest) -> None:
    known = len(read_migrations(migrations_folder()))
    if manifest.schema > known:
        raise BadBackup(
            f"backup {manifest.name} has the schema {manifest.schema:04}, made by version "
            f"{manifest.program}; this program knows {known:04}: install the newer one"
        )


def _is_empty(endpoint: Endpoint, manifest: Manifest) -> bool:
    """Whether the database holds nothing; False: it holds this very backup.

    Raises:
        TargetNotEmpty: it holds something else.
    """
    with endpoint.connect() as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = 'trade' AND c.relkind IN ('r', 'p') AND NOT c.relispartition"
        ).fetchall()
        there = {table for (table,) in rows} - _NO_DATA
        used = sorted(table for table in there if _has_rows(connection, table))
        if not used:
            return True
        wanted = {
            table: count
            for table, count in manifest.tables.items()
            if table in there and table not in _NO_DATA
        }
        same = (
            count_rows(connection, list(wanted)) == wanted
            and chains_of(connection) == manifest.chains
        )
        if same:
            return False
        raise TargetNotEmpty(
            f"the database {connection.info.dbname!r} holds data (in {', '.join(used[:4])}, ...) "
            f"that are not those of backup {manifest.name}: restore into an empty one, or move it "
            "away first"
        )


def _has_rows(connection: psycopg.Connection, table: str) -> bool:
    query = sql.SQL("SELECT EXISTS (SELECT FROM trade.{})").format(sql.Identifier(table))
    return connection.execute(query).fetchone() == (True,)


def _has_no_runs(endpoint: Endpoint, manifest: Manifest) -> bool:
    """The same of Dagster's storage."""
    with connect(endpoint.dagster, "cannot reach Dagster's storage") as connection:
        counts = count_dagster(connection)
    if not any(counts.values()):
        return True
    if counts == manifest.dagster:
        return False
    raise TargetNotEmpty(
        f"Dagster's storage holds {counts['runs']:,} runs that are not those of backup "
        f"{manifest.name}: restore into an empty one, or without --with-dagster"
    )


def _lost(artifacts: ArtifactStore, addresses: list[str], stage: Stage) -> list[str]:
    """What is missing from a store, or damaged there."""
    lost = []
    with stage("artifacts that are there") as progress:
        for done, (address, wrong) in enumerate(wrongs(artifacts, addresses), 1):
            if wrong is not None:
                lost.append(address)
            progress(done, len(addresses))
    return lost


def _copy(source: ArtifactStore, target: ArtifactStore, addresses: list[str], stage: Stage) -> None:
    def copy(address: str) -> None:
        data = source.get(address)
        # One of the right size and another content would be kept.
        target.remove(address)
        target.put(data)

    with stage("artifacts") as progress, ThreadPoolExecutor(THREADS) as pool:
        for done, _ in enumerate(pool.map(copy, addresses), 1):
            progress(done, len(addresses))


def _restore_database(endpoint: Endpoint, place: Place, manifest: Manifest, stage: Stage) -> None:
    with endpoint.connect() as connection:
        # A dump holds no roles.  They are made as the first migration makes them.
        roles, _, _ = read_migrations(migrations_folder())[0].sql.partition("ALTER SCHEMA")
        connection.execute(roles.encode())
    # The tables of an empty database are made anew.
    before = "DROP SCHEMA IF EXISTS trade CASCADE;"
    _load(endpoint.url, place, manifest, DATABASE, (), before, stage)
    with endpoint.connect() as connection:
        # A dump brings no statistics, and the verification's queries want some.
        connection.execute("ANALYZE")


def _restore_dagster(endpoint: Endpoint, place: Place, manifest: Manifest, stage: Stage) -> None:
    arguments = ("--clean", "--if-exists", "--no-owner", "--no-privileges")
    _load(endpoint.dagster, place, manifest, DAGSTER, arguments, "", stage)


def _load(
    url: str,
    place: Place,
    manifest: Manifest,
    file: str,
    arguments: Sequence[str],
    before: str,
    stage: Stage,
) -> None:
    major = int(manifest.pg_dump.partition(".")[0])
    total, read = manifest.files[file].size, 0
    with stage(file) as progress:

        def chunks() -> Iterator[bytes]:
            nonlocal read
            for chunk in place.chunks(manifest.name, file):
                yield chunk
                read += len(chunk)
                progress(read, total)

        restore_dump(url, chunks(), major, arguments, before)


def _verified(url: str, artifacts: ArtifactStore, stage: Stage) -> LedgerReport:
    with stage("verifying the records") as progress:
        report = verify_url(url, artifacts.heads, progress)
    with (
        stage("verifying the artifacts") as progress,
        connect(url, "cannot read the artifacts' addresses") as connection,
    ):
        return report.with_artifacts(check_named(connection, artifacts, progress))
