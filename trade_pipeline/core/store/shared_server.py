"""A server that the processes of one home share: who uses it, who starts it, who stops it.

The first user starts the server and a watchdog stops it after the last one, however that one ended:
``watchdog.py`` tells about the locks.
"""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from trade_pipeline.core.store import watchdog
from trade_pipeline.core.store.server_account import ServerAccount, ServerError
from trade_pipeline.core.store.watchdog import Lock, ServerProcesses

# Longer than the longest start, which the one who has the lock may be busy with.
_LOCK_SECONDS = 360.0
_STARTS = 3
_LOG_BYTES = 10_000_000
_LOG_LINES = 20


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


class SharedServer(ABC):
    """The server whose files are in a folder.

    ``with`` makes this process a user of it.  A forked child is a user too, until it releases or
    ends.  Making an object does not touch the folder.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder.resolve()
        self._processes = ServerProcesses(self.folder, program)
        self._data = self._processes.data
        self._log = self.folder / "server.log"
        self._users: Lock | None = None
        self._uses = 0

    def __reduce__(self) -> tuple[type[Self], tuple[Path]]:
        # Elsewhere the lock's file number means nothing: an unpickled object is not a user.
        return (type(self), (self.folder,))

    def __enter__(self) -> Self:
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

    @property
    @abstractmethod
    def socket_folder(self) -> Path:
        """Where the server listens; elsewhere, since a socket's path has 107 bytes at most."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether the server answers (yet)."""

    @abstractmethod
    def _patience(self, pid: int | None) -> float:
        """How many seconds a server may be there and not answer; without a pid: its leftovers."""

    @abstractmethod
    def _start_server(self, start: Lock) -> None:
        """Start the server where no process of it is left; ``start`` is the lock held meanwhile."""

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
        # Before the server: if we are killed in between, somebody has to stop it.
        self._ensure_watchdog()
        self._ensure_server(start)

    def _ensure_watchdog(self) -> None:
        with self._processes.lock("watchdog") as lock:
            if lock.take(seconds=0):
                # It inherits the lock, so that there is no moment in which nobody has it.
                script = [sys.executable, "-I", "-S", watchdog.__file__]
                given = [str(self.folder), str(lock.fd), self._processes.program]
                self._launch(ServerAccount(os.geteuid()), script + given, lock)

    def _ensure_server(self, start: Lock) -> None:
        began, pause, starts = time.monotonic(), 0.02, 0
        while not self._answers():
            if self._processes.alive():
                self._processes.end_orphans()
                pid = self._processes.postmaster()
                if time.monotonic() - began > self._patience(pid):
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
                raise self._error(f"the server ends while it starts: see why in {self._log}")

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

    def _serve(self, account: ServerAccount, command: list[str]) -> None:
        if self._log.exists() and self._log.stat().st_size > _LOG_BYTES:
            self._log.replace(self._log.with_suffix(".log.1"))
        with self._processes.lock("server") as lock:
            # Whoever looks whether the server is alive has it for a moment.
            if lock.take(seconds=1):
                self._launch(account, command, lock)

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

    def _error(self, message: str) -> ServerError:
        try:
            lines = self._log.read_text(errors="replace").splitlines()[-_LOG_LINES:]
        except FileNotFoundError:
            lines = []
        return ServerError("\n".join([message, f"Last lines of {self._log}:", *lines]))
