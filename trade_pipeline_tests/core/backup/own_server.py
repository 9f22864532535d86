"""A PostgreSQL that a user runs: made by the commands of docs/backup.md, with a WAL archive."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from trade_pipeline.core.store.server import binary
from trade_pipeline.core.store.server_account import server_account


def command(folder: Path, *words: str) -> None:
    """Run one of PostgreSQL's programs as the account that may."""
    log = folder / "commands.log"
    with log.open("ab") as out:
        code = server_account().launch([str(binary(words[0])), *words[1:]], folder, out.fileno())
        assert code.wait(120) == 0, log.read_text()


def make(folder: Path) -> Path:
    """A new cluster beneath a folder that is the server's own, archiving into ``archive``."""
    os.chmod(folder, 0o755)
    data, archive = folder / "data", folder / "archive"
    archive.mkdir()
    server_account().own(archive)
    server_account().own(folder)
    command(folder, "initdb", "-D", str(data), "-U", "postgres", "-A", "trust", "-E", "UTF8")
    with (data / "postgresql.conf").open("a") as settings:
        settings.write(
            "archive_mode = on\n"
            f"archive_command = 'test ! -f {archive}/%f && cp %p {archive}/%f'\n"
            "archive_timeout = 60\n"
        )
    return data


@contextmanager
def running(data: Path) -> Iterator[str]:
    """The URL of its superuser, once it has recovered and takes writes."""
    folder = data.parent
    with (folder / "server.log").open("ab") as log:
        server = server_account().launch(
            [str(binary("postgres")), "-D", str(data), "-c", "listen_addresses=",
             "-c", f"unix_socket_directories={folder}"],
            folder, log.fileno(),
        )  # fmt: skip
    url = f"postgresql://postgres@/postgres?host={folder}"
    try:
        for _ in range(600):
            try:
                with psycopg.connect(url) as connection:
                    if connection.execute("SELECT pg_is_in_recovery()").fetchone() == (False,):
                        break
            except psycopg.OperationalError:
                assert server.poll() is None, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield url
    finally:
        server.send_signal(signal.SIGINT)
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
