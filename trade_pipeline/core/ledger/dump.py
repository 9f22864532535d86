"""A dump of the database (pg_dump), restored into a server of its own for as long as it is read."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from trade_pipeline.core.errors import TradePipelineError
from trade_pipeline.core.store.address import environment_of
from trade_pipeline.core.store.server import SUPERUSER, EmbeddedPostgres, binary

_DATABASE = "dump"
# Owners and rights of another server; primary keys are wanted for the names of rows alone.
_RESTORE = ("--no-owner", "--no-privileges", "--exit-on-error")
# What a dump's data are not held against: rows that break it are to be read, not refused.
_DROP_CHECKS = """
DO $$ DECLARE c record; BEGIN
    FOR c IN SELECT conrelid::regclass AS t, conname FROM pg_constraint
             WHERE connamespace = 'trade'::regnamespace AND contype = 'c' AND coninhcount = 0 LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', c.t, c.conname);
    END LOOP;
END $$
"""


class BadDump(TradePipelineError):
    """A file that is no dump of the database, or that cannot be restored."""


@contextmanager
def restored(dump: Path) -> Iterator[str]:
    """The URL of a database with what a dump holds; it is gone after the block.

    Args:
        dump: of pg_dump, as SQL, in the custom, tar or directory format.

    Raises:
        BadDump: it cannot be restored.
    """
    if not dump.exists():
        raise BadDump(f"dump={str(dump)!r}: no such file")
    with (
        tempfile.TemporaryDirectory(prefix="ledger", ignore_cleanup_errors=True) as folder,
        EmbeddedPostgres(Path(folder, "postgres")) as server,
    ):
        with psycopg.connect(server.url(SUPERUSER, SUPERUSER), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_DATABASE}")
            # A dump as SQL names the owner of its tables; the other roles are there.
            connection.execute("CREATE ROLE trade_owner")
        url = server.url(SUPERUSER, _DATABASE)
        if _is_archive(dump):
            _restore_archive(dump, url, Path(folder))
        else:
            _run(["psql", "--no-psqlrc", "--quiet", "-v", "ON_ERROR_STOP=1", "-o", os.devnull,
                  "-f", str(dump)], url, dump)  # fmt: skip
        yield url


def _is_archive(dump: Path) -> bool:
    if dump.is_dir():
        return True
    with dump.open("rb") as file:
        start = file.read(512)
    return start.startswith(b"PGDMP") or start[257:262] == b"ustar"


def _restore_archive(dump: Path, url: str, folder: Path) -> None:
    command = ["pg_restore", *_RESTORE, "-d", _DATABASE, str(dump)]
    _run([*command, "--section=pre-data"], url, dump)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_DROP_CHECKS)
    _run([*command, "--section=data"], url, dump)
    listed = _run(["pg_restore", "--list", "--section=post-data", str(dump)], url, dump)
    keys = folder / "keys"
    keys.write_text("\n".join(line for line in listed.splitlines() if line.endswith("_pkey") or
                              "_pkey " in line) + "\n")  # fmt: skip
    _run([*command, f"--use-list={keys}"], url, dump)


def _run(command: list[str], url: str, dump: Path) -> str:
    done = subprocess.run(
        [str(binary(command[0])), *command[1:]],
        env=os.environ | environment_of(url), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise BadDump(f"dump={str(dump)!r}: {command[0]}: {done.stderr.strip()[:500]}")
    return done.stdout
