"""Connections by URL are encrypted and know whom they talk to, where the URL says so."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import psycopg
import pytest
import redis
import sqlalchemy
import trustme

from trade_pipeline.core.errors import StoreUnavailable
from trade_pipeline.core.store.database import Database
from trade_pipeline.core.store.server import EmbeddedPostgres
from trade_pipeline.core.store.server_account import ServerAccount, server_account
from trade_pipeline.core.store.valkey_server import EmbeddedValkey, open_cache
from trade_pipeline.settings import Settings

SECONDS = 60.0
# The wheel's PostgreSQL is built without OpenSSL; a distribution's has it.
PROGRAMS = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
needs_tls = pytest.mark.skipif(
    not PROGRAMS, reason="no PostgreSQL of a distribution in /usr/lib/postgresql, with OpenSSL"
)


class Trusted:
    """Certificates of an authority for localhost, and another authority that nobody asked."""

    def __init__(self, folder: Path) -> None:
        authority, other = trustme.CA(), trustme.CA()
        self.issued = authority.issue_cert("localhost")
        self.authority, self.other = folder / "ca.pem", folder / "other.pem"
        authority.cert_pem.write_to_path(self.authority)
        other.cert_pem.write_to_path(self.other)


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Trusted:
    return Trusted(tmp_path_factory.mktemp("certificates"))


def free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="module")
def postgres(trusted: Trusted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a PostgreSQL that answers nobody without TLS."""
    folder = tmp_path_factory.mktemp("tls")
    account = server_account()
    data, programs = folder / "data", PROGRAMS[-1].parent
    password = folder / "password"
    password.write_text("secret")
    account.own(folder)
    given = ["-U", "postgres", "-A", "scram-sha-256", "--no-sync", "-E", "UTF8", "--locale", "C"]
    run(account, folder, [programs / "initdb", "-D", data, "--pwfile", password, *given])
    (data / "server.crt").write_bytes(trusted.issued.cert_chain_pems[0].bytes())
    (data / "server.key").write_bytes(trusted.issued.private_key_pem.bytes())
    (data / "server.key").chmod(0o600)
    (data / "pg_hba.conf").write_text("hostssl all all 127.0.0.1/32 scram-sha-256\n")
    account.own(folder)
    for name in ("server.crt", "server.key", "pg_hba.conf"):
        account.own(data / name)
    port = free_port()
    settings = {"ssl": "on", "port": port, "listen_addresses": "127.0.0.1", "fsync": "off",
                "unix_socket_directories": ""}  # fmt: skip
    command = [str(programs / "postgres"), "-D", str(data)]
    command += [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    server = account.launch(command, folder, log, ())
    os.close(log)
    try:
        until = time.monotonic() + SECONDS
        while "ready to accept" not in (folder / "log").read_text():
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait(SECONDS)


def run(account: ServerAccount, folder: Path, command: list[object]) -> None:
    log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        started = account.launch([str(part) for part in command], folder, log, ())
        assert started.wait(SECONDS) == 0, (folder / "log").read_text()
    finally:
        os.close(log)
        (folder / "log").unlink()


def url(port: int, host: str = "localhost", **given: object) -> str:
    options = "&".join(f"{name}={value}" for name, value in given.items())
    return f"postgresql://postgres:secret@{host}:{port}/postgres?{options}"


@needs_tls
def test_a_database_with_the_right_certificate_is_talked_to(
    postgres: int, trusted: Trusted
) -> None:
    given = url(postgres, sslmode="verify-full", sslrootcert=trusted.authority)
    with psycopg.connect(given) as connection:
        assert connection.pgconn.ssl_in_use
    # The product itself gets as far as its migrations, which are missing.
    with pytest.raises((StoreUnavailable, psycopg.Error), match=r"migrate|does not exist"):
        Database.at(given)
    # Dagster's storage goes another way, through psycopg2.
    engine = sqlalchemy.create_engine(given.replace("postgresql:", "postgresql+psycopg2:"))
    with engine.connect() as opened:
        query = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
        assert opened.execute(sqlalchemy.text(query)).scalar() is True
    engine.dispose()


@needs_tls
@pytest.mark.parametrize("driver", ["psycopg", "psycopg2"])
def test_a_database_that_somebody_else_vouches_for_is_refused_and_so_is_plain_text(
    postgres: int, trusted: Trusted, driver: str
) -> None:
    wrong = {
        "certificate verify failed": url(
            postgres, sslmode="verify-full", sslrootcert=trusted.other
        ),
        "does not match host name": url(
            postgres, "127.0.0.1", sslmode="verify-full", sslrootcert=trusted.authority
        ),
        "no encryption": url(postgres, sslmode="disable"),
    }
    for message, given in wrong.items():
        if driver == "psycopg":
            with pytest.raises(StoreUnavailable, match=message) as refused:
                Database.at(given)
            assert "secret" not in str(refused.value)
        else:
            engine = sqlalchemy.create_engine(given.replace("postgresql:", "postgresql+psycopg2:"))
            with pytest.raises(sqlalchemy.exc.OperationalError, match=message):
                engine.connect()


@needs_tls
def test_the_embedded_server_needs_none_since_it_listens_on_no_port(
    server: EmbeddedPostgres,
) -> None:
    with psycopg.connect(server.url()) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


class Terminator:
    """TLS in front of a server that has none: the wheel's Valkey is built without it."""

    def __init__(self, behind: Path, trusted: Trusted) -> None:
        self._behind = behind
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trusted.issued.configure_cert(self._context)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                plain, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(plain,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with suppress(OSError), plain:
            plain.settimeout(SECONDS)
            with (
                self._context.wrap_socket(plain, server_side=True) as outer,
                socket.socket(socket.AF_UNIX) as inner,
            ):
                inner.connect(str(self._behind))
                while asked := outer.recv(1 << 16):
                    inner.sendall(asked)
                    outer.sendall(inner.recv(1 << 16))

    def close(self) -> None:
        self._listening.close()


@pytest.fixture(scope="module")
def cache(trusted: Trusted, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with EmbeddedValkey(tmp_path_factory.mktemp("cache") / "valkey") as server:
        before = Terminator(server.socket_path, trusted)
        yield before.port
        before.close()


def asked(url: str, monkeypatch: pytest.MonkeyPatch) -> object:
    # A handshake on a busy machine takes longer than a decision may wait.
    monkeypatch.setattr("trade_pipeline.core.store.valkey_server._CONNECT_SECONDS", SECONDS)
    monkeypatch.setattr("trade_pipeline.core.store.valkey_server._READ_SECONDS", SECONDS)
    monkeypatch.setenv("TRADE_PIPELINE_CACHE_URL", url)
    with open_cache(Settings(_env_file=None)) as client:
        client.set("a", "b")
        return client.get("a")


def test_a_cache_with_the_right_certificate_is_used(
    cache: int, trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        asked(f"rediss://localhost:{cache}/0?ssl_ca_certs={trusted.authority}", monkeypatch) == b"b"
    )


def test_a_cache_that_somebody_else_vouches_for_is_refused_and_so_is_plain_text(
    cache: int, trusted: Trusted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for given in (
        f"rediss://localhost:{cache}/0?ssl_ca_certs={trusted.other}",
        f"rediss://127.0.0.1:{cache}/0?ssl_ca_certs={trusted.authority}",
        f"rediss://localhost:{cache}/0",
    ):
        with pytest.raises(redis.ConnectionError, match=r"CERTIFICATE_VERIFY_FAILED|certificate"):
            asked(given, monkeypatch)
    with pytest.raises(redis.RedisError):
        asked(f"redis://localhost:{cache}/0", monkeypatch)


def test_the_brokers_client_takes_the_same_options(cache: int, trusted: Trusted) -> None:
    """Celery reaches its broker through kombu, whose URLs name the certificate likewise."""
    kombu = pytest.importorskip("kombu")
    for authority, works in ((trusted.authority, True), (trusted.other, False)):
        given = f"rediss://localhost:{cache}/0?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={authority}"
        with kombu.Connection(given, connect_timeout=SECONDS) as connection:
            client = connection.channel().client if works else None
            if client is not None:
                assert client.ping()
            else:
                with pytest.raises(Exception, match="CERTIFICATE_VERIFY_FAILED"):
                    connection.channel().client.ping()
