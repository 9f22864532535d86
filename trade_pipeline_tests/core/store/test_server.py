"""The embedded server under everything that ends processes."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import sqlalchemy
from report.record import counted

from trade_pipeline.core.store import server as server_module
from trade_pipeline.core.store import server_account, watchdog
from trade_pipeline.core.store.server import ROLES, EmbeddedPostgres, ServerError, binary
from trade_pipeline.core.store.server_roles import write_passwords

KILLS = int(os.environ.get("TRADE_PIPELINE_TEST_KILLS", "3"))
PATIENCE = 60.0

USER = """
import sys
from pathlib import Path
from trade_pipeline.core.store.server import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as server:
    print(server.status().pid, flush=True)
    sys.stdin.read()
"""


def eventually(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"still not so: {what}"
        time.sleep(0.02)


class Users:
    """Processes that use a server, and the folders to be left without processes at the end."""

    def __init__(self) -> None:
        self.started: list[subprocess.Popen[str]] = []
        self.folders: set[Path] = set()

    def server(self, folder: Path) -> EmbeddedPostgres:
        self.folders.add(folder)
        return EmbeddedPostgres(folder)

    def launch(self, folder: Path, code: str = USER) -> subprocess.Popen[str]:
        """A process that uses the server until its standard input ends."""
        self.folders.add(folder)
        user = subprocess.Popen(
            [sys.executable, "-c", code, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[3],
        )
        self.started.append(user)
        return user

    def close(self) -> None:
        for user in self.started:
            user.kill()
            user.communicate()
        for folder in self.folders:
            server = EmbeddedPostgres(folder)
            server.stop()
            if folder.exists():
                stops(server)
            shutil.rmtree(server.socket_folder, ignore_errors=True)


def says(user: subprocess.Popen[str]) -> int:
    """Wait until a user has the server; the pid of its postmaster."""
    assert user.stdout is not None
    return int(user.stdout.readline())


def watchdogs(folder: Path) -> list[int]:
    script = f"{watchdog.__file__} {folder.resolve()} "
    return [pid for pid, command in watchdog._commands().items() if script in command]


def alive(server: EmbeddedPostgres) -> bool:
    return server._processes.alive()


def stops(server: EmbeddedPostgres) -> None:
    eventually(lambda: not alive(server), "the server is stopped")
    assert not server.status().running
    eventually(lambda: not watchdogs(server.folder), "the watchdog is gone")


def stopped_cleanly(server: EmbeddedPostgres) -> bool:
    return (server.folder / "server.log").read_text().endswith("database system is shut down\n")


def ask(server: EmbeddedPostgres, query: str, role: str = "postgres") -> list[tuple[object, ...]]:
    with psycopg.connect(server.url(role), autocommit=True) as connection:
        cursor = connection.execute(query.encode())
        return cursor.fetchall() if cursor.description else []


def kill_postmaster(server: EmbeddedPostgres) -> None:
    pid = server.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)


@pytest.fixture
def users() -> Iterator[Users]:
    users = Users()
    yield users
    users.close()


@pytest.fixture(scope="module")
def stopped_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a server that was started and stopped, to copy instead of a long initdb."""
    users = Users()
    server = users.server(tmp_path_factory.mktemp("stopped") / "postgres")
    with server:
        pass
    stops(server)
    yield server.folder
    users.close()


@pytest.fixture
def server(users: Users, tmp_path: Path, stopped_folder: Path) -> EmbeddedPostgres:
    """A stopped server without any data of ours."""
    shutil.copytree(stopped_folder, tmp_path / "postgres")
    return users.server(tmp_path / "postgres")


@pytest.fixture
def empty(users: Users, tmp_path: Path) -> EmbeddedPostgres:
    """A server whose folder does not exist yet."""
    return users.server(tmp_path / "postgres")


def test_the_server_starts_with_its_first_user_and_stops_after_its_last(
    users: Users, empty: EmbeddedPostgres
) -> None:
    assert not empty.status().running
    assert not empty.folder.exists()
    with empty:
        status = empty.status()
        assert status.running
        assert status.version is not None
        assert status.version.encode() in subprocess.check_output([binary("postgres"), "--version"])
        assert status.size_bytes > 1_000_000
        other = users.launch(empty.folder)
        assert says(other) == status.pid
    assert empty.status().pid == status.pid
    other.communicate("")
    stops(empty)
    assert stopped_cleanly(empty)


