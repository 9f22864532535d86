"""The process that stops an embedded server when its last user is gone.

It runs as a script (``python watchdog.py FOLDER LOCK_FD PROGRAM``) beside every server, so it
imports little.  The locks and signals that it shares with ``shared_server.py`` are here for the
same reason.

Who lives is never asked of a pid file.  Each fact is a flock, which the kernel drops when the last
process that holds it dies, however it dies:

- ``start.lock`` (exclusive): somebody starts, prepares or stops the server.
- ``users.lock`` (shared): one holder for every process that uses the server.
- ``watchdog.lock`` (exclusive): inherited by the watchdog.
- ``server.lock`` (exclusive): inherited by the server (of PostgreSQL the postmaster) and all of its
  children.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import signal
import sys
import time
from pathlib import Path
from types import TracebackType

FAST_SECONDS = 20.0
"""How long a fast shutdown may take before an immediate one is asked for."""
STOP_SECONDS = 40.0
"""How long a stop may take altogether."""

# By program: its pid file, and the option that names the data on its command line.
_PROGRAMS = {"postgres": ("postmaster.pid", "-D"), "valkey-server": ("valkey.pid", "--dir")}

_PROC = Path("/proc")
_POLL_SECONDS = 0.02


class Lock:
    """A flock on a file.  Closing gives it up, unless a child process inherited it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self, *, shared: bool = False, seconds: float | None = None) -> bool:
        """Wait for the lock, for ever or for so many seconds; tell whether it was taken."""
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        if seconds is None:
            fcntl.flock(self.fd, kind)
            return True
        deadline = time.monotonic() + seconds
        while True:
            try:
                fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    return False
                time.sleep(_POLL_SECONDS)
            else:
                return True

    def give(self) -> None:
        """Unlock, also for every process that shares this lock, and keep the file open."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; the lock ends when no other process has inherited it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> Lock:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class ServerProcesses:
    """The processes of the server whose files are in a folder (absolute, without symlinks).

    ``program`` is ``postgres`` or ``valkey-server``, which is one process that understands the same
    signals.
    """

    def __init__(self, folder: Path, program: str) -> None:
        self.folder = folder
        self.program = program
        self.data = folder / "data"
        pid_file, self._data_option = _PROGRAMS[program]
        self.pid_file = self.data / pid_file
        self.keep = folder / "keep"
        self.name = "trade-pipeline-" + hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
        """Names the socket folder, and the processes as PostgreSQL's ``cluster_name``."""

    def lock(self, name: str) -> Lock:
        """One of the lock files: start, users, watchdog or server."""
        return Lock(self.folder / f"{name}.lock")

    def alive(self) -> bool:
        """Whether any process of the server is left, be it starting, serving or orphaned."""
        with self.lock("server") as lock:
            if not lock.take(seconds=0):
                return True
        # A server that somebody started by hand inherited no lock from us.
        return self.postmaster() is not None

    def postmaster(self) -> int | None:
        """The pid in the server's pid file if that process is a server of this folder."""
        try:
            first = self.pid_file.read_bytes().split(b"\n")[0]
        except FileNotFoundError:
            return None
        # It is empty for a moment while it is made; a postgres in single-user mode writes -pid.
        if not first.lstrip(b"-").isdigit():
            return None
        pid = abs(int(first))
        command = _commands(pid).get(pid, "")
        named = f" {self._data_option} {self.data} " in f"{command} "
        ours = named or _works_in(pid, self.data)
        return pid if ours and self.program in command else None

    def backends(self) -> list[int]:
        """The pids of the postmaster's children, known by the title that they show."""
        title = f"postgres: {self.name}: "
        return [pid for pid, command in _commands().items() if command.startswith(title)]

    def end_orphans(self) -> None:
        """End children that outlive their postmaster: a busy one would not notice for long.

        It is what a postmaster does with its children when one of them crashes.
        """
        # In this order: children that were seen first had a postmaster, so if none is there now,
        # it died; the other way round a server that is starting could look like that.
        orphans = self.backends()
        if self.postmaster() is None:
            for pid in orphans:
                _send(pid, signal.SIGQUIT)

    def stop(self) -> None:
        """Shut down fast, and return when no process is left.  The caller holds ``start.lock``.

        Raises TimeoutError when processes are left after ``STOP_SECONDS``.
        """
        began = time.monotonic()
        sent: set[tuple[int, signal.Signals]] = set()
        while self.alive():
            waited = time.monotonic() - began
            if waited > STOP_SECONDS:
                raise TimeoutError(f"the server in {self.folder} does not stop")
            pid = self.postmaster()
            wanted = signal.SIGINT if waited < FAST_SECONDS else signal.SIGQUIT
            if pid is None:
                self.end_orphans()
            elif (pid, wanted) not in sent:
                _send(pid, wanted)
                sent.add((pid, wanted))
            time.sleep(_POLL_SECONDS)


def _send(pid: int, wanted: signal.Signals) -> None:
    try:
        os.kill(pid, wanted)
    except ProcessLookupError:
        return  # It ended by itself, which is what the signal was for.


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.stat(_PROC / str(pid) / "cwd"), os.stat(folder))
    except OSError:
        return False  # Gone, another user's, or a system without /proc.


def _commands(pid: int | None = None) -> dict[int, str]:
    """The command lines of all processes, or of one, by pid."""
    found: dict[int, str] = {}
    if (_PROC / "self" / "cmdline").exists():
        names = [str(pid)] if pid else [name for name in os.listdir(_PROC) if name.isdigit()]
        for name in names:
            try:
                command = (_PROC / name / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue  # It ended since it was listed.
            found[int(name)] = os.fsdecode(command.replace(b"\0", b" "))
        return found
    import subprocess  # Too much to load where /proc spares it.

    which = ["-p", str(pid)] if pid else ["-ax"]
    listing = subprocess.run(
        ["ps", "-ww", *which, "-o", "pid=", "-o", "command="], stdout=subprocess.PIPE, check=False
    )
    for line in listing.stdout.splitlines():
        number, _, command = line.strip().partition(b" ")
        found[int(number)] = os.fsdecode(command)
    return found


def watch(folder: Path, inherited: int, program: str) -> None:
    """Wait until nobody uses the server, stop it unless it is kept, and return.

    ``inherited`` is the open and locked ``watchdog.lock``.  Raises TimeoutError when the server
    does not stop.
    """
    processes = ServerProcesses(folder, program)
    with processes.lock("users") as users:
        while True:
            users.take()
            # Somebody may hold start.lock and wait for users.lock: never hold this one first.
            users.give()
            with processes.lock("start") as start:
                start.take()
                if not users.take(seconds=0):
                    continue
                try:
                    if not processes.keep.exists():
                        processes.stop()
                finally:
                    # Before start.lock: who gets that next must see that no watchdog is left.
                    os.close(inherited)
                return


if __name__ == "__main__":
    watch(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
