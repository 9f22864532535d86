"""The operating system's account that runs PostgreSQL, which refuses to run as root."""

from __future__ import annotations

import functools
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from trade_pipeline.core.errors import StoreUnavailable


class ServerError(StoreUnavailable, RuntimeError):
    """The server cannot be started, reached or stopped; the message says what to do."""


@dataclass(frozen=True)
class ServerAccount:
    """Who owns the server's files (``uid``), and how a command is run as that account."""

    uid: int
    prefix: tuple[str, ...] = ()
    """Goes before every command."""
    user: int | None = None
    group: int | None = None

    def launch(
        self, command: list[str], folder: Path, output: int, inherited: tuple[int, ...] = ()
    ) -> subprocess.Popen[bytes]:
        """Start a command away from our terminal, and without the secrets of our environment."""
        kept = ("PATH", "LD_LIBRARY_PATH")
        return subprocess.Popen(
            [*self.prefix, *command],
            cwd=folder,
            env={"LC_ALL": "C"} | {name: os.environ[name] for name in kept if name in os.environ},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=inherited,
            start_new_session=True,
            user=self.user,
            group=self.group,
            extra_groups=None if self.user is None else [],
        )

    def own(self, path: Path) -> None:
        """Give one of the server's own folders to this account, with all that is in it."""
        if os.geteuid() != 0 or path.stat().st_uid == self.uid:
            return
        group = os.getegid() if self.group is None else self.group
        for folder, folders, files in os.walk(path, topdown=False):
            for name in (*folders, *files):
                os.chown(Path(folder, name), self.uid, group, follow_symlinks=False)
        # Last, because it is what tells that all the rest was done.
        os.chown(path, self.uid, group)

    def check_reach(self, folder: Path, program: Path) -> None:
        """Raises ServerError when this account cannot enter the folder or run the program."""
        if os.geteuid() != 0:
            return
        for target in (folder, program):
            for path in (*reversed(target.parents), target):
                if self.launch(["test", "-x", str(path)], Path("/"), subprocess.DEVNULL).wait():
                    name = pwd.getpwuid(self.uid).pw_name
                    raise ServerError(
                        f"PostgreSQL does not run as root, and the account {name!r} that runs it"
                        f" instead may not enter {path}. Set TRADE_PIPELINE_HOME to a folder that"
                        " other users may enter, or run this as a normal user."
                    )


def server_account() -> ServerAccount:
    """This process's account; for root one that PostgreSQL accepts.

    Raises ServerError when root has no other account to use.
    """
    uid = os.geteuid()
    if uid != 0:
        return ServerAccount(uid)
    others = {entry.pw_name: entry for entry in pwd.getpwall() if entry.pw_uid != 0}
    if not others:
        raise ServerError(
            "PostgreSQL does not run as root, and the system has no other user: make one"
        )
    first = next(iter(others.values()))
    # In a user namespace the server sees another id while its files stay ours.
    unshare = shutil.which("unshare")
    if unshare is not None:
        prefix = (unshare, "-U", f"--map-user={others.get('nobody', first).pw_uid}")
        if _works(prefix):
            return ServerAccount(uid, prefix)
    entry = others.get("postgres") or others.get("nobody") or first
    return ServerAccount(entry.pw_uid, user=entry.pw_uid, group=entry.pw_gid)


@functools.cache
def _works(prefix: tuple[str, ...]) -> bool:
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