def test_a_user_that_comes_at_once_after_the_last_one_left_is_served(
    server: EmbeddedPostgres,
) -> None:
    for pause in (0.0, 0.0, 0.01, 0.03, 0.05, 0.1):
        with server:
            assert ask(server, "SELECT 1", "trade_reader") == [(1,)]
        time.sleep(pause)
    stops(server)


def test_every_acquire_of_a_process_needs_its_own_release(server: EmbeddedPostgres) -> None:
    threads = [threading.Thread(target=server.acquire) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for _ in range(3):
        server.release()
    # The watchdog got all the time that it needs for a mistake.
    time.sleep(0.3)
    assert server.status().running
    server.release()
    stops(server)
    with pytest.raises(ServerError, match="without acquire"):
        server.release()
    with pytest.raises(ServerError, match="without acquire"):
        server.ensure_running()


def test_a_forked_child_is_a_user_until_it_ends(server: EmbeddedPostgres) -> None:
    here, there = os.pipe()
    server.acquire()
    child = os.fork()
    if child == 0:
        os.close(there)
        os.read(here, 1)
        os._exit(0)
    os.close(here)
    server.release()
    time.sleep(0.3)
    assert server.status().running
    os.close(there)
    assert os.waitpid(child, 0)[1] == 0
    stops(server)


def test_a_pickled_server_is_not_a_user(server: EmbeddedPostgres) -> None:
    with server:
        copy: EmbeddedPostgres = pickle.loads(pickle.dumps(server))
        assert copy.url() == server.url()
        with pytest.raises(ServerError, match="without acquire"):
            copy.release()


def test_four_processes_at_once_on_an_empty_folder_get_the_same_server(
    users: Users, empty: EmbeddedPostgres
) -> None:
    crowd = [users.launch(empty.folder) for _ in range(4)]
    assert len({says(user) for user in crowd}) == 1
    assert (empty.folder / "server.log").read_text().count("creating configuration files") == 1
    assert len(watchdogs(empty.folder)) == 1
    for user in crowd:
        user.communicate("")
    stops(empty)


@pytest.mark.parametrize(
    "name",
    ['it\'s a "fine" folder, ünïcode 数据 $HOME %s', "/".join(["long" * 20] * 4)],
    ids=["spaces-quotes-unicode", "long"],
)
def test_any_folder_will_do(users: Users, tmp_path: Path, name: str) -> None:
    server = users.server(tmp_path / name)
    with server:
        assert ask(server, "SELECT 1", "trade_writer") == [(1,)]
        assert server.status().pid is not None
    stops(server)


def test_the_server_stops_when_its_last_user_is_killed(
    users: Users, server: EmbeddedPostgres
) -> None:
    user = users.launch(server.folder)
    says(user)
    user.kill()
    stops(server)
    assert stopped_cleanly(server)


def test_the_next_user_is_served_after_user_and_watchdog_were_killed(
    users: Users, server: EmbeddedPostgres
) -> None:
    user = users.launch(server.folder)
    pid = says(user)
    for guard in watchdogs(server.folder):
        os.kill(guard, signal.SIGKILL)
    eventually(lambda: not watchdogs(server.folder), "the watchdog is dead")
    user.kill()
    user.wait()
    with server:
        assert server.status().pid == pid
        assert ask(server, "SELECT 1") == [(1,)]
    stops(server)


def test_a_killed_server_is_started_again_for_its_user_with_all_that_was_committed(
    server: EmbeddedPostgres,
) -> None:
    with server:
        ask(server, "CREATE TABLE t (n int)")
        ask(server, "INSERT INTO t VALUES (7)")
        before = server.status().pid
        kill_postmaster(server)
        server.ensure_running()
        assert server.status().pid not in (before, None)
        assert ask(server, "SELECT n FROM t") == [(7,)]
    stops(server)


def test_a_killed_server_is_started_again_for_the_next_user(
    users: Users, server: EmbeddedPostgres
) -> None:
    user = users.launch(server.folder)
    pid = says(user)
    os.kill(pid, signal.SIGKILL)
    with server:
        assert server.status().pid not in (pid, None)
        assert len(watchdogs(server.folder)) == 1


def test_a_busy_child_of_a_killed_server_does_not_keep_the_next_one_from_starting(
    server: EmbeddedPostgres,
) -> None:
    with server, closing(psycopg.connect(server.url())) as busy:
        # It computes, and so does not look whether its postmaster lives.
        busy.pgconn.send_query(b"SELECT count(*) FROM generate_series(1, 1e12::bigint)")
        eventually(
            lambda: ask(server, "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%1e12%bigint)'"),
            "the query runs",
        )
        kill_postmaster(server)
        server.ensure_running()
        assert ask(server, "SELECT 1") == [(1,)]


@pytest.mark.reliability
def test_no_committed_row_is_lost_when_the_server_is_killed_at_any_moment(
    server: EmbeddedPostgres,
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    moments = random.Random(seed)
    committed: list[int] = []

    def insert() -> None:
        try:
            with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
                while True:
                    number = len(committed)
                    connection.execute("INSERT INTO t VALUES (%s) ON CONFLICT DO NOTHING", [number])
                    committed.append(number)
        except psycopg.OperationalError:
            return

    with server:
        ask(server, "CREATE TABLE t (n int PRIMARY KEY)")
        for _ in range(KILLS):
            thread = threading.Thread(target=insert)
            thread.start()
            time.sleep(moments.uniform(0.05, 0.6))
            kill_postmaster(server)
            thread.join(PATIENCE)
            assert not thread.is_alive()
            server.ensure_running()
            found = {row[0] for row in ask(server, "SELECT n FROM t")}
            assert found >= set(committed)
    assert committed
    counted("session.kills.server", KILLS, KILLS)
    stops(server)


def test_a_pid_file_that_names_a_living_stranger_is_not_believed(
    server: EmbeddedPostgres,
) -> None:
    with server:
        sockets = server.socket_folder
        written = (server.folder / "data" / "postmaster.pid").read_text().split("\n")
    stops(server)
    with subprocess.Popen(["sleep", "600"]) as stranger:
        try:
            stale = "\n".join([str(stranger.pid), *written[1:]])
            (server.folder / "data" / "postmaster.pid").write_text(stale)
            (sockets / ".s.PGSQL.5432.lock").write_text(stale)
            assert not server.status().running
            server.stop()
            with server:
                assert server.status().pid not in (None, stranger.pid)
            stops(server)
            assert stranger.poll() is None
        finally:
            stranger.kill()


def test_the_pid_file_of_a_server_that_does_not_answer_yet_stays(
    users: Users, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = says(users.launch(server.folder))
    monkeypatch.setattr(server_module, "_START_SECONDS", 0.2)
    file = server.folder / "data" / "postmaster.pid"
    sockets = server.socket_folder
    hidden = sockets.rename(sockets.with_name(sockets.name + "-hidden"))
    try:
        with pytest.raises(ServerError, match=f"postmaster: {pid}"):
            server.acquire()
        assert file.read_text().startswith(f"{pid}\n")
    finally:
        hidden.rename(sockets)
    with server:
        assert server.status().pid == pid


@pytest.mark.parametrize("orphan", [True, False], ids=["initdb-lives-on", "initdb-dies-too"])
def test_a_kill_during_initdb_leaves_nothing_in_the_way(
    users: Users, empty: EmbeddedPostgres, orphan: bool
) -> None:
    user = users.launch(empty.folder)
    work = empty.folder / "initdb.tmp"
    eventually(lambda: (work / "data" / "PG_VERSION").exists(), "initdb is at work")
    user.kill()
    if not orphan:
        for pid, command in watchdog._commands().items():
            if str(work) in command:
                os.kill(pid, signal.SIGKILL)
    assert not (empty.folder / "data").exists()
    with empty:
        assert ask(empty, "SELECT 1", "trade_reader") == [(1,)]
        assert not work.exists()
    stops(empty)


def test_a_kill_between_initdb_and_the_roles_is_healed_by_the_next_start(
    users: Users, empty: EmbeddedPostgres
) -> None:
    dies = USER.replace(
        "with Emb",
        "import os, signal; from trade_pipeline.core.store import server as module\n"
        "module.prepare = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "with Emb",
    )
    assert users.launch(empty.folder, dies).wait(PATIENCE) == -signal.SIGKILL
    assert (empty.folder / "data").exists()
    with empty:
        assert ask(empty, "SELECT 1", "trade_reader") == [(1,)]


def test_a_preparation_by_another_version_is_brought_up_to_date(server: EmbeddedPostgres) -> None:
    with server:
        ask(server, "REVOKE CONNECT ON DATABASE trade_pipeline FROM trade_writer")
        ask(server, "COMMENT ON DATABASE trade_pipeline IS 'another'")
        with server:
            assert ask(server, "SELECT 1", "trade_writer") == [(1,)]


def test_half_made_roles_are_completed(
    empty: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: psycopg.Connection) -> None:
        raise psycopg.errors.DiskFull("no space left")

    with monkeypatch.context() as patch:
        patch.setattr("trade_pipeline.core.store.server_roles._make_databases", broken)
        with pytest.raises(ServerError, match="no space left"):
            empty.acquire()
    with empty:
        assert ask(empty, "SELECT 1", "trade_writer") == [(1,)]


def test_nobody_gets_in_without_a_password_and_each_role_with_its_own(
    server: EmbeddedPostgres,
) -> None:
    with server:
        passwords = json.loads((server.folder / "credentials.json").read_text())
        assert len(set(passwords.values())) == 5
        for role in ROLES:
            database = "dagster" if role == "dagster" else "trade_pipeline"
            forbidden = "trade_pipeline" if role == "dagster" else "dagster"
            with psycopg.connect(server.url(role, database)) as connection:
                row = connection.execute(
                    "SELECT current_user, rolsuper OR rolcreatedb OR rolcreaterole"
                    " FROM pg_roles WHERE rolname = current_user"
                ).fetchone()
                assert row == (role, False)
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(server.url(role, forbidden))
            for password in ("", passwords["postgres"]):
                url = server.url(role, database).replace(f":{passwords[role]}@", f":{password}@")
                with pytest.raises(psycopg.OperationalError, match="password"):
                    psycopg.connect(url)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(server, "CREATE TABLE t ()", "trade_writer")
        log = (server.folder / "server.log").read_text()
        commands = " ".join(watchdog._commands().values())
        for password in passwords.values():
            assert password not in log
            assert password not in commands
        hba = (server.folder / "data" / "pg_hba.conf").read_text().splitlines()
        assert [line for line in hba if not line.startswith("#")] == ["local all all scram-sha-256"]


def test_passwords_are_for_their_owner_only(empty: EmbeddedPostgres) -> None:
    with empty:
        for path in (empty.folder / "credentials.json", empty.folder / "server.log"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(empty.socket_folder.stat().st_mode) == 0o700


def test_data_without_their_passwords_are_refused(server: EmbeddedPostgres) -> None:
    with server:
        pass
    stops(server)
    file = server.folder / "credentials.json"
    kept = file.read_text()
    file.unlink()
    with pytest.raises(ServerError, match="backup"):
        server.acquire()
    file.write_text(kept.replace(json.loads(kept)["postgres"], "wrong"))
    with pytest.raises(ServerError, match="backup") as caught:
        server.acquire()
    assert "wrong" not in str(caught.value)
    file.write_text(kept)


def test_the_settings_are_those_of_a_ledger(server: EmbeddedPostgres) -> None:
    expected = {
        "data_checksums": "on",
        "fsync": "on",
        "jit": "off",
        "listen_addresses": "",
        "max_connections": "100",
        "max_wal_size": "2GB",
        "server_encoding": "UTF8",
        "shared_buffers": "256MB",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
    }
    with server:
        found = {name: ask(server, f"SHOW {name}")[0][0] for name in expected}
    assert found == expected


def test_a_kept_server_stays_without_users_until_it_is_stopped(
    users: Users, server: EmbeddedPostgres
) -> None:
    server.start(keep=True)
    eventually(lambda: not watchdogs(server.folder), "the watchdog leaves it alone")
    status = server.status()
    assert status.running
    assert status.kept
    user = users.launch(server.folder)
    assert says(user) == status.pid
    user.communicate("")
    eventually(lambda: not watchdogs(server.folder), "the watchdog leaves it alone")
    assert server.status().pid == status.pid
    with psycopg.connect(server.url()):
        server.stop()
    assert not server.status().running
    assert not server.status().kept
    stops(server)


def test_urls_serve_sqlalchemy_and_the_environment_does_not_disturb(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "1", "PGHOST": "nowhere", "PGUSER": "nobody"}.items():
        monkeypatch.setenv(name, value)
    with server:
        for scheme in ("postgresql+psycopg2", "postgresql+psycopg"):
            url = server.url("dagster", "dagster", scheme)
            engine = sqlalchemy.create_engine(url)
            with engine.connect() as connection:
                assert connection.scalar(sqlalchemy.text("SELECT current_user")) == "dagster"
            engine.dispose()
        with pytest.raises(ValueError, match="trade_reader"):
            server.url("root")


def test_an_url_before_the_first_start_says_what_to_do(empty: EmbeddedPostgres) -> None:
    with pytest.raises(ServerError, match="start it first"):
        empty.url()


def test_users_with_different_folders_for_temporary_files_meet(
    users: Users, server: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pid = says(users.launch(server.folder))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with server:
        assert server.status().pid == pid


@pytest.mark.skipif(shutil.which("ps") is None, reason="needs ps")
def test_processes_are_known_without_proc_too(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with server:
        pid = server.status().pid
        children = server._processes.backends()
        monkeypatch.setattr(watchdog, "_PROC", tmp_path / "proc")
        assert server._processes.postmaster() == pid
        assert set(server._processes.backends()) & set(children)


def test_a_socket_folder_of_somebody_else_is_refused(empty: EmbeddedPostgres) -> None:
    empty.socket_folder.symlink_to(empty.folder.parent)
    try:
        with pytest.raises(ServerError, match="somebody else"):
            empty.acquire()
    finally:
        empty.socket_folder.unlink()


def test_a_folder_without_the_programs_is_refused_by_name(
    empty: EmbeddedPostgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRADE_PIPELINE_POSTGRES_BIN", str(tmp_path / "bin"))
    with pytest.raises(ServerError, match=r"postgres_bin=.*bin'.*no program postgres"):
        empty.acquire()


def test_a_server_that_cannot_start_shows_its_log(server: EmbeddedPostgres) -> None:
    with server:
        pass
    stops(server)
    (server.folder / "data" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(ServerError, match="unrecognized configuration parameter"):
        server.acquire()


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to change the account")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that other accounts may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@needs_root
def test_root_without_user_namespaces_runs_the_server_as_another_account(
    open_folder: Path, users: Users, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = users.server(open_folder / "postgres")
    # The same data serve when the next root has user namespaces, and when it has none again.
    for possible in (False, True, False):
        monkeypatch.setattr(server_account, "_works", lambda prefix, answer=possible: answer)
        with server:
            pid = server.status().pid
            assert (Path(f"/proc/{pid}").stat().st_uid == 0) is possible
            assert ask(server, "SELECT 1", "trade_writer") == [(1,)]
        stops(server)


@needs_root
def test_a_folder_that_the_servers_account_cannot_enter_is_named(
    empty: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_account, "_works", lambda prefix: False)
    closed = empty.folder.parent
    closed.chmod(0o700)
    with pytest.raises(ServerError, match=r"may not enter .* TRADE_PIPELINE_HOME"):
        empty.acquire()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


def test_data_of_another_major_version_are_refused_with_what_to_do(tmp_path: Path) -> None:
    data = tmp_path / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("11\n")
    server = EmbeddedPostgres(tmp_path / "postgres")
    write_passwords(tmp_path / "postgres" / "credentials.json")
    with pytest.raises(ServerError, match=r"is of PostgreSQL 11.* brings PostgreSQL \d\d:.*backup"):
        server.start()
    server.stop()
