"""Applies the numbered plain-SQL migrations of ``sql/``, each once and never edited.

A table keeps the checksum of what was applied; a file that changed or vanished afterwards is
refused.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

from trade_pipeline.core.errors import MigrationEdited
from trade_pipeline.core.store.address import connect

_NAME = re.compile(r"^(\d{4})_[a-z0-9_]+\.sql$")

_TABLE = """
CREATE SCHEMA IF NOT EXISTS trade;
CREATE TABLE IF NOT EXISTS trade.migrations (
    version    integer     PRIMARY KEY,
    name       text        NOT NULL,
    checksum   text        NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of ``sql/``."""

    version: int
    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations_folder() -> Path:
    """The ``sql`` folder: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    packaged = package / "sql"
    return packaged if packaged.is_dir() else package.parent / "sql"


def read_migrations(folder: Path) -> list[Migration]:
    """The migrations of a folder in order.

    Raises:
        MigrationEdited: the numbers are not 1, 2, 3, ... without gap or repetition.
    """
    found = [
        Migration(int(match[1]), path.name, path.read_text(encoding="utf-8"))
        for path in sorted(folder.glob("*.sql"))
        if (match := _NAME.match(path.name))
    ]
    if [m.version for m in found] != list(range(1, len(found) + 1)):
        raise MigrationEdited(f"{folder}: expected migrations numbered 0001, 0002, ... without gap")
    return found


def check_applied(connection: psycopg.Connection, available: list[Migration]) -> list[Migration]:
    """The migrations that are not applied yet.

    Raises:
        MigrationEdited: an applied migration was changed or removed.
    """
    if connection.execute("SELECT to_regclass('trade.migrations')").fetchone() == (None,):
        return available
    by_version = {m.version: m for m in available}
    rows = connection.execute("SELECT version, name, checksum FROM trade.migrations").fetchall()
    for version, name, checksum in rows:
        migration = by_version.pop(version, None)
        if migration is None:
            raise MigrationEdited(
                f"{name}: applied to this database but missing from {migrations_folder()}; "
                "this program is older than the database: install the newer one"
            )
        if migration.checksum != checksum:
            raise MigrationEdited(
                f"{name}: changed after it was applied (sha256 {checksum[:12]} then, "
                f"{migration.checksum[:12]} now); restore the file and write a new migration"
            )
    return [by_version[version] for version in sorted(by_version)]


def migrate(url: str, folder: Path | None = None) -> list[str]:
    """Apply what is missing, each file in its own transaction; returns the names applied.

    Args:
        url: a login that may create roles (embedded: the superuser).

    Raises:
        MigrationEdited: see `check_applied`; nothing is applied then.
        StoreUnavailable: the database cannot be reached.
    """
    available = read_migrations(folder or migrations_folder())
    with connect(url, "cannot migrate", autocommit=True) as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('trade.migrations'))")
        missing = check_applied(connection, available)
        for migration in missing:
            with connection.transaction():
                if migration.version == 1:
                    connection.execute(_TABLE)
                connection.execute(migration.sql)
                connection.execute("RESET ROLE")
                connection.execute(
                    "INSERT INTO trade.migrations (version, name, checksum) VALUES (%s, %s, %s)",
                    (migration.version, migration.name, migration.checksum),
                )
        return [m.name for m in missing]
