"""The embedded Valkey under everything that ends processes, and the cache that settings name."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from trade_pipeline.core.errors import BadConfig
from trade_pipeline.core.store import valkey_server
from trade_pipeline.core.store.server_account import ServerError
from trade_pipeline.core.store.valkey_server import EmbeddedValkey, open_cache
from trade_pipeline.settings import Settings
from trade_pipeline_tests.core.store.test_server import eventually, watchdogs

USER = """
import sys
from pathlib import Path
from trade_pipeline.core.store.valkey_server import EmbeddedValkey
with EmbeddedValkey(Path(sys.argv[1])) as server, server.client() as client:
    print(client.info("server")["process_id"], flush=True)
    sys.stdin.read()
"""

Launch = Callable[[Path], "subprocess.Popen[str]"]


def pid_of(server: EmbeddedValkey) -> int:
    with server.client() as client:
        return int(client.info("server")["process_id"])


def says(user: subprocess.Popen[str]) -> int:
    assert user.stdout is not None
    return int(user.stdout.readline())


def stops(server: EmbeddedValkey) -> None:
    eventually(lambda: not server._processes.alive(), "the server is stopped")
    eventually(lambda: not watchdogs(server.folder), "the watchdog is gone")
    shutil.rmtree(server.socket_folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def busy_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where many tests run at once, a healthy server may not answer within a tenth of a second."""
    monkeypatch.setattr(valkey_server, "_CONNECT_SECONDS", 5.0)
    monkeypatch.setattr(valkey_server, "_READ_SECONDS", 5.0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server whose folder does not exist yet."""
    made = EmbeddedValkey(tmp_path / "valkey")
    yield made
    made.stop()
    stops(made)


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Starts processes that use a server until their standard input ends."""
    started: list[subprocess.Popen[str]] = []

    def start(folder: Path) -> subprocess.Popen[str]:
        user = subprocess.Popen(
            [sys.executable, "-c", USER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        started.append(user)
        return user

    yield start
    for user in started:
        user.kill()
        user.communicate()


def test_processes_share_one_server_and_none_is_left_after_the_last_of_them(
    server: EmbeddedValkey, launch: Launch
) -> None:
    users = [launch(server.folder) for _ in range(3)]
    pids = {says(user) for user in users}
    assert len(pids) == 1
    with server:
        for user in users[:2]:
            user.communicate("")
        assert {pid_of(server)} == pids
        users[2].kill()
    stops(server)


def test_a_killed_server_is_started_again_for_the_next_user(
    server: EmbeddedValkey, launch: Launch
) -> None:
    pid = says(launch(server.folder))
    os.kill(pid, signal.SIGKILL)
    with server:
        assert pid_of(server) != pid
        assert len(watchdogs(server.folder)) == 1


def test_a_client_fails_at_once_and_has_a_killed_server_started_again(
    server: EmbeddedValkey,
) -> None:
    with server, server.client() as client:
        client.set("a", "b")
        os.kill(pid_of(server), signal.SIGKILL)
        eventually(lambda: not server._processes.alive(), "the server is dead")
        with pytest.raises(redis.RedisError):
            client.get("a")
        eventually(lambda: _answers(client), "the server is there again")
        assert client.get("a") is None


def test_a_client_that_outlives_its_server_starts_nothing(server: EmbeddedValkey) -> None:
    with server:
        client = server.client()
    stops(server)
    with client, pytest.raises(redis.RedisError):
        client.ping()
    assert server._reviver is None


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


@pytest.mark.parametrize("name", ["with a space", "ö" * 100], ids=["space", "long"])
def test_any_folder_will_do(tmp_path: Path, name: str) -> None:
    server = EmbeddedValkey(tmp_path / name / "valkey")
    with server:
        assert server._processes.postmaster() == pid_of(server)
    stops(server)


def test_only_this_account_reaches_it_and_nothing_is_written_to_disk(tmp_path: Path) -> None:
    server = EmbeddedValkey(tmp_path / "valkey", 32)
    with server, server.client() as client:
        assert client.info("server")["tcp_port"] == 0
        assert stat.S_IMODE(server.socket_folder.stat().st_mode) == 0o700
        assert stat.S_IMODE(server.socket_path.stat().st_mode) == 0o700
        found = {
            name: client.config_get(name)[name]
            for name in ("save", "appendonly", "maxmemory", "maxmemory-policy")
        }
        assert found == {
            "save": "",
            "appendonly": "no",
            "maxmemory": str(32 * 1024 * 1024),
            "maxmemory-policy": "allkeys-lru",
        }
        client.set("a", "b")
    stops(server)
    assert list((tmp_path / "valkey" / "data").iterdir()) == []


def test_a_server_of_somebody_else_in_our_place_is_not_asked(
    server: EmbeddedValkey, tmp_path: Path
) -> None:
    stranger = EmbeddedValkey(tmp_path / "stranger")
    with stranger:
        server.socket_folder.symlink_to(stranger.socket_folder)
        with pytest.raises(ServerError, match="somebody else"):
            server.acquire()
        with server.client() as client, pytest.raises(redis.ConnectionError, match="not ours"):
            client.ping()
        server.socket_folder.unlink()
    stops(stranger)


def test_a_pickled_server_is_the_same(tmp_path: Path) -> None:
    copy = pickle.loads(pickle.dumps(EmbeddedValkey(tmp_path, 17)))
    assert (copy.folder, copy.memory_mb) == (tmp_path, 17)


def test_the_cache_is_embedded_under_the_home_or_any_by_url(tmp_path: Path) -> None:
    home = Settings(home=tmp_path, cache_memory_mb=64)
    server = EmbeddedValkey(tmp_path / "valkey")
    with open_cache(home) as client:
        assert client.config_get("maxmemory")["maxmemory"] == str(64 * 1024 * 1024)
        client.set("a", "b")
        url = SecretStr(f"unix://{server.socket_path}")
        with open_cache(Settings(home=tmp_path / "other", cache_url=url)) as other:
            assert other.get("a") == b"b"
    stops(server)
    assert not (tmp_path / "other").exists()


def test_a_url_that_is_none_is_refused_without_showing_its_password() -> None:
    for url in ("http://:secret@host", "redis://:sec/ret@host", "redis://host:secret"):
        with (
            pytest.raises(BadConfig, match="cache_url") as caught,
            open_cache(Settings(cache_url=SecretStr(url))),
        ):
            pass
        assert "ret" not in str(caught.value).replace("hidden", "")


def test_a_cache_that_is_not_there_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    nobody = SecretStr("redis://127.0.0.1:1")
    with open_cache(Settings(cache_url=nobody)) as client, pytest.raises(redis.RedisError):
        client.ping()

    def no_program() -> Path:
        raise ServerError("no program")

    monkeypatch.setattr(valkey_server, "_binary", no_program)
    with (
        caplog.at_level(logging.WARNING, "trade_pipeline.cache"),
        open_cache(Settings(home=tmp_path)) as client,
        pytest.raises(redis.RedisError),
    ):
        client.ping()
    assert caplog.messages == ["the embedded cache cannot be started: no program"]
    stops(EmbeddedValkey(tmp_path / "valkey"))
